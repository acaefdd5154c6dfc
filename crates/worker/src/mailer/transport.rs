//! The way to the mail server: a few connections, kept open between mails.
//!
//! Invariants: at most `connections` are open for sending at once; a connection goes back into the pool only after the
//! server has taken the mail, so a delivery that fails, times out or is cancelled half-way closes its connection. (The
//! library's own pool takes such connections back, and the next mail then reads the replies to the last one.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lettre::Address;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::Timeouts;
use super::connection::{Connection, Deadline, Endpoint};
use super::failure::{Cause, Reply, SendError, Step};
use super::server::{BadRoots, SmtpServer, tls_parameters};

/// A mail server and the connections to it.
pub(super) struct Smtp {
    endpoint: Endpoint,
    timeouts: Timeouts,
    permits: Semaphore,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    connections: Vec<(Connection, Instant)>,
    swept: bool,
}

impl Smtp {
    pub(super) fn new(server: &SmtpServer, timeouts: Timeouts) -> Result<Self, BadRoots> {
        let credentials = server.login.as_ref().map(|login| {
            Credentials::new(login.user.expose_secret().to_owned(), login.password.expose_secret().to_owned())
        });
        let endpoint = Endpoint {
            host: server.host.clone(),
            port: server.port,
            encryption: server.encryption,
            tls: tls_parameters(server)?,
            credentials,
            hello: server.hello.clone().map_or_else(ClientId::default, ClientId::Domain),
        };
        let permits = Semaphore::new(server.connections.max(1));
        Ok(Self { endpoint, timeouts, permits, idle: Arc::default() })
    }

    /// Sends one mail to one recipient, within `timeouts.whole`.
    pub(super) async fn deliver(&self, from: &Address, to: &Address, mail: &str) -> Result<(), SendError> {
        let deadline = Deadline::new(self.timeouts);
        let _permit = deadline.rest(Step::Queue, self.permits.acquire()).await?;

        if let Some(mut connection) = self.take() {
            match connection.send(from, to, mail, &deadline).await {
                Err(error) if was_stale(&error) => {}
                result => return self.finish(connection, result),
            }
        }
        let mut connection = Connection::open(&self.endpoint, &deadline).await?;
        let result = connection.send(from, to, mail, &deadline).await;
        self.finish(connection, result)
    }

    /// The connection used last, if it is young enough.
    fn take(&self) -> Option<Connection> {
        let (connection, since) = lock(&self.idle).connections.pop()?;
        (since.elapsed() < self.timeouts.idle).then_some(connection)
    }

    fn finish(&self, connection: Connection, result: Result<(), SendError>) -> Result<(), SendError> {
        match &result {
            Ok(()) => self.put_back(connection),
            Err(error) if matches!(error.cause(), Cause::Reply(_)) => {
                tokio::spawn(connection.quit(self.timeouts));
            }
            Err(_) => drop(connection),
        }
        result
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        idle.connections.push((connection, Instant::now()));
        if !idle.swept {
            idle.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.idle), self.timeouts));
        }
    }
}

/// Whether a connection from the pool failed at its first command, before anything of the mail was said, in a way that
/// a new connection may not.
fn was_stale(error: &SendError) -> bool {
    error.step() == Step::Sender
        && matches!(error.cause(), Cause::Lost | Cause::TimedOut | Cause::Reply(Reply { code: 421, .. }))
}

/// Closes connections that nobody needs; ends when none is left.
async fn sweep(idle: Weak<Mutex<Idle>>, timeouts: Timeouts) {
    loop {
        tokio::time::sleep(timeouts.idle).await;
        let Some(idle) = idle.upgrade() else { return };
        let (old, done) = {
            let mut idle = lock(&idle);
            let old: Vec<_> =
                idle.connections.extract_if(.., |(_, since)| since.elapsed() >= timeouts.idle).collect();
            idle.swept = !idle.connections.is_empty();
            (old, !idle.swept)
        };
        for (connection, _) in old {
            connection.quit(timeouts).await;
        }
        if done {
            return;
        }
    }
}

/// No code panics while it holds the lock, and the list is whole at every moment anyway.
fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
