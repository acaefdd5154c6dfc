//! Whether two requests take the same time, as somebody on the other end of a connection can tell.
//!
//! What else the machine does hits both alike: they alternate, each of a pair comes first every other time, and medians
//! are compared.

use std::future::Future;
use std::time::{Duration, Instant};

/// How many pairs show a difference of a few milliseconds on a machine that does other things too.
pub(crate) const PAIRS: usize = 200;

/// The middle times of two requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Medians {
    one: Duration,
    other: Duration,
}

impl Medians {
    /// Sends both `pairs` times.
    pub(crate) async fn of<A: Future, B: Future>(
        pairs: usize,
        mut one: impl FnMut() -> A,
        mut other: impl FnMut() -> B,
    ) -> Self {
        let (mut ones, mut others) = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
        for pair in 0..pairs {
            if pair % 2 == 0 {
                ones.push(time(one()).await);
                others.push(time(other()).await);
            } else {
                others.push(time(other()).await);
                ones.push(time(one()).await);
            }
        }
        Self { one: median(ones), other: median(others) }
    }

    /// Whether they can be told apart: by more than 5 ms and more than a tenth.
    pub(crate) fn differ(&self) -> bool {
        let slower = self.one.max(self.other);
        self.one.abs_diff(self.other) > Duration::from_millis(5).max(slower / 10)
    }
}

async fn time(request: impl Future) -> Duration {
    let begun = Instant::now();
    request.await;
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
