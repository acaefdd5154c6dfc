//! The fence: a coarse limit by address, in this process, in front of everything that costs something.
//!
//! It keeps one client from taking a whole replica; the limits that mean something are in [`crate::limits`]. It is made of
//! actix-governor, which is GPL-3.0-or-later and so behind the cargo feature `governor`; without it there is no fence.

#[cfg(feature = "governor")]
pub(crate) use governed::Fence;
#[cfg(not(feature = "governor"))]
pub(crate) use open::Fence;

#[cfg(feature = "governor")]
mod governed {
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use actix_governor::governor::NotUntil;
    use actix_governor::governor::clock::{Clock as _, DefaultClock, QuantaInstant};
    use actix_governor::governor::middleware::NoOpMiddleware;
    use actix_governor::{Governor, GovernorConfig, GovernorConfigBuilder, KeyExtractor};
    use actix_web::dev::ServiceRequest;
    use actix_web::http::header;
    use actix_web::web::ServiceConfig;
    use actix_web::{HttpResponse, HttpResponseBuilder, Resource};

    use crate::app::Shared;
    use crate::client_ip;
    use crate::problem::Problem;

    /// Requests of one address at once,
    const BURST: u32 = 400;

    /// and then one each 10 ms.
    const PERIOD: Duration = Duration::from_millis(10);

    /// The fence of a process; clones share the counts.
    #[derive(Clone)]
    pub(crate) struct Fence(Option<Arc<GovernorConfig<Client, NoOpMiddleware<QuantaInstant>>>>);

    impl Fence {
        pub(crate) fn new(state: &Shared) -> Self {
            if !state.config.rate_limits {
                return Self(None);
            }
            let mut builder = GovernorConfigBuilder::default().key_extractor(Client { state: state.clone() });
            Self(builder.period(PERIOD).burst_size(BURST).finish().map(Arc::new))
        }

        /// Registers a resource behind the fence.
        pub(crate) fn register(&self, config: &mut ServiceConfig, resource: Resource) {
            match self.0.as_deref() {
                Some(governor) => config.service(resource.wrap(Governor::new(governor))),
                None => config.service(resource),
            };
        }

        /// Forgets addresses that have not come for a while. Otherwise each that ever came would take memory.
        pub(crate) fn sweep(&self) {
            if let Some(config) = &self.0 {
                config.limiter().retain_recent();
            }
        }
    }

    /// Tells clients apart: by address, and those of IPv6, who have as many as they like, by prefix.
    #[derive(Clone)]
    struct Client {
        state: Shared,
    }

    impl KeyExtractor for Client {
        type Key = IpAddr;
        type KeyExtractionError = Problem;

        fn extract(&self, request: &ServiceRequest) -> Result<IpAddr, Problem> {
            Ok(match client_ip::of(request.request(), &self.state.config.trusted_proxies) {
                ip @ IpAddr::V4(_) => ip,
                ip @ IpAddr::V6(_) => client_ip::prefix(ip).addr(),
            })
        }

        fn exceed_rate_limit_response(
            &self,
            refusal: &NotUntil<QuantaInstant>,
            _: HttpResponseBuilder,
        ) -> HttpResponse {
            metrics::counter!("rate_limit_refused_total", "policy" => "fence").increment(1);
            let wait = refusal.wait_time_from(DefaultClock::default().now());
            // The way from here loses the error of an answer, so the edge explains this one by its status.
            HttpResponse::TooManyRequests().insert_header((header::RETRY_AFTER, wait.as_secs() + 1)).finish()
        }
    }
}

#[cfg(not(feature = "governor"))]
mod open {
    use actix_web::Resource;
    use actix_web::web::ServiceConfig;

    use crate::app::Shared;

    /// No fence.
    #[derive(Clone)]
    pub(crate) struct Fence;

    impl Fence {
        pub(crate) fn new(_: &Shared) -> Self {
            Self
        }

        #[allow(clippy::unused_self, reason = "as the fence that is one")]
        pub(crate) fn register(&self, config: &mut ServiceConfig, resource: Resource) {
            config.service(resource);
        }

        #[allow(clippy::unused_self, reason = "as the fence that is one")]
        pub(crate) fn sweep(&self) {}
    }
}
