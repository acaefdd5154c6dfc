//! A real haproxy in front of several processes: the load balancer of an installation.
//!
//! Clients that want addresses of their own call it from other addresses of the loopback network (`Client::calling_from`); what
//! it passes on comes from [`SOURCE`], the one address a system under test may trust.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::app::{PATIENCE, within};
use crate::config::haproxy;
use crate::guard::Guard;
use crate::process::Process;

/// Where haproxy calls the processes from: what `TRUSTED_PROXIES` names. No client calls from there.
pub const SOURCE: &str = "127.0.0.2";

/// A running haproxy, killed when this is dropped.
pub struct Balancer {
    addr: SocketAddr,
    log: PathBuf,
    child: Child,
    _guard: Guard,
    _directory: TempDir,
}

impl Balancer {
    /// Requests in turn to each of these processes that says it is ready, with the client's address in `X-Forwarded-For`
    /// behind what the client wrote there itself.
    pub async fn over(apis: &[Process]) -> Self {
        let mut config = format!(
            "global\n  maxconn 2000\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout http-request 10s\n  option redispatch 1\n  retries 2\n  retry-on conn-failure\n\
             frontend clients\n  bind fd@3\n  option forwardfor\n  default_backend apis\n\
             backend apis\n  balance roundrobin\n  source {SOURCE}\n  option httpchk GET /health/ready\n  \
             default-server check inter 200ms fall 2 rise 1\n"
        );
        for (index, api) in apis.iter().enumerate() {
            let address = api.base().replace("http://", "");
            // Writing into a string does not fail.
            let _ = writeln!(config, "  server api{index} {address}");
        }
        let directory = tempfile::Builder::new().prefix("trellis-haproxy-").tempdir().unwrap();
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, config).unwrap();
        Self::launch(&path, &[], directory).await
    }

    /// Starts haproxy on the configuration at `path`, with these variables in its environment. One of its frontends says
    /// `bind fd@3`, in itself or by a variable: the port is a free one, already open.
    pub async fn start(path: &Path, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("trellis-haproxy-").tempdir().unwrap();
        Self::launch(path, environment, directory).await
    }

    async fn launch(path: &Path, environment: &[(&str, &str)], directory: TempDir) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let log = directory.path().join("haproxy.log");
        let file = File::create(&log).unwrap();
        // The listener comes as the shell's input and becomes descriptor 3. `-db`: in the foreground, so that it is ours.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" -db -f \"$1\" 3<&0 </dev/null"])
            .arg(haproxy())
            .arg(path)
            .env_clear()
            .envs(environment.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = command.spawn().unwrap();
        let guard = Guard::over(child.id()).unwrap();
        let mut balancer = Self { addr, log, child, _guard: guard, _directory: directory };
        balancer.answers().await;
        balancer
    }

    /// Where it listens, as a URL.
    pub fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until anything at all is answered through it.
    async fn answers(&mut self) {
        let url = format!("{}/health/live", self.base());
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        within(PATIENCE, "haproxy answers", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "haproxy does not run ({}): {}; `deploy/dev/services install --for-tests` installs it",
                haproxy().display(),
                self.log()
            );
            http.get(&url).send().await.map_err(|error| error.to_string())
        })
        .await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
