//! A way to PostgreSQL that a test can cut: to a process behind it, the server is down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Passes connections on to a database, while it is whole.
pub struct Cable {
    address: SocketAddr,
    database: Arc<Config>,
    whole: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Cable {
    /// A whole cable to the database at this URL.
    pub async fn to(database_url: &str) -> Self {
        let database = Arc::new(Config::from_str(database_url).expect("the URL of a database"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let whole = watch::Sender::new(true);
        let task = tokio::spawn(pass_on(listener, Arc::clone(&database), whole.subscribe()));
        Self { address, database, whole, task }
    }

    /// The URL of the database at the other end.
    pub fn url(&self) -> String {
        let user = self.database.get_user().unwrap_or("postgres");
        format!("postgres://{user}@{}/{}", self.address, self.database.get_dbname().expect("it has a name"))
    }

    /// Cuts it: connections end, and new ones end at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Mends it.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(listener: TcpListener, database: Arc<Config>, whole: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let (database, mut whole) = (Arc::clone(&database), whole.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connect(near, &database) => {}
                // An error says that the cable is gone.
                _ = whole.wait_for(|whole| !whole) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(mut near: TcpStream, database: &Config) {
    let port = database.get_ports().first().copied().unwrap_or(5432);
    match &database.get_hosts()[0] {
        Host::Tcp(host) => join(&mut near, TcpStream::connect((host.as_str(), port)).await).await,
        Host::Unix(directory) => {
            let socket: PathBuf = directory.join(format!(".s.PGSQL.{port}"));
            join(&mut near, UnixStream::connect(socket).await).await;
        }
    }
}

async fn join(near: &mut TcpStream, far: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>) {
    if let Ok(mut far) = far {
        // It ends when either side does.
        let _ = copy_bidirectional(near, &mut far).await;
    }
}
