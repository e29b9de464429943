// SPDX-License-Identifier: Apache-2.0
//! When the process has come to rest after work.
//!
//! The runtime's threads count how often they are woken; so many times is work, and only work arms a timer. What does
//! nothing but renew a lease now and then is not looked at.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// So many wake-ups of threads are work: a few hundred requests, or a dozen pods.
const WORK: u32 = 1000;
/// The time in which a process at rest uses no more than [`IDLE`].
const LOOK: Duration = Duration::from_secs(20);
/// So much processor time of all threads.
const IDLE: Duration = Duration::from_millis(200);

/// Counts the wake-ups since the process last came to rest.
#[derive(Debug, Default)]
pub struct Work {
    wakeups: AtomicU32,
    enough: Notify,
}

impl Work {
    /// A thread was woken. Cheap beside what woke it: one addition.
    pub fn note(&self) {
        if self.wakeups.fetch_add(1, Ordering::Relaxed) + 1 == WORK {
            self.enough.notify_one();
        }
    }

    /// Resolves when there was work and the process has come to rest after it; `used` is the processor time that it has
    /// used so far. Without work there is no timer.
    pub async fn rested(&self, used: impl Fn() -> Duration) {
        self.enough.notified().await;
        let mut before = used();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = used();
            if now.saturating_sub(before) < IDLE {
                break;
            }
            before = now;
        }
        self.wakeups.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, timeout};

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn wake(work: &Work, times: u32) {
        (0..times).for_each(|_| work.note());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_looks_before_there_was_work() {
        let (work, looks) = (Work::default(), Cell::new(0));
        let used = || {
            looks.set(looks.get() + 1);
            Duration::ZERO
        };
        wake(&work, WORK - 1);
        assert!(timeout(DAY, work.rested(used)).await.is_err());
        assert_eq!(looks.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn rest_comes_after_the_last_of_the_work() {
        let (work, start) = (Work::default(), Instant::now());
        wake(&work, 3 * WORK);
        // A whole core for 50 s, then nothing.
        work.rested(|| start.elapsed().min(Duration::from_secs(50))).await;
        assert_eq!(start.elapsed(), LOOK * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn each_rest_needs_work_of_its_own() {
        let work = Work::default();
        for _ in 0..2 {
            wake(&work, WORK);
            assert!(timeout(DAY, work.rested(|| Duration::ZERO)).await.is_ok());
            assert!(timeout(DAY, work.rested(|| Duration::ZERO)).await.is_err());
        }
    }
}
