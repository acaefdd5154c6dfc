//! Certificates that tests make for themselves, and doors that speak TLS in front of servers that do not.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// A self-signed certificate for one host.
pub struct Certificate {
    pem: String,
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// A new one.
    pub fn for_host(name: &str) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(Self { pem: cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// As a file of trusted authorities has it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The server's side of the handshake.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<TlsStream<S>> {
        Ok(self.acceptor.accept(stream).await?)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// What a client of PostgreSQL asks with before it speaks TLS: a message of eight bytes (its manual calls it `SSLRequest`).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What is behind a door.
#[derive(Clone)]
enum Behind {
    Socket(PathBuf),
    Address(SocketAddr),
}

/// A door to a server: under TLS, and no other way.
pub struct Door {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Door {
    /// In front of the PostgreSQL that this URL names.
    pub async fn to_postgres(certificate: &Arc<Certificate>, database_url: &str) -> Self {
        let config = Config::from_str(database_url).expect("the URL of a database");
        let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("not on a socket") };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let socket = Behind::Socket(directory.join(format!(".s.PGSQL.{port}")));
        Self::open(certificate, socket, true).await
    }

    /// In front of the Redis that this URL names.
    pub async fn to_redis(certificate: &Arc<Certificate>, url: &SecretString) -> Self {
        let socket = url.expose_secret().strip_prefix("redis+unix://").expect("a Redis on a socket");
        Self::open(certificate, Behind::Socket(PathBuf::from(socket)), false).await
    }

    /// In front of a server of HTTP.
    pub async fn to_http(certificate: &Arc<Certificate>, address: SocketAddr) -> Self {
        Self::open(certificate, Behind::Address(address), false).await
    }

    async fn open(certificate: &Arc<Certificate>, behind: Behind, of_postgres: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = Arc::clone(certificate);
        let task = tokio::spawn(async move {
            let mut visitors = JoinSet::new();
            while let Ok((visitor, _)) = listener.accept().await {
                let (certificate, behind) = (Arc::clone(&certificate), behind.clone());
                visitors.spawn(async move {
                    // Whoever does not come in is told nothing.
                    let _ = let_in(visitor, &certificate, &behind, of_postgres).await;
                });
                while visitors.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }

    /// Where it is.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn let_in(
    mut visitor: TcpStream,
    certificate: &Certificate,
    behind: &Behind,
    of_postgres: bool,
) -> Result<()> {
    if of_postgres {
        let mut asked = [0; 8];
        visitor.read_exact(&mut asked).await?;
        anyhow::ensure!(asked == SSL_REQUEST, "somebody speaks in clear");
        visitor.write_all(b"S").await?;
    }
    let mut visitor = certificate.accept(visitor).await?;
    match behind {
        Behind::Socket(path) => {
            copy_bidirectional(&mut visitor, &mut UnixStream::connect(path).await?).await?;
        }
        Behind::Address(address) => {
            copy_bidirectional(&mut visitor, &mut TcpStream::connect(address).await?).await?;
        }
    }
    Ok(())
}
