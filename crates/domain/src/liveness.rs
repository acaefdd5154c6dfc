//! Whether a process is alive, asked from beside it: for images without a shell, whose health check has nothing else to ask
//! with. It is the one request that this crate makes, and the answer's status is all that is read of it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(2);

const ALIVE: &[u8; 12] = b"HTTP/1.1 200";

/// Fails unless whoever listens at `addr` answers `/health/live` with 200.
pub fn ask(addr: SocketAddr) -> anyhow::Result<()> {
    let addr = reachable(addr);
    let status = status(addr).with_context(|| format!("no answer from {addr}"))?;
    anyhow::ensure!(status == *ALIVE, "{addr} does not say that it is alive");
    Ok(())
}

fn status(addr: SocketAddr) -> std::io::Result<[u8; ALIVE.len()]> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut status = [0; ALIVE.len()];
    stream.read_exact(&mut status)?;
    Ok(status)
}

/// Whoever listens on every address is asked on the loopback one.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback_address() {
        for (listens, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:8080", "10.0.0.7:8080"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
