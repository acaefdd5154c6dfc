//! A certificate that a sink makes for itself, and the handshake with it.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use super::session::Stream;

/// A self-signed certificate for `127.0.0.1`, and so not for `localhost`.
pub(super) struct Certificate {
    pem: String,
    acceptor: TlsAcceptor,
}

impl Certificate {
    pub(super) fn make() -> Result<Self> {
        let names = vec!["127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)?;
        Ok(Self { pem: cert.pem(), acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) async fn accept(&self, stream: Box<dyn Stream>) -> Result<TlsStream<Box<dyn Stream>>> {
        Ok(self.acceptor.accept(stream).await?)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
