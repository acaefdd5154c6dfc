//! From a configuration to a process that listens, and from a signal to one that has stopped.
//!
//! Stopping is slow on purpose: first `/health/ready` says no and everything else goes on, so that load balancers look
//! elsewhere; then no connection is taken any more and what runs may finish; then it is over. A second signal ends it at
//! once.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server as HttpServerRun;
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use domain::clock::Clock;
use domain::outbox::relay::Relay;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{Shared, State};
use crate::config::Config;
use crate::middleware::Edge;
use crate::routes;

/// How long the headers of a request may take to arrive.
///
/// The HTTP library applies this to the first request of a connection only: headers that drip in later on a kept-alive
/// connection are bounded by nothing here, so a proxy with a time-out of its own belongs in front of what the internet can
/// reach.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: longer than the 60 s that load balancers keep theirs, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Connections a thread holds at most; more wait to be accepted.
const CONNECTIONS_PER_WORKER: usize = 10_000;

/// How long requests may go on once no new ones are taken, in seconds.
const FINISH_WITHIN: u64 = 25;

/// An api that has its address, and is about to run.
pub struct Server {
    http: HttpServerRun,
    addr: SocketAddr,
    state: Shared,
    stop: watch::Sender<u8>,
}

/// Stops a server from elsewhere.
#[derive(Clone, Debug)]
pub struct Handle(watch::Sender<u8>);

impl Handle {
    /// Does what SIGTERM does; a second call what a second signal does.
    pub fn shutdown(&self) {
        self.0.send_modify(|asked| *asked = asked.saturating_add(1));
    }
}

/// Builds everything and binds the addresses: the one entry for `main` and for tests.
pub async fn build(config: Config, clock: Clock) -> anyhow::Result<Server> {
    let state = web::Data::new(State::new(config, clock)?);
    let config = &state.config;
    let app_state = state.clone();
    let server = HttpServer::new(move || {
        let env = app_state.config.common.env;
        App::new()
            .app_data(app_state.clone())
            .configure(|config| routes::register(config, env))
            .wrap(Edge::new(app_state.clone()))
    })
    .workers(config.http_workers)
    .client_request_timeout(HEADERS_WITHIN)
    .client_disconnect_timeout(Duration::from_secs(2))
    .keep_alive(KEEP_ALIVE)
    .max_connections(CONNECTIONS_PER_WORKER)
    .shutdown_timeout(FINISH_WITHIN)
    .disable_signals()
    .bind(config.http_addr)
    .with_context(|| cannot_listen("HTTP_ADDR", config.http_addr))?;
    let addr = server.addrs().first().copied().unwrap_or(config.http_addr);
    Ok(Server { http: server.run(), addr, stop: watch::Sender::new(0), state })
}

fn cannot_listen(setting: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr}: is something else running there? {setting} sets another address")
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its handlers share.
    pub fn state(&self) -> &Shared {
        &self.state
    }

    /// To stop it from elsewhere.
    pub fn handle(&self) -> Handle {
        Handle(self.stop.clone())
    }

    /// Serves until it is told to stop, and has stopped.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self { http, addr, state, stop } = self;
        tracing::info!(%addr, "the api listens");
        let http_handle = http.handle();
        let stopping = async {
            let mut asked = Asked::new(stop.subscribe())?;
            asked.next().await;
            tracing::info!(
                drain_seconds = state.config.drain.as_secs(),
                "stopping: serving on while drained"
            );
            state.start_draining();
            let hurried = tokio::select! {
                () = tokio::time::sleep(state.config.drain) => false,
                () = asked.next() => true,
            };
            if !hurried {
                tokio::select! {
                    () = http_handle.stop(true) => return anyhow::Ok(()),
                    () = asked.next() => {}
                }
            }
            http_handle.stop(false).await;
            Ok(())
        };
        // The last requests may promise jobs: the relay ends after them.
        let (relay_stop, relay_shutdown) = watch::channel(false);
        let relay = Relay::new(state.pool.clone(), state.queues.clone(), state.wake.clone());
        let relaying = tokio::spawn(relay.run(relay_shutdown));
        let (served, stopped) = tokio::join!(http, stopping);
        relay_stop.send_replace(true);
        relaying.await?;
        served?;
        stopped
    }
}

/// Being told to stop, by a signal or by a [`Handle`].
struct Asked {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    handle: watch::Receiver<u8>,
}

impl Asked {
    fn new(handle: watch::Receiver<u8>) -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            handle,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            // The sender lives as long as the server, so this only ends by a change.
            _ = self.handle.changed() => {}
        }
    }
}
