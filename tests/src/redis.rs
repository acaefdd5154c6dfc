//! A Redis of its own for a test, on a unix socket in a temporary directory. It keeps nothing over a restart.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use deadpool_redis::redis;
use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::guard::Guard;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A `redis-server` process, killed when this is dropped.
///
/// The binary is the one that `TEST_REDIS_SERVER` names, else `redis-server`.
pub struct RedisServer {
    directory: PathBuf,
    process: Child,
    guard: Option<Guard>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        // Short: the path of a socket has about a hundred bytes.
        let directory = std::env::temp_dir().join(format!("redis-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&directory)?;
        let (process, guard) = spawn(&directory)?;
        let server = Self { directory, process, guard };
        server.answers().await?;
        Ok(server)
    }

    /// The address for a client.
    pub fn url(&self) -> SecretString {
        format!("redis+unix://{}", self.socket().display()).into()
    }

    /// A connection for a test's own questions.
    pub async fn connection(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display()))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
    }

    /// Makes the server forget everything.
    pub async fn empty(&self) -> anyhow::Result<()> {
        Ok(redis::cmd("FLUSHALL").exec_async(&mut self.connection().await?).await?)
    }

    /// Changes a setting of the server.
    pub async fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let mut command = redis::cmd("CONFIG");
        Ok(command.arg("SET").arg(name).arg(value).exec_async(&mut self.connection().await?).await?)
    }

    /// Writes down every command from now on, those of scripts included.
    pub async fn overhear(&self) -> anyhow::Result<Overheard> {
        let client = redis::Client::open(format!("redis+unix://{}", self.socket().display()))?;
        let mut commands = client.get_async_monitor().await?.into_on_message::<String>();
        let text = Arc::<Mutex<String>>::default();
        let pen = Arc::clone(&text);
        let task = tokio::spawn(async move {
            while let Some(command) = commands.next().await {
                let mut text = pen.lock().unwrap();
                text.push_str(&command);
                text.push('\n');
            }
        });
        Ok(Overheard { text, task })
    }

    /// Kills the server. Nothing answers until [`Self::restart`].
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.guard = None;
        self.process.kill().await?;
        Ok(())
    }

    /// Starts an empty server at the same address, after [`Self::stop`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(self.socket());
        (self.process, self.guard) = spawn(&self.directory)?;
        self.answers().await
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Lets a frozen server go on.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let process = self.process.id().context("the Redis of this test has ended")?;
        let status = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().await?;
        ensure!(status.success(), "could not send {signal} to the Redis of this test");
        Ok(())
    }

    async fn answers(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer: anyhow::Result<()> = async {
                let mut conn = self.connection().await?;
                Ok(redis::cmd("PING").exec_async(&mut conn).await?)
            }
            .await;
            match answer {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("the Redis of this test is silent"));
                }
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("s")
    }
}

/// What was said to a Redis since [`RedisServer::overhear`].
pub struct Overheard {
    text: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Overheard {
    /// All commands so far, one a line.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }
}

impl Drop for Overheard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(directory: &PathBuf) -> anyhow::Result<(Child, Option<Guard>)> {
    let program = std::env::var_os("TEST_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let process = Command::new(&program)
        .current_dir(directory)
        .args([
            "--port",
            "0",
            "--unixsocket",
            "s",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("could not start {}", program.display()))?;
    let guard = process.id().map(Guard::over).transpose()?;
    Ok((process, guard))
}
