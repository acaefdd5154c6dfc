//! placeholder

pub mod consume;
