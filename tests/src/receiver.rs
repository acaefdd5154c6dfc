//! A receiver of webhooks for tests: a real HTTP server on `127.0.0.1` that keeps what it is told and answers as it is asked to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::app::within;

/// How it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Never.
    Stall,
}

impl Answer {
    /// A status alone.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new())
    }
}

/// What it was told.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path, with its query.
    pub path: String,
    /// The headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, to the byte.
    pub body: String,
}

impl Received {
    /// A header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `webhook-id`.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// The body, read.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the reference implementation of Standard Webhooks takes it, with this secret and now.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        standardwebhooks::Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &headers).is_ok()
    }

    /// What happened.
    pub fn event(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }
}

struct Inner {
    answer: Mutex<Answer>,
    received: Mutex<Vec<Received>>,
}

/// The server. It ends with this value.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    server: ServerHandle,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        let (started, ready) = oneshot::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let address = listener.local_addr().unwrap();
                let (answer, received) = (Mutex::new(Answer::status(204)), Mutex::default());
                let inner = Arc::new(Inner { answer, received });
                let data = web::Data::from(Arc::clone(&inner));
                let app = move || App::new().app_data(data.clone()).default_service(web::to(take));
                let server =
                    HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
                started.send((address, inner, server.handle())).ok().unwrap();
                server.await.unwrap();
            });
        });
        let (address, inner, server) = ready.await.unwrap();
        Self { address, inner, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers like this from now on.
    pub fn answer(&self, answer: Answer) {
        *self.inner.answer.lock().unwrap() = answer;
    }

    /// What it was told so far.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// Waits until it was told so often.
    pub async fn wait_for(&self, count: usize, patience: Duration) -> Vec<Received> {
        within(patience, &format!("{count} webhooks arrive"), async || {
            let received = self.received();
            if received.len() >= count { Ok(received) } else { Err(format!("{} so far", received.len())) }
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.server.stop(false));
    }
}

async fn take(inner: web::Data<Inner>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = request.headers().iter();
    let received = Received {
        path: request.uri().to_string(),
        headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
        body: text(&body),
    };
    inner.received.lock().unwrap().push(received);
    let answer = inner.answer.lock().unwrap().clone();
    match answer {
        Answer::Status(status, headers) => {
            let mut reply = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            for header in headers {
                reply.insert_header(header);
            }
            reply.finish()
        }
        Answer::Stall => std::future::pending().await,
    }
}
