//! What keeps the tables small and the waiting finite.

use domain::outbox::{self, Lease};
use domain::{accounts, housekeeping, referrals};

use super::JobError;
use crate::context::Context;

pub(super) async fn expire_referrals(context: &Context, lease: &Lease) -> Result<(), JobError> {
    let mut expired = 0;
    loop {
        match referrals::expire(&context.pool, context.clock.now()).await? {
            0 => break,
            n => expired += n,
        }
    }
    if expired > 0 {
        tracing::info!(expired, "expired referrals that waited too long");
    }
    Ok(outbox::complete_alone(&context.pool, lease).await?)
}

pub(super) async fn expire_accounts(context: &Context, lease: &Lease) -> Result<(), JobError> {
    if let Some(kept) = context.unverified_accounts_kept {
        let now = context.clock.now();
        let deleted = accounts::expire_unverified(&context.pool, now, &context.keys, kept).await?;
        if deleted > 0 {
            tracing::info!(deleted, "deleted accounts that nobody ever confirmed");
        }
    }
    Ok(outbox::complete_alone(&context.pool, lease).await?)
}

pub(super) async fn recheck_referrals(context: &Context, lease: &Lease) -> Result<(), JobError> {
    while referrals::close_orphans(&context.pool, context.clock.now()).await? > 0 {}
    let done = referrals::recheck(&context.pool, context.clock.now(), context.referrals).await?;
    if done.promised + done.weighed > 0 {
        tracing::info!(
            promised = done.promised,
            weighed = done.weighed,
            released = done.released,
            "looked again at referrals that stood still"
        );
        context.wake.wake();
    }
    Ok(outbox::complete_alone(&context.pool, lease).await?)
}

pub(super) async fn purge(context: &Context, lease: &Lease) -> Result<(), JobError> {
    let purged = housekeeping::purge(&context.pool, context.clock.now()).await?;
    tracing::info!(
        sessions = purged.sessions,
        tokens = purged.tokens,
        registrations = purged.registrations,
        jobs = purged.jobs,
        events = purged.events,
        visitors = purged.visitors,
        "removed what had run out"
    );
    Ok(outbox::complete_alone(&context.pool, lease).await?)
}
