//! The edge of the api: what holds for every route, whatever it does.

mod body;
mod browsers;
mod lifecycle;
mod limits;
mod routes;
mod sizes;

use std::net::SocketAddr;
use std::time::Duration;

use api::Config;
use domain::clock::Clock;
use domain::config::Settings;
use testkit::client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// An api of its own. Unless a test says so it has no database and no Redis: what needs one fails here.
struct Edge {
    addr: SocketAddr,
    metrics_addr: SocketAddr,
    handle: api::Handle,
}

const ORIGIN: &str = "http://trellis.test";

impl Edge {
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, |_| {}).await
    }

    async fn with(settings: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let common = [
            ("APP_ENV", "development"),
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("METRICS_ADDR", "127.0.0.1:0"),
            ("HTTP_WORKERS", "2"),
            ("HASH_THREADS", "1"),
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1/"),
            ("REDIS_PREFIX", "edge"),
            ("SECRET_KEY", "k3Zq8vYw0pLm5Rt7Xc2Nb9Hs4Jd6Gf1A-testing"),
            ("PUBLIC_URL", ORIGIN),
            ("ALLOWED_ORIGINS", "https://app.example"),
            ("RATE_LIMITS", "off"),
        ];
        let mut config = Config::read(Settings::from_map([&common[..], settings].concat())).unwrap();
        change(&mut config);
        let (started, ready) = oneshot::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = api::build(config, Clock::system()).await.unwrap();
                started.send((server.addr(), server.metrics_addr(), server.handle())).unwrap();
                server.run().await.unwrap();
            });
        });
        let (addr, metrics_addr, handle) = ready.await.unwrap();
        Self { addr, metrics_addr, handle }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.addr))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Everything the server says to these bytes until it closes, or is silent for a long time.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_close(stream).await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.handle.shutdown();
    }
}

async fn read_to_close(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .expect("the connection is closed")
        .unwrap();
    String::from_utf8(answer).unwrap()
}
