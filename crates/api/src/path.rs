//! What stands in a path.

use domain::accounts::Username;
use uuid::Uuid;

use crate::problem::{Code, Problem};

/// An id. What is none names nothing.
pub fn id(text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_| Problem::new(Code::NotFound))
}

/// A username. What is none names nobody.
pub fn username(text: &str) -> Result<Username, Problem> {
    Username::parse(text).map_err(|_| Problem::new(Code::NotFound))
}
