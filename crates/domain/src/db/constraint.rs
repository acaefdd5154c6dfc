//! Which constraint a statement broke. The index decides, not a SELECT before it; features map names to their errors.

use diesel::result::{DatabaseErrorKind, Error};

/// The name of the unique index that refused a row, if that is what went wrong.
pub fn unique_violation(error: &Error) -> Option<&str> {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => info.constraint_name(),
        _ => None,
    }
}
