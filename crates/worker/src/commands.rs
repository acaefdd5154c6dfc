//! The commands for operators.

pub mod check_ledger;
pub mod dead_jobs;
pub mod recount;
pub mod redrive;
