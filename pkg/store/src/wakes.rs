// SPDX-License-Identifier: Apache-2.0

//! Wakes many watchers a group at a time. A thousand that are woken at once stand before everything that becomes ready
//! after them, the next write and its commit among it, which they will wait for themselves.

use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// How many are woken together: they are served within a millisecond or two.
const GROUP: usize = 64;

/// Those who wait for the same.
#[derive(Default)]
pub(crate) struct Wakes(Mutex<State>);

#[derive(Default)]
struct State {
    groups: Vec<Group>,
    /// The group that is woken next, and how many are still to be.
    next: usize,
    left: usize,
    /// A task wakes what is left.
    is_running: bool,
}

#[derive(Default)]
struct Group {
    wake: Arc<Notify>,
    seats: usize,
}

/// A place among those who wait, until it is [left](Wakes::leave).
pub(crate) struct Seat {
    group: usize,
    wake: Arc<Notify>,
}

impl Seat {
    /// Resolves at the first call of [`Wakes::wake`] from now on, or later.
    pub(crate) fn woken(&self) -> OwnedNotified {
        Arc::clone(&self.wake).notified_owned()
    }
}

impl Wakes {
    /// Takes a place.
    pub(crate) fn seat(&self) -> Seat {
        let mut state = self.0.lock();
        let group = state.groups.iter().position(|group| group.seats < GROUP).unwrap_or(state.groups.len());
        if group == state.groups.len() {
            state.groups.push(Group::default());
        }
        state.groups[group].seats += 1;
        Seat { group, wake: Arc::clone(&state.groups[group].wake) }
    }

    /// Gives a place of these back.
    pub(crate) fn leave(&self, seat: &Seat) {
        self.0.lock().groups[seat.group].seats -= 1;
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().groups.iter().all(|group| group.seats == 0)
    }

    /// Wakes everyone: one group now, each other one when what was ready before it has run.
    pub(crate) fn wake(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return self.wake_at_once() };
        let mut state = self.0.lock();
        state.left = state.groups.len();
        // The task that wakes them goes round once more.
        if state.is_running {
            return;
        }
        let first = state.take();
        state.is_running = state.left > 0;
        if state.is_running {
            drop(runtime.spawn(Arc::clone(self).run()));
        }
        drop(state);
        first.inspect(|wake| wake.notify_waiters());
    }

    /// Wakes everyone now.
    pub(crate) fn wake_at_once(&self) {
        self.0.lock().groups.iter().for_each(|group| group.wake.notify_waiters());
    }

    async fn run(self: Arc<Self>) {
        while let Some(wake) = self.next().await {
            wake.notify_waiters();
        }
    }

    async fn next(&self) -> Option<Arc<Notify>> {
        behind_what_is_ready().await;
        let mut state = self.0.lock();
        let next = state.take();
        state.is_running = next.is_some();
        next
    }
}

impl State {
    /// The group whose turn it is, where one is left.
    fn take(&mut self) -> Option<Arc<Notify>> {
        self.left = self.left.checked_sub(1)?;
        let group = self.next % self.groups.len();
        self.next = group + 1;
        Some(Arc::clone(&self.groups[group].wake))
    }
}

/// Goes to the end of the queue of tasks. ([`tokio::task::yield_now`] waits until there is nothing else to do, which under
/// load is never.)
async fn behind_what_is_ready() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// So many seats, each with a task that counts how often it was woken.
    fn sit(wakes: &Arc<Wakes>, seats: usize, woken: &Arc<AtomicUsize>) {
        for _ in 0..seats {
            let (seat, woken) = (wakes.seat(), Arc::clone(woken));
            let mut next = seat.woken();
            tokio::spawn(async move {
                loop {
                    next.await;
                    next = seat.woken();
                    woken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    }

    async fn until(mut what: impl FnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(tokio::time::Instant::now() < deadline, "it did not come to that");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn everyone_is_woken_and_what_becomes_ready_meanwhile_does_not_wait_for_all() {
        let (wakes, woken) = (Arc::new(Wakes::default()), Arc::new(AtomicUsize::new(0)));
        let seats = 10 * GROUP + 1;
        sit(&wakes, seats, &woken);
        wakes.wake();
        let seen = Arc::clone(&woken);
        let before = tokio::spawn(async move { seen.load(Ordering::SeqCst) }).await.unwrap();
        assert!(before <= 2 * GROUP, "{before} were woken before a task that became ready next");
        until(|| woken.load(Ordering::SeqCst) == seats).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_forgotten_however_calls_meet() {
        let (wakes, woken) = (Arc::new(Wakes::default()), Arc::new(AtomicUsize::new(0)));
        for seats in [1, GROUP, 3 * GROUP] {
            sit(&wakes, seats, &woken);
        }
        for round in 0..200 {
            // All wait: each hears of this call, whatever the calls before it have still to do.
            let before = woken.load(Ordering::SeqCst);
            wakes.wake();
            if round % 3 == 0 {
                until(|| woken.load(Ordering::SeqCst) > before).await;
            }
        }
        let mut last = woken.load(Ordering::SeqCst);
        until(|| {
            let now = woken.load(Ordering::SeqCst);
            std::mem::replace(&mut last, now) == now && !wakes.0.lock().is_running
        })
        .await;
        let before = woken.load(Ordering::SeqCst);
        wakes.wake();
        until(|| woken.load(Ordering::SeqCst) >= before + 1 + 4 * GROUP).await;
    }

    #[test]
    fn without_a_runtime_all_are_woken_at_once_and_places_are_taken_again() {
        let wakes = Arc::new(Wakes::default());
        let seats: Vec<_> = (0..=GROUP).map(|_| wakes.seat()).collect();
        assert_eq!(wakes.0.lock().groups.len(), 2);
        let woken: Vec<_> = seats.iter().map(Seat::woken).collect();
        wakes.wake();
        assert!(woken.into_iter().all(|woken| futures::FutureExt::now_or_never(woken).is_some()));
        seats.iter().for_each(|seat| wakes.leave(seat));
        assert!(wakes.is_empty());
        let _seat = wakes.seat();
        assert_eq!(wakes.0.lock().groups.iter().map(|group| group.seats).collect::<Vec<_>>(), [1, 0]);
    }
}
