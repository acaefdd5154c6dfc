//! PostgreSQL: the pool, transactions and what can go wrong.
//!
//! Only `store` modules speak SQL. A [`Tx`] is the only proof of being inside a transaction: functions whose effects must
//! commit together take `&mut Tx`. Dropping a [`Tx`] that was not committed rolls it back, also when the future that held
//! it was cancelled (a client that hung up), so that no transaction stays open.

pub mod constraint;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod migrate;
pub mod session;

use std::ops::{Deref, DerefMut};
use std::str::FromStr as _;
use std::time::Duration;

use diesel_async::pooled_connection::deadpool::{Object, Pool as DeadPool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};
use futures_util::FutureExt as _;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What a statement fails with, for the features that read a constraint out of it.
pub type QueryError = diesel::result::Error;

/// A connection, inside a transaction or not.
pub type Connection = AsyncPgConnection;

/// The connections of a process.
pub type Pool = DeadPool<AsyncPgConnection>;

type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;

/// How many rows one INSERT has at most: a statement of PostgreSQL's takes 65,535 parameters.
pub(crate) const ROWS_AT_ONCE: usize = 1_000;

/// How long a request waits for a connection before it is told to come back.
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

/// Statements and idle transactions that take longer are ended by the server: a stuck one must not hold its locks.
const SESSION_SETTINGS: &str = "SET statement_timeout = '15s'; SET idle_in_transaction_session_timeout = '20s'; \
                                SET lock_timeout = '10s'; SET timezone = 'UTC'";

/// What can go wrong with the database itself.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection: PostgreSQL is down, or every connection is in use. Worth another try.
    #[error("the database cannot be reached")]
    Unavailable(#[source] anyhow::Error),
    /// A statement failed.
    #[error("a statement failed")]
    Query(#[from] diesel::result::Error),
}

impl DbError {
    /// Whether the same work may well succeed a moment later (lost connection, deadlock, time-out).
    pub fn is_transient(&self) -> bool {
        use diesel::result::{DatabaseErrorKind as Kind, Error};
        match self {
            Self::Unavailable(_) | Self::Query(Error::BrokenTransactionManager) => true,
            Self::Query(Error::DatabaseError(kind, info)) => {
                matches!(
                    kind,
                    Kind::SerializationFailure | Kind::ClosedConnection | Kind::UnableToSendCommand
                ) || is_transient_message(info.message())
            }
            Self::Query(_) => false,
        }
    }
}

/// Diesel has no kind of its own for these.
fn is_transient_message(message: &str) -> bool {
    [
        "deadlock detected",
        "terminating connection",
        "connection closed",
        "canceling statement",
        "the database system is",
    ]
    .iter()
    .any(|part| message.contains(part))
}

/// Makes a pool of at most `size` connections to `url`. Connects to nothing yet.
pub fn connect(url: &SecretString, size: usize) -> Result<Pool, DbError> {
    let mut config = ManagerConfig::default();
    // A dead connection shows at its first statement; a round trip before each use would cost more than that.
    config.recycling_method = RecyclingMethod::Fast;
    let home = Handle::try_current().ok();
    config.custom_setup = Box::new(move |url| establish_at(home.clone(), url.to_owned()).boxed());
    let manager = AsyncDieselConnectionManager::new_with_config(url.expose_secret(), config);
    DeadPool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(CONNECTION_WAIT))
        .create_timeout(Some(CONNECTION_WAIT))
        .recycle_timeout(Some(CONNECTION_WAIT))
        .runtime(deadpool_redis::Runtime::Tokio1) // both pools are of one deadpool, which diesel-async does not re-export whole
        .build()
        .map_err(|error| DbError::Unavailable(error.into()))
}

/// A connection lives on the runtime that it is made on. That must be the one the pool was made on: each thread of an HTTP
/// server has its own, which ends with the thread's last request, while other threads still use the connection.
async fn establish_at(home: Option<Handle>, url: String) -> diesel::ConnectionResult<AsyncPgConnection> {
    let Some(home) = home else { return establish(&url).await };
    // A set, because dropping it gives the attempt up.
    let mut attempt = JoinSet::new();
    attempt.spawn_on(async move { establish(&url).await }, &home);
    match attempt.join_next().await {
        Some(Ok(result)) => result,
        _ => Err(diesel::ConnectionError::BadConnection("the attempt was given up".to_owned())),
    }
}

