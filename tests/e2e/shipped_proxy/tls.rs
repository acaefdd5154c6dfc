//! TLS ends in the proxy: which versions it speaks, and where clients without it are sent.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use testkit::stack::{Stack, StackOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::{BEHIND_IT, PUBLIC_URL, addresses, say, shipped};

const REQUEST: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: trellis.test\r\nConnection: close\r\n\r\n";

/// Asks over TLS; the answer, and the protocol that was agreed on.
async fn ask(
    address: &str,
    authority: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> (String, Option<String>) {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("trellis.test").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    if agreed.as_deref() == Some("h2") {
        return (String::new(), agreed);
    }
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    let _ended = stream.read_to_end(&mut answer).await;
    (String::from_utf8_lossy(&answer).into_owned(), agreed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_proxy_speaks_modern_tls_and_sends_everybody_there() {
    let stack = Stack::start(StackOptions { apis: 1, workers: 0, settings: &BEHIND_IT }).await;
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["trellis.test".to_owned()]).unwrap();
    let pem = stack.directory().join("tls.pem");
    std::fs::write(&pem, format!("{}{}", cert.pem(), signing_key.serialize_pem())).unwrap();
    let net = rand::random::<[u8; 2]>();
    let [https, http] = ["18443", "18081"].map(|port| format!("127.{}.{}.9:{port}", net[0], net[1]));
    let more = [("TLS_CERTIFICATE", pem.to_str().unwrap()), ("HTTPS_BIND", &https), ("HTTP_BIND", &http)];
    let _proxy = shipped(&addresses(&stack), &more).await;

    for versions in [&[&TLS12][..], &[&TLS13]] {
        let (answer, _) = ask(&https, cert.der(), versions, &["http/1.1"]).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("strict-transport-security"),
            "{answer}"
        );
    }
    let (_, agreed) = ask(&https, cert.der(), &[&TLS13], &["h2", "http/1.1"]).await;
    assert_eq!(agreed.as_deref(), Some("h2"));

    // The method stays, and whatever host the request says, ours is the one that is sent to.
    let request = b"POST /api/login/?x=y HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = say(&http, request).await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(answer.contains(&format!("location: {PUBLIC_URL}/api/login/?x=y\r\n")), "{answer}");
}
