//! A range API of breached passwords for tests: a real HTTP server on `127.0.0.1` that answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200 with this body.
    Body(String),
    /// This status line, without a body.
    Status(&'static str),
    /// Never.
    Stall,
    /// With something that is no HTTP.
    Garbage,
    /// 200 and a body without end.
    Endless,
    /// Not at all: the connection is closed.
    Close,
}

/// The server. It ends with this value.
pub struct RangeServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl RangeServer {
    /// A server that knows of no breach.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, requests) = (Arc::new(Mutex::new(Answer::Body(String::new()))), Arc::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&answer), Arc::clone(&requests)));
        Self { address, answer, requests, task }
    }

    /// The value of `PASSWORD_BREACH_URL` that reaches it.
    pub fn url(&self) -> String {
        format!("http://{}/range/", self.address)
    }

    /// Answers like this from now on.
    pub fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// The heads of the requests so far, as they came.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for RangeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, answer: Arc<Mutex<Answer>>, requests: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&requests)));
    }
}

/// One request a connection. An error says that the client has gone.
async fn serve(
    mut stream: TcpStream,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    requests.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    let answer = answer.lock().unwrap().clone();
    match answer {
        Answer::Body(body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).await
        }
        Answer::Status(line) => {
            let head = format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Answer::Stall => std::future::pending().await,
        Answer::Garbage => stream.write_all(b"\x16\x03\x01garbage\r\n\r\n").await,
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            let line = "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n".repeat(100);
            loop {
                stream.write_all(line.as_bytes()).await?;
            }
        }
        Answer::Close => Ok(()),
    }
}