/// Opens a connection: under TLS where the URL has `sslmode=require`, and then only to a server whose certificate is good
/// for the host by the system's authorities, or by those in the file that `SSL_CERT_FILE` names. (libpq calls that
/// `verify-full`; what it calls `require` believes any certificate, and so whoever stands in between.)
async fn open(url: &str) -> diesel::ConnectionResult<AsyncPgConnection> {
    let config = tokio_postgres::Config::from_str(url).map_err(bad_connection)?;
    if config.get_ssl_mode() != SslMode::Require {
        return AsyncPgConnection::establish(url).await;
    }
    let (tls, _unreadable) = MakeRustlsConnect::with_native_certs().map_err(|errors| {
        diesel::ConnectionError::BadConnection(format!("no certificate authorities were found: {errors:?}"))
    })?;
    let (client, connection) = config.connect(tls).await.map_err(bad_connection)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

fn bad_connection(error: tokio_postgres::Error) -> diesel::ConnectionError {
    diesel::ConnectionError::BadConnection(format!("{:#}", anyhow::Error::from(error)))
}

async fn establish(url: &str) -> diesel::ConnectionResult<AsyncPgConnection> {
    let mut connection = open(url).await?;
    connection
        .batch_execute(SESSION_SETTINGS)
        .await
        .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
    #[cfg(feature = "failpoints")]
    failpoint::watch(&mut connection);
    Ok(connection)
}

/// A connection outside any transaction: for single statements.
pub async fn get(pool: &Pool) -> Result<Object<AsyncPgConnection>, DbError> {
    pool.get().await.map_err(|error| DbError::Unavailable(error.into()))
}

/// Whether the database answers.
pub async fn ping(pool: &Pool) -> Result<(), DbError> {
    Ok(get(pool).await?.batch_execute("SELECT 1").await?)
}

/// An open transaction (READ COMMITTED unless it is a snapshot).
pub struct Tx {
    /// `None` once committed.
    connection: Option<Object<AsyncPgConnection>>,
}

impl Tx {
    /// Begins a transaction.
    pub async fn begin(pool: &Pool) -> Result<Self, DbError> {
        let mut connection = get(pool).await?;
        Manager::begin_transaction(&mut *connection).await?;
        Ok(Self { connection: Some(connection) })
    }

    /// Begins a transaction that reads and sees one instant, whatever commits meanwhile.
    pub async fn snapshot(pool: &Pool) -> Result<Self, DbError> {
        let mut tx = Self::begin(pool).await?;
        tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(tx)
    }

    /// Makes everything that was done in it so. An error may mean either: only the database knows.
    pub async fn commit(mut self) -> Result<(), DbError> {
        if let Some(connection) = self.connection.as_mut() {
            Manager::commit_transaction(&mut **connection).await?;
        }
        self.connection = None;
        Ok(())
    }
}

impl Deref for Tx {
    type Target = AsyncPgConnection;
    #[allow(clippy::expect_used, reason = "`commit` consumes the transaction: a live one has its connection")]
    fn deref(&self) -> &AsyncPgConnection {
        self.connection.as_ref().expect("a live transaction has a connection")
    }
}

impl DerefMut for Tx {
    #[allow(clippy::expect_used, reason = "`commit` consumes the transaction: a live one has its connection")]
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.connection.as_mut().expect("a live transaction has a connection")
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    // A connection that cannot even roll back is not used again.
                    if Manager::rollback_transaction(&mut *connection).await.is_err() {
                        drop(Object::take(connection));
                    }
                });
            }
            // Closing the connection rolls back too.
            Err(_) => drop(Object::take(connection)),
        }
    }
}

/// The pattern for `LIKE` of texts that begin so, whatever is in it.
pub(crate) fn beginning_with(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}
