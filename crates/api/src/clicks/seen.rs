//! What was seen of a request, and the event that it becomes.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::clicks::{Agent, Countries, Event, Kind, Mark, Salts, Scope, referrer};
use uuid::Uuid;

use crate::client_ip;

/// A request, for the moment until it is an [`Event`]. Not printed: it has what nobody is to keep.
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) mark: Mark,
    pub(super) at: DateTime<Utc>,
    pub(super) subject: Uuid,
    pub(super) owner: Uuid,
    pub(super) address: IpAddr,
    pub(super) user_agent: Arc<str>,
    pub(super) referer: Arc<str>,
}

impl Seen {
    /// What is kept of it; `agent` is what its user agent says.
    pub(super) fn event(&self, agent: Agent, salts: &Salts, countries: &Countries, own_host: &str) -> Event {
        let mark = if self.mark == Mark::Person && agent.robot { Mark::Robot } else { self.mark };
        let network = client_ip::prefix(self.address).to_string();
        let visitor = |scope| {
            // Nobody else is counted as a visitor.
            let person = mark == Mark::Person;
            person.then(|| salts.visitor(self.at, &network, &self.user_agent, scope)).flatten()
        };
        let (of_subject, of_page) = match self.kind {
            Kind::Click => (visitor(Scope::Link(self.subject)), visitor(Scope::Links(self.owner))),
            Kind::View => (visitor(Scope::Page(self.owner)), None),
        };
        Event {
            kind: self.kind,
            mark,
            at: self.at,
            subject: self.subject,
            visitor: of_subject,
            page_visitor: of_page,
            device: agent.device,
            browser: agent.browser,
            system: agent.system,
            country: countries.find(self.address),
            referrer: referrer(&self.referer, own_host),
        }
    }
}
