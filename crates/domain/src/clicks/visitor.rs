//! Who is the same visitor, for a day: a hash whose salt is thrown away.
//!
//! HMAC(salt of the day, network + user agent + what is visited). All processes take the salt of a day from PostgreSQL,
//! where the first that needs it puts it, and keep it in memory for as long. With the salt gone nobody can try out which
//! address a hash is of; and with what is visited in it, no hash tells that two links had the same visitor.

mod store;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::db::{self, DbError, Pool};
use crate::token::{self, Key};

/// The salt of the next day is made this long before.
const AHEAD: TimeDelta = TimeDelta::hours(1);

/// A visitor of a thing on a day: half of an HMAC-SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Visitor(pub [u8; 16]);

/// Of what somebody is a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a link: they clicked it.
    Link(Uuid),
    /// Of the links of a page, by its owner: they clicked any.
    Links(Uuid),
    /// Of a page, by its owner: they saw it.
    Page(Uuid),
}

/// The salts of these days, as a process knows them.
#[derive(Debug, Default)]
pub struct Salts(BTreeMap<NaiveDate, Key>);

impl Salts {
    /// Makes sure that the salt of the day of `at` is here, and soon before midnight that of the next; forgets old ones.
    pub async fn provide(
        &mut self,
        pool: &Pool,
        now: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Result<(), DbError> {
        let oldest = super::oldest_day(now);
        self.0.retain(|day, _| *day >= oldest);
        for day in [at.date_naive(), (at + AHEAD).date_naive()] {
            if day >= oldest && !self.0.contains_key(&day) {
                let mut connection = db::get(pool).await?;
                let salt = store::salt(&mut connection, day, &token::random::<{ token::LENGTH }>()).await?;
                if let Ok(salt) = <[u8; token::LENGTH]>::try_from(salt) {
                    self.0.insert(day, Key::new(salt));
                }
            }
        }
        Ok(())
    }

    /// Whether [`Salts::provide`] has anything to do.
    pub fn lacks(&self, at: DateTime<Utc>) -> bool {
        [at, at + AHEAD].iter().any(|at| !self.0.contains_key(&at.date_naive()))
    }

    /// The visitor, by the network (an address without its end) and the user agent; `None` without a salt.
    pub fn visitor(
        &self,
        at: DateTime<Utc>,
        network: &str,
        user_agent: &str,
        scope: Scope,
    ) -> Option<Visitor> {
        let (what, id) = match scope {
            Scope::Link(id) => (&b"link"[..], id),
            Scope::Links(id) => (&b"links"[..], id),
            Scope::Page(id) => (&b"page"[..], id),
        };
        let mac = self.0.get(&at.date_naive())?.mac(&[
            network.as_bytes(),
            user_agent.as_bytes(),
            what,
            id.as_bytes(),
        ]);
        mac.first_chunk().copied().map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salts() -> Salts {
        let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        Salts(BTreeMap::from([(day(21), Key::new([1; 32])), (day(22), Key::new([2; 32]))]))
    }

    #[test]
    fn a_visitor_is_the_same_for_a_day_and_a_thing() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (salts, link) = (salts(), Uuid::from_u128(7));
        let visitor = |at_text: &str, network: &str, agent: &str, scope| {
            salts.visitor(at(at_text), network, agent, scope).unwrap()
        };
        let (noon, net, agent) = ("2026-11-22T12:00:00Z", "203.0.113.0/24", "Mozilla/5.0");
        let one = visitor(noon, net, agent, Scope::Link(link));
        assert_eq!(one, visitor("2026-11-22T23:59:59Z", net, agent, Scope::Link(link)));
        for other in [
            visitor("2026-11-21T23:59:59Z", net, agent, Scope::Link(link)),
            visitor(noon, "203.0.114.0/24", agent, Scope::Link(link)),
            visitor(noon, net, "Mozilla/5.1", Scope::Link(link)),
            visitor(noon, net, agent, Scope::Link(Uuid::from_u128(8))),
            visitor(noon, net, agent, Scope::Links(link)),
            visitor(noon, net, agent, Scope::Page(link)),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(salts.visitor(at("2026-11-23T00:00:00Z"), net, agent, Scope::Link(link)), None);
    }
}
