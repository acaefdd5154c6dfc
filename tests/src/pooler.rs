//! A real PgBouncer between processes and their database, on a unix socket in a temporary directory.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use crate::app::{PATIENCE, within};
use crate::config::pgbouncer;
use crate::guard::Guard;

/// A part of its socket's name; there is no network.
const PORT: u16 = 6432;

/// A running `pgbouncer`, killed when this is dropped.
pub struct Pooler {
    url: String,
    log: PathBuf,
    child: Child,
    _guard: Guard,
    _directory: TempDir,
}

impl Pooler {
    /// In front of the database at this URL, with this `pool_mode`; waits until it answers.
    pub async fn start(mode: &str, database_url: &str) -> Self {
        let database = Config::from_str(database_url).unwrap();
        let host = match database.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = database.get_ports().first().copied().unwrap_or(5432);
        let (user, name) = (database.get_user().unwrap(), database.get_dbname().unwrap());
        let password = database.get_password().map(String::from_utf8_lossy);
        let password = password.map(|password| format!("password='{password}'")).unwrap_or_default();

        let directory = tempfile::Builder::new().prefix("pgbouncer-").tempdir().unwrap();
        let sockets = directory.path().display();
        // It does not run as root, and then wants to be somebody who reaches PostgreSQL's socket and makes one here.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let is_root = directory.path().metadata().unwrap().uid() == 0;
        let runs_as = if is_root { "user = postgres" } else { "" };
        let config = format!(
            "[databases]\n* = host={host} port={port} user={user} {password}\n\
             [pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\nunix_socket_dir = {sockets}\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = 60\n{runs_as}\n"
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        let log = directory.path().join("pgbouncer.log");
        let file = File::create(&log).unwrap();
        let mut command = Command::new(pgbouncer());
        command.arg(&path).env_clear().stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `deploy/dev/services install --for-tests` installs it",
                pgbouncer().display()
            )
        });
        let guard = Guard::over(child.id()).unwrap();
        let host = utf8_percent_encode(directory.path().to_str().unwrap(), NON_ALPHANUMERIC);
        let url = format!("postgres://{user}@{host}:{PORT}/{name}");
        let mut pooler = Self { url, log, child, _guard: guard, _directory: directory };
        pooler.answers().await;
        pooler
    }

    /// The database, by way of it.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    async fn answers(&mut self) {
        within(PATIENCE, "pgbouncer answers", async || {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "pgbouncer ended: {log}");
            let (client, connection) = tokio_postgres::connect(&self.url, NoTls)
                .await
                .map_err(|error| format!("{error:?}: {log}"))?;
            tokio::spawn(connection);
            client.batch_execute("SELECT 1").await.map_err(|error| format!("{error:?}: {log}"))
        })
        .await;
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
