//! Domains that no link leads to.

use std::fmt;

use chrono::{DateTime, Utc};
use url::Host;

use super::{Decision, record, store};
use crate::audit::{Event, Trace};
use crate::db::{self, DbError, Pool, Tx};
use crate::page::Cursor;

/// The longest name that DNS has.
const LONGEST: usize = 253;

/// A host, as links have it: lower case, IDNA folded, without a dot at the end. All below it is meant with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockedDomain(String);

/// Why a text is no domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a domain")]
pub struct DomainError;

impl BlockedDomain {
    /// Reads a domain or an IP address, as people write it. It goes through the parser that addresses of links go through:
    /// what one folds, the other folds.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.trim().trim_end_matches('.');
        if text.is_empty() || text.starts_with('.') || text.contains("..") {
            return Err(DomainError);
        }
        let host = Host::parse(text).map_err(|_| DomainError)?;
        let is_name = match &host {
            // Addresses may have hosts of other characters, which no name server knows.
            Host::Domain(name) => name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        let host = host.to_string();
        let name = host.trim_end_matches('.');
        let is_whole = is_name && (1..=LONGEST).contains(&name.len());
        if is_whole { Ok(Self(name.to_owned())) } else { Err(DomainError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlockedDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets no link lead to a domain any more; the pages with such links change. Returns whether links might until now.
pub async fn block_domain(
    pool: &Pool,
    now: DateTime<Utc>,
    domain: &BlockedDomain,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if !store::insert_domain(&mut tx, now, domain.as_str(), decision.reason).await? {
        return Ok(false);
    }
    finish(tx, now, domain, Event::DomainBlocked, decision, trace).await
}

/// Lets links lead to a domain again, unless one above it is blocked. Returns whether they might not.
pub async fn unblock_domain(
    pool: &Pool,
    now: DateTime<Utc>,
    domain: &BlockedDomain,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, DbError> {
    let mut tx = Tx::begin(pool).await?;
    if !store::delete_domain(&mut tx, domain.as_str()).await? {
        return Ok(false);
    }
    finish(tx, now, domain, Event::DomainUnblocked, decision, trace).await
}

async fn finish(
    mut tx: Tx,
    now: DateTime<Utc>,
    domain: &BlockedDomain,
    event: Event,
    decision: Decision<'_>,
    trace: &Trace,
) -> Result<bool, DbError> {
    store::touch_pages_with(&mut tx, now, domain.as_str()).await?;
    let reason = format!("{domain}: {}", decision.reason);
    record(&mut tx, now, None, event, None, Decision { reason: &reason, ..decision }, trace).await?;
    tx.commit().await?;
    Ok(true)
}

/// Blocked domains, newest first, after `after`; at most `limit`.
pub async fn list_domains(
    pool: &Pool,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<store::Domain>, DbError> {
    let mut connection = db::get(pool).await?;
    Ok(store::list_domains(&mut connection, after, limit).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_folded_as_links_fold_it() {
        for (text, kept) in [
            ("Evil.Example", "evil.example"),
            (" evil.example. ", "evil.example"),
            ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("ｅｖｉｌ。example", "evil.example"),
            ("zip", "zip"),
            ("127.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(BlockedDomain::parse(text).map(|domain| domain.0), Ok(kept.to_owned()), "{text}");
        }
        for text in [
            "",
            ".",
            "..",
            ".example",
            "a..b",
            "a b",
            "https://evil.example",
            "evil.example/x",
            "a@b",
            "a:80",
            "*.evil.example",
            "evil)(.example",
            "ev!l.example",
            "%",
        ] {
            assert!(BlockedDomain::parse(text).is_err(), "{text}");
        }
        assert!(BlockedDomain::parse(&format!("{}.example", "a.".repeat(125))).is_err());
    }
}
