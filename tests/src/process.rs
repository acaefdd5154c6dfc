//! A real `api` or `worker`: started on free ports, signalled, killed, started again.
//!
//! What it writes goes into a file, which also tells where it listens. It never outlives its value; and a guard kills it
//! when the test process itself is killed, too late for any destructor.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::app::{PATIENCE, within};
use crate::config::{TestSettings, binaries};
use crate::guard::Guard;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `api serve`
    Api,
    /// `worker run`
    Worker,
    /// The same, of a build with fail points: with `FAIL_POINT=kind:n` it dies after the n-th statement of a job of that kind.
    MortalWorker,
}

impl Program {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker | Self::MortalWorker => "worker",
        }
    }

    /// Its binary, among those that are built for tests.
    fn binary(self) -> PathBuf {
        let folder = if self == Self::MortalWorker { "failpoints" } else { "" };
        binaries().join(folder).join(self.name())
    }

    fn command(self) -> &'static str {
        match self {
            Self::Api => "serve",
            Self::Worker | Self::MortalWorker => "run",
        }
    }

    /// The log line that says where it listens: its message, and the fields with the addresses of its health page and
    /// of its metrics.
    fn announcement(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Api => ("the api listens", ["addr", "metrics_addr"]),
            Self::Worker | Self::MortalWorker => ("the worker runs", ["metrics", "metrics"]),
        }
    }

    /// Runs one of its commands to its end.
    pub async fn run(self, arguments: &[&str], settings: &TestSettings, directory: &Path) -> Output {
        let mut command = tokio::process::Command::from(self.prepare(settings, directory));
        let ended = command.args(arguments).kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, ended).await;
        output.unwrap_or_else(|_| panic!("{} {arguments:?} does not end", self.name())).unwrap()
    }

    /// The binary with these settings and nothing else of our environment.
    fn prepare(self, settings: &TestSettings, directory: &Path) -> Command {
        let mut command = Command::new(self.binary());
        command.env_clear().envs(settings.environment()).current_dir(directory).stdin(Stdio::null());
        command
    }
}

/// A process. Killed, if it still runs, when this is dropped.
pub struct Process {
    program: Program,
    name: String,
    settings: TestSettings,
    directory: PathBuf,
    log: PathBuf,
    running: Option<Running>,
    health: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
}

impl Process {
    /// Starts a process that works in `directory` and logs into `{name}.log` there; waits until it listens.
    pub async fn start(program: Program, name: &str, settings: TestSettings, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let (name, directory) = (name.to_owned(), directory.to_owned());
        let mut process =
            Self { program, name, settings, directory, log, running: None, health: None, metrics: None };
        process.launch().await;
        process
    }

    /// What its log is called after.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills it if it runs, and starts it again; waits until it listens, on other ports.
    pub async fn restart(&mut self) {
        self.kill9();
        self.launch().await;
    }

    /// As [`Process::restart`], with some settings changed.
    pub async fn restart_with(&mut self, changes: &[(&str, &str)]) {
        for (name, value) in changes {
            self.settings.set(name, value);
        }
        self.restart().await;
    }

    async fn launch(&mut self) {
        let begin = self.log().len();
        let file = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.program.prepare(&self.settings, &self.directory);
        command.arg(self.program.command()).stdout(file.try_clone().unwrap()).stderr(file);
        let running = self.running.insert(Running::start(command));
        let (message, [health, metrics]) = self.program.announcement();
        let path = &self.log;
        let line = within(PATIENCE, message, async || {
            let ended = running.child.0.try_wait().unwrap().is_some();
            let lines = read(path, begin);
            let line = parsed(&lines).into_iter().find(|line| line["message"] == message);
            // What it was told to do may have ended it since it said so.
            assert!(line.is_some() || !ended, "it ended: {lines}");
            line.ok_or(lines)
        })
        .await;
        let address = |field: &str| line[field].as_str().map(|text| text.parse().unwrap());
        (self.health, self.metrics) = (address(health), address(metrics));
    }

    /// Where it is reached, as a URL: the api its clients, the worker its health page.
    pub fn base(&self) -> String {
        format!("http://{}", self.health.expect("the process said where it listens"))
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.running.as_ref().expect("the process runs").child.0.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| running.child.0.try_wait().unwrap().is_none())
    }

    /// Ends it at this very moment.
    pub fn kill9(&mut self) {
        self.running = None;
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Freezes it.
    pub fn sigstop(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn sigcont(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap();
        assert!(sent.success(), "could not send {signal} to process {id}");
    }

    /// Waits for its end.
    pub async fn exit(&mut self, patience: Duration) -> ExitStatus {
        let child = &mut self.running.as_mut().expect("the process was started").child.0;
        let status = within(patience, "the process ends", async || {
            child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        self.running = None;
        status
    }

    /// Waits until `/health/ready` answers with this status.
    pub async fn wait_for_readiness(&self, status: u16, patience: Duration) -> Value {
        within(patience, &format!("{} answers readiness with {status}", self.program.name()), async || {
            match self.get("/health/ready").await {
                Some((answered, body)) if answered == status => {
                    Ok(serde_json::from_str(&body).unwrap_or_default())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// GET where it is reached; status and body, or `None` when nothing answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        fetch(&format!("{}{path}", self.base())).await
    }

    /// What it has measured.
    pub async fn metrics(&self) -> String {
        let addr = self.metrics.expect("the process said where its metrics are");
        fetch(&format!("http://{addr}/metrics")).await.expect("metrics are answered").1
    }

    /// All it has written so far, over all its lives.
    pub fn log(&self) -> String {
        read(&self.log, 0)
    }

    /// The same, read as JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        parsed(&self.log())
    }
}

/// A child and whoever ends it when we no longer can.
struct Running {
    // Dropped first: once the child is waited for, its number may become another's.
    _guard: Guard,
    child: Ended,
}

/// A child that ends with this value.
struct Ended(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let child = Ended(child);
        Self { _guard: Guard::over(child.0.id()).unwrap(), child }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// GET; status and body, or `None` when nothing answers.
async fn fetch(url: &str) -> Option<(u16, String)> {
    let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let response = http.get(url).send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().await.ok()?))
}

/// The lines that are JSON.
fn parsed(lines: &str) -> Vec<Value> {
    lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn read(path: &Path, begin: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned()
}
