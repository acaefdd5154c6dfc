//! Decides a referral and its rewards.

use domain::cache::{Entry, Kind};
use domain::outbox::Lease;
use domain::referrals::{self, Settlement};
use uuid::Uuid;

use super::JobError;
use crate::context::Context;

pub(super) async fn run(
    context: &Context,
    lease: &Lease,
    referral_id: Uuid,
    request_id: Option<&str>,
) -> Result<(), JobError> {
    let now = context.clock.now();
    let settlement =
        referrals::settle(&context.pool, now, context.referrals, referral_id, lease, request_id).await?;
    if let Settlement::Moved { status, changed } = settlement {
        tracing::info!(%referral_id, %status, "settled a referral");
        for (user_id, version) in changed {
            let entry = Entry { kind: Kind::ReferralStats, id: user_id };
            // A copy that stays is believed for two seconds at most.
            if let Err(error) = context.cache.invalidate(entry, version).await {
                tracing::debug!(%user_id, %error, "figures stay cached a little longer");
            }
        }
    }
    Ok(())
}
