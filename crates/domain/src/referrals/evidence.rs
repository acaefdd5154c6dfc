//! What the database knows for or against a referral, gathered for [`abuse`](super::abuse) to weigh.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Referrer;
use super::abuse::{Browser, Facts, Identity};
use crate::accounts::{Email, identity_hash};
use crate::config::{Keys, ReferralPolicy};
use crate::db::{DbError, Tx};

/// How many people up a ring is looked for. Longer ones cost more mailboxes and browsers than they earn.
pub(super) const RING_BOUND: i32 = 8;

/// Who registers, and with what in hand.
pub(super) struct Newcomer<'a> {
    pub(super) id: Uuid,
    pub(super) email: &'a Email,
    pub(super) known_as: &'a [Uuid],
    /// The network, when sharing it means something.
    pub(super) network: Option<&'a [u8]>,
}

/// What is known when the account is made. Registrations from one network queue up here until the transaction ends, and
/// so do those by one code: each counts all before it, however many come at once.
pub(super) async fn at_registration(
    tx: &mut Tx,
    now: DateTime<Utc>,
    keys: &Keys,
    policy: ReferralPolicy,
    referrer: &Referrer,
    newcomer: &Newcomer<'_>,
) -> Result<(Identity, Facts), DbError> {
    let Newcomer { email, known_as, network, .. } = newcomer;
    if let Some(network) = network {
        store::queue_up(tx, referrer.id, network).await?;
    }
    let above = store::above(tx, referrer.id).await?;
    let identity = identity(tx, keys, referrer, &above, newcomer).await?;
    let above: Vec<Uuid> = above.into_iter().map(|one| one.id).collect();
    let row = store::facts(tx, now, referrer.id, *network, &above, known_as).await?;
    let facts = Facts {
        same_network: row.same_network,
        ring_network: row.ring_network,
        network_hour: row.network_hour,
        code_hour: row.code_hour,
        disposable: is_disposable(policy, email.as_str()),
        browser: match (row.sibling, known_as.is_empty()) {
            (true, _) => Browser::Sibling,
            (false, false) => Browser::Another,
            (false, true) => Browser::Unknown,
        },
        friends: row.friends,
        idle_friends: row.idle_friends,
    };
    Ok((identity, facts))
}

/// What is certain of the two sides when the one who was brought has another address.
pub(super) async fn by_address(
    tx: &mut Tx,
    keys: &Keys,
    referrer: &Referrer,
    referred_id: Uuid,
    email: &Email,
) -> Result<Identity, DbError> {
    let above = store::above(tx, referrer.id).await?;
    let newcomer = Newcomer { id: referred_id, email, known_as: &[], network: None };
    identity(tx, keys, referrer, &above, &newcomer).await
}

async fn identity(
    tx: &mut Tx,
    keys: &Keys,
    referrer: &Referrer,
    above: &[store::Above],
    newcomer: &Newcomer<'_>,
) -> Result<Identity, DbError> {
    let Newcomer { id, email, known_as, .. } = newcomer;
    let hash = identity_hash(keys, email);
    let had_it = super::store::had_identity(tx, &hash).await?;
    let canonical = email.canonical();
    let is_mailbox_of = |id: Uuid, email: &Email| email.canonical() == canonical || had_it.contains(&id);
    Ok(Identity {
        same_mailbox: is_mailbox_of(referrer.id, &referrer.email),
        same_browser: known_as.contains(&referrer.id),
        deleted_before: super::store::is_deleted_identity(tx, &hash).await?,
        had_by_another: had_it.iter().any(|user_id| user_id != id),
        ring_mailbox: above.iter().any(|one| is_mailbox_of(one.id, &Email::from_stored(one.email.clone()))),
        ring_browser: above.iter().any(|one| known_as.contains(&one.id)),
    })
}

/// What may have changed since.
pub(super) use store::{Later, later};

/// The recorded facts with what changed since; `email` is the referred person's.
pub(super) fn renewed(recorded: Facts, later: &Later, policy: ReferralPolicy, email: &str) -> Facts {
    Facts {
        friends: later.friends,
        idle_friends: later.idle_friends,
        disposable: is_disposable(policy, email),
        ..recorded
    }
}

fn is_disposable(policy: ReferralPolicy, email: &str) -> bool {
    email.rsplit_once('@').is_some_and(|(_, domain)| policy.disposable.has(domain))
}
