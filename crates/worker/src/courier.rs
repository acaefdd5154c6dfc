//! Makes the requests of webhooks: within limits of time, to admitted addresses only, and no redirect is followed.
//!
//! A name is looked up here, each time, and the connection goes to an address that was looked at: whoever's name server
//! answers something else a moment later (DNS rebinding) leads us nowhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::webhooks::{Answer, Message, Targets};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, redirect};
use url::{Host, Url};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may take. Standard Webhooks advises 15 to 30 s; a job has less than its lease.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Connections to one host that are kept for the next message.
const IDLE_CONNECTIONS: usize = 4;

/// Sends webhooks.
pub struct Courier {
    targets: Targets,
    over_tls: Client,
    plain: Client,
}

/// Looks names up, and leaves out what may not be called.
struct Admitted {
    targets: Targets,
    over_tls: bool,
}

impl Resolve for Admitted {
    fn resolve(&self, name: Name) -> Resolving {
        let (targets, over_tls) = (self.targets.clone(), self.over_tls);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|addr| targets.admit(addr.ip(), over_tls)).collect();
            if admitted.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NotAdmitted).into());
            }
            let addrs: Addrs = Box::new(admitted.into_iter());
            Ok(addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the name stands for no address that may be called (WEBHOOK_PRIVATE_NETWORKS)")]
struct NotAdmitted;

impl Courier {
    /// Reads the certificates of the system, and contacts nobody.
    pub fn new(targets: Targets) -> anyhow::Result<Self> {
        let client = |over_tls| {
            Client::builder()
                .redirect(redirect::Policy::none())
                // A proxy would look names up by itself, and reach what may not be called.
                .no_proxy()
                .connect_timeout(CONNECT_WITHIN)
                .timeout(ANSWER_WITHIN)
                .https_only(over_tls)
                .pool_max_idle_per_host(IDLE_CONNECTIONS)
                .dns_resolver(Admitted { targets: targets.clone(), over_tls })
                .user_agent(concat!("Trellis/", env!("CARGO_PKG_VERSION")))
                .build()
        };
        Ok(Self { over_tls: client(true)?, plain: client(false)?, targets })
    }

    /// Sends a message, and tells what came of it. Of the answer only the status counts: its body is not read.
    pub async fn send(&self, message: &Message) -> Answer {
        let Ok(url) = Url::parse(&message.url) else {
            return Answer::Silence("the address cannot be read".to_owned());
        };
        let over_tls = url.scheme() == "https";
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        // What is an address already is not looked up; the networks may have changed since it was typed.
        if ip.is_some_and(|ip| !self.targets.admit(ip, over_tls)) {
            return Answer::Silence(NotAdmitted.to_string());
        }
        let request = if over_tls { &self.over_tls } else { &self.plain }
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id.to_string())
            .header("webhook-timestamp", message.timestamp.to_string())
            .header("webhook-signature", &message.signature)
            .body(message.body.clone());
        match request.send().await {
            Ok(response) => {
                let wait =
                    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                Answer::Status(response.status().as_u16(), wait.map(Duration::from_secs))
            }
            Err(error) => Answer::Silence(why(error)),
        }
    }
}

/// Why there was no answer, with every cause and without the address, which may hold a secret of the receiver's.
fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", ANSWER_WITHIN.as_secs());
    }
    format!("{:#}", anyhow::Error::from(error.without_url()))
}
