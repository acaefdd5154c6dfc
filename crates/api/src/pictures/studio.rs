//! Where pictures are worked on: on threads of their own, a few at once.
//!
//! A picture takes memory by the hundred MiB and a core for a second at worst, and anybody may send one. So at most two are
//! in work, and whoever would wait longer than two seconds for a place is told to come back: pictures never starve the
//! requests beside them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::problem::{Code, Problem};

/// In work at once.
const PLACES: usize = 2;

/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(2);

/// The places to work at.
#[derive(Clone, Debug)]
pub struct Studio {
    places: Arc<Semaphore>,
}

impl Default for Studio {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)) }
    }
}

impl Studio {
    /// Does `work` on a thread that may be busy. The place is held until it is done, also when nobody waits for it any more.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            metrics::counter!("trellis_pictures_refused_total").increment(1);
            return Err(Problem::like(Code::Overloaded));
        };
        let worked = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        worked.await.map_err(Problem::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Also those that nobody waits for any more.
    #[tokio::test]
    async fn h10_two_are_in_work_at_once_and_the_others_wait_or_are_told_to_come_back() {
        let studio = Studio::default();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let running = Arc::new(AtomicUsize::new(0));
        let work = || {
            let (gate, running) = (Arc::clone(&gate), Arc::clone(&running));
            move || {
                running.fetch_add(1, Ordering::SeqCst);
                let _ = gate.lock().unwrap().recv();
            }
        };
        let held: Vec<_> = (0..PLACES)
            .map(|_| {
                let (studio, work) = (studio.clone(), work());
                tokio::spawn(async move { studio.run(work).await })
            })
            .collect();
        while studio.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for task in held {
            task.abort();
        }
        let refused = studio.run(work()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Overloaded);
        for _ in 0..PLACES {
            release.send(()).unwrap();
        }
        assert_eq!(studio.run(|| 7).await.unwrap(), 7);
        assert_eq!(running.load(Ordering::SeqCst), PLACES);
    }
}
