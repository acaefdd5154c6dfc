//! From a configuration to a server that listens, and from a word or a signal to one that has stopped. Signals are the
//! process's business: only who asks for it has them heeded.
//!
//! Stopping is slow on purpose: first `/health/ready` says no and everything else goes on, so that load balancers look
//! elsewhere; then no connection is taken any more and what runs may finish; then it is over. A second signal ends it at
//! once.

mod metrics;

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use domain::clock::Clock;
use domain::outbox::relay::Relay;
use domain::telemetry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{Shared, State};
use crate::config::Config;
use crate::middleware::{Edge, Fence};
use crate::routes;

/// How long the headers of a request may take to arrive.
///
/// The HTTP library applies this to the first request of a connection only: headers that drip in later on a kept-alive
/// connection are bounded by nothing here, so a proxy with a time-out of its own belongs in front of what the internet can
/// reach, such as `deploy/haproxy.cfg`. What the library cannot read at all (400), too many headers (431) and headers that
/// come too late (408) it answers by itself with an empty body, before anything of ours runs and with no way in: those
/// answers are no problems in the form of the API, carry no request id, and end the connection.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How long a client may take to read the end of an answer and close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How long an idle connection is kept: longer than the 60 s that load balancers keep theirs, so that they close first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Connections a thread holds at most; more wait to be accepted.
const CONNECTIONS_PER_WORKER: usize = 10_000;

/// How long requests may go on once no new ones are taken, in seconds.
const FINISH_WITHIN: u64 = 25;

/// How often collected metrics are compacted, and the fence forgets who went away.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// An api that has its addresses, and is about to run.
pub struct Server {
    http: Running,
    metrics: Running,
    state: Shared,
    fence: Fence,
    stop: watch::Sender<usize>,
}

/// A listener and where it listens.
struct Running {
    server: actix_web::dev::Server,
    addr: SocketAddr,
}

/// Stops a server from elsewhere.
#[derive(Clone, Debug)]
pub struct Handle(watch::Sender<usize>);

impl Handle {
    /// Lets the server stop; a second call ends it at once.
    pub fn shutdown(&self) {
        self.0.send_modify(|asked| *asked = asked.saturating_add(1));
    }

    /// From now on SIGTERM and SIGINT are calls of [`Handle::shutdown`], in this whole process.
    pub fn heed_signals(self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                self.shutdown();
            }
        });
        Ok(())
    }
}

/// Builds everything and binds the addresses: the one entry for `main` and for tests. `clock` is the system's, but for
/// tests.
pub async fn build(config: Config, clock: Clock) -> anyhow::Result<Server> {
    telemetry::init_metrics();
    let state = web::Data::new(State::new(config, clock)?);
    let fence = Fence::new(&state);
    let http = serve(&state, &fence)?;
    let metrics = metrics::serve(&state)?;
    Ok(Server { http, metrics, state, fence, stop: watch::Sender::new(0) })
}

fn serve(state: &Shared, fence: &Fence) -> anyhow::Result<Running> {
    let config = &state.config;
    let (state, fence) = (state.clone(), fence.clone());
    let app = move || {
        App::new()
            .app_data(state.clone())
            .configure(|config| routes::register(config, state.config.common.env, &fence))
            .wrap(Edge::new(state.clone()))
    };
    let server = HttpServer::new(app)
        .workers(config.http_workers)
        .client_request_timeout(HEADERS_WITHIN)
        .client_disconnect_timeout(CLOSE_WITHIN)
        .keep_alive(KEEP_ALIVE)
        .max_connections(CONNECTIONS_PER_WORKER)
        .shutdown_timeout(FINISH_WITHIN)
        .disable_signals()
        .bind(config.http_addr)
        .with_context(|| cannot_listen("HTTP_ADDR", config.http_addr))?;
    let addr = server.addrs().first().copied().unwrap_or(config.http_addr);
    Ok(Running { server: server.run(), addr })
}

fn cannot_listen(setting: &str, addr: SocketAddr) -> String {
    format!("cannot listen on {addr}: is something else running there? {setting} sets another address")
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.http.addr
    }

    /// Where its metrics are.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.metrics.addr
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
        let Self { http, metrics, state, fence, stop } = self;
        tracing::info!(addr = %http.addr, metrics_addr = %metrics.addr, "the api listens");
        // The last requests may promise jobs: the relay ends after them.
        let (relay_stop, relay_shutdown) = watch::channel(false);
        let relay = Relay::new(state.pool.clone(), state.queues.clone(), state.wake.clone());
        let relaying = tokio::spawn(relay.run(relay_shutdown));
        // And the last clicks are brought to Redis after them too.
        let flushing =
            state.clicks.flusher().map(|flusher| tokio::spawn(flusher.run(relay_stop.subscribe())));
        let metrics_handle = metrics.server.handle();
        let metrics = tokio::spawn(metrics.server);

        let http_handle = http.server.handle();
        let mut http = http.server;
        let stopping = stop_when_asked(&state, stop.subscribe(), http_handle);
        tokio::pin!(stopping);
        let served = tokio::select! {
            served = &mut http => served,
            () = &mut stopping => (&mut http).await,
            () = keep_house(&fence) => Ok(()),
        };
        relay_stop.send_replace(true);
        relaying.await?;
        if let Some(flushing) = flushing {
            flushing.await?;
        }
        metrics_handle.stop(false).await;
        metrics.await??;
        tracing::info!("the api has stopped");
        Ok(served?)
    }
}

/// Waits to be told to stop, and then lets go in steps.
async fn stop_when_asked(state: &State, asked: watch::Receiver<usize>, http: ServerHandle) {
    let mut asked = Asked { handle: asked, heeded: 0 };
    asked.next().await;
    let drain = state.config.drain;
    tracing::info!(
        drain_seconds = drain.as_secs(),
        "stopping: load balancers are told, requests are still served"
    );
    state.start_draining();
    tokio::select! {
        () = async {
            tokio::time::sleep(drain).await;
            http.stop(true).await;
        } => {}
        () = asked.next() => http.stop(false).await,
    }
}

/// What is to be done now and then, for ever.
async fn keep_house(fence: &Fence) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        telemetry::upkeep_metrics();
        fence.sweep();
    }
}

/// Being told to stop, by a [`Handle`].
struct Asked {
    handle: watch::Receiver<usize>,
    /// How often the handle's word was heeded.
    heeded: usize,
}

impl Asked {
    async fn next(&mut self) {
        let heeded = self.heeded;
        // The sender lives as long as the server, so this only ends by a change.
        let _ = self.handle.wait_for(|asked| *asked > heeded).await;
        self.heeded += 1;
    }
}
