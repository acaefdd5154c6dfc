//! Consumers against a Redis of their own: each fault of the queue that may not lose, wedge or stop anything.

mod drain;
mod harness;
mod outages;
mod pace;
mod poison;
mod remains;
