//! A new password that is asked for a blocked account: the holder of the mailbox reads why there is no link.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::accounts::{self, BlockNotice};
use crate::config::MailRate;
use crate::db::{DbError, Pool, Tx};

/// What to mail in place of a link when the account of a request is blocked; `None` when it is not, or when enough was
/// mailed. The request stays open, for a mail that has to be sent again; it never gets a token.
pub async fn blocked_mail(
    pool: &Pool,
    now: DateTime<Utc>,
    limit: MailRate,
    id: Uuid,
) -> Result<Option<BlockNotice>, DbError> {
    let mut tx = Tx::begin(pool).await?;
    let Some((user_id, created_at)) = store::find(&mut tx, id, now).await? else { return Ok(None) };
    // The account's row before the request's, as wherever both are locked.
    accounts::lock(&mut tx, user_id).await?;
    let since = created_at - limit.window;
    let admitted = store::count_others(&mut tx, user_id, id, since).await? < limit.quota;
    let open = store::attribute(&mut tx, id, user_id, (!admitted).then_some(now)).await?;
    tx.commit().await?;
    if open && admitted { accounts::block_notice(pool, user_id).await } else { Ok(None) }
}
