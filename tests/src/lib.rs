//! What tests share: the machinery around the system under test. No rule of the product lives here.

pub mod smtp;
