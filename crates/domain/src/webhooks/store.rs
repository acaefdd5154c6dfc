//! The SQL of webhooks.

mod deliveries;
mod endpoints;

pub(super) use deliveries::{
    Attempt, Open, delete_before, delete_of, find_delivery, give_up, insert_delivery, list_deliveries,
    note_attempt, open, reopen,
};
pub use deliveries::{Delivery, State};
pub use endpoints::Endpoint;
pub(super) use endpoints::{
    Change, Failures, begin_probe, change, count, delete, disable, enable, end_probe, find, insert, is_heard,
    list, listening, lock, lock_all, lock_failures, note_failures, recover, reseal, rotate,
};
