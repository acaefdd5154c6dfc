//! Coupons: codes that nobody guesses, each good for one order.

mod store;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::audit::{self, Actor, Event, Trace};
use crate::db::{self, DbError, Pool, Tx};
use crate::referrals;
use crate::token::Token;
pub use store::Coupon;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Ten characters: 50 bits, Crockford's base 32 in upper case, as `XXXXX-XXXXX`.
pub(super) fn new_code() -> String {
    let token = Token::random();
    let letter = |byte: &u8| ALPHABET.get(usize::from(*byte % 32)).copied().map_or('0', char::from);
    let mut letters: String = token.bytes().iter().take(10).map(letter).collect();
    letters.insert(5, '-');
    letters
}

/// A code as it was made, however it was typed: case, spaces and hyphens do not count, nor do letters that look like
/// digits. `None` for what is no code.
fn fold(typed: &str) -> Option<String> {
    let letters = typed.trim().chars().filter(|c| !matches!(c, '-' | ' '));
    let mut folded: String = letters
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        })
        .take(11)
        .collect();
    let is_code = folded.len() == 10 && folded.bytes().all(|byte| ALPHABET.contains(&byte));
    is_code.then(|| {
        folded.insert(5, '-');
        folded
    })
}

/// Where a coupon is used.
#[derive(Clone, Copy, Debug)]
pub struct Till<'a> {
    /// The coupon, as typed.
    pub code: &'a str,
    /// The shop's name for the order: the same order may ask again.
    pub order: &'a str,
    /// The shop itself, or a manager in its place.
    pub actor: Actor,
}

/// Why a coupon is not used.
#[derive(Debug, thiserror::Error)]
pub enum CouponError {
    /// There is none of this code.
    #[error("there is no such coupon")]
    Unknown,
    /// It was used for another order, or is void.
    #[error("the coupon was used, or is void")]
    Unavailable,
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<db::QueryError> for CouponError {
    fn from(error: db::QueryError) -> Self {
        Self::Db(error.into())
    }
}

/// Uses a coupon for an order. The same order again gets the same coupon, and changes nothing. With it, its owner and the
/// version of the owner's statistics.
pub async fn use_coupon(
    pool: &Pool,
    now: DateTime<Utc>,
    till: Till<'_>,
    trace: &Trace,
) -> Result<(Coupon, Uuid, i64), CouponError> {
    let Some(code) = fold(till.code) else { return Err(CouponError::Unknown) };
    let mut tx = Tx::begin(pool).await?;
    let Some((id, owner)) = store::find(&mut tx, &code).await? else { return Err(CouponError::Unknown) };
    // Before the coupon, as a reversal that voids it does.
    let version = referrals::touch(&mut tx, now, owner).await?;
    if !store::mark_used(&mut tx, id, till.order, now).await? {
        let used = store::used_for(&mut tx, id, till.order).await?.ok_or(CouponError::Unavailable)?;
        tx.commit().await?;
        return Ok((used, owner, version));
    }
    let entry = audit::Entry {
        user_id: Some(owner),
        actor: till.actor,
        event: Event::DiscountRedeemed,
        subject_id: Some(id),
        reason: None,
    };
    audit::record(&mut tx, now, entry, trace).await?;
    let used = store::used_for(&mut tx, id, till.order).await?.ok_or(CouponError::Unavailable)?;
    tx.commit().await?;
    Ok((used, owner, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        for typed in ["01ABC-DEFGH", " 01abcdefgh ", "OIabc defgh", "0-l-A-B-C-D-E-F-G-H"] {
            assert_eq!(fold(typed).as_deref(), Some("01ABC-DEFGH"), "{typed}");
        }
        for typed in ["", "01ABC-DEFG", "01ABC-DEFGH0", "01ABC-DEFGU", "01ABC-DEFGé", &"0".repeat(500)] {
            assert_eq!(fold(typed), None, "{typed}");
        }
        let code = new_code();
        assert_eq!(fold(&code), Some(code));
    }
}
