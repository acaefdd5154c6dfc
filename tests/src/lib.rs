//! placeholder

pub mod redis;
