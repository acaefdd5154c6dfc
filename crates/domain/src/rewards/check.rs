//! The invariants of the books, each a query that finds what breaks it. All are read from one snapshot.

mod invariants;
mod store;

use crate::db::{DbError, Pool, Tx};
pub use invariants::INVARIANTS;

/// A property of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Its number, such as `L1`.
    pub id: &'static str,
    /// What holds.
    pub rule: &'static str,
    /// Finds the rows that break it, each as a text that names it.
    query: &'static str,
}

/// What breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations {
    /// The invariant.
    pub invariant: Invariant,
    /// How many rows break it.
    pub count: i64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// Checks every invariant and returns those that are broken. `checked` hears of each as it is done.
pub async fn check_ledger(
    pool: &Pool,
    mut checked: impl FnMut(&Invariant, Option<&Violations>),
) -> Result<Vec<Violations>, DbError> {
    let mut broken = Vec::new();
    let mut tx = Tx::snapshot(pool).await?;
    store::take_time(&mut tx).await?;
    for invariant in &INVARIANTS {
        let (count, examples) = store::find(&mut tx, invariant.query).await?;
        let violations = (count > 0).then_some(Violations { invariant: *invariant, count, examples });
        checked(invariant, violations.as_ref());
        broken.extend(violations);
    }
    tx.commit().await?;
    Ok(broken)
}
