// SPDX-License-Identifier: Apache-2.0
//! Which object a controller looks at next.
//!
//! A key is in the queue at most once; one that is being worked on comes back when its worker is
//! done. Failures pause a key for longer each time; a deadline brings a key back without a change.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_client::cache::ObjectRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The first pause after a failure; it doubles up to the longest. Upstream's rate limiter.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Keys that wait for a worker. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<ObjectRef>,
    /// Since when each key waits.
    queued: HashMap<ObjectRef, Instant>,
    /// Since when each key is worked on.
    working: HashMap<ObjectRef, Instant>,
    later: BTreeSet<(Instant, ObjectRef)>,
    failures: HashMap<ObjectRef, u32>,
    counts: Counts,
}

/// What happened in a queue since it was made, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Keys that were put in.
    pub adds: u64,
    /// Keys that came back because their worker failed.
    pub retries: u64,
    /// How long keys waited for a worker.
    pub waited: Spans,
    /// How long workers took.
    pub work: Spans,
    /// Keys that are due.
    pub depth: usize,
    /// What workers have spent on the keys that they have now.
    pub unfinished: Duration,
    /// The longest of these.
    pub longest: Duration,
}

/// Spans of time, by how long they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spans {
    /// How many took at most 10 ns, 100 ns and so on up to 1,000 s, and how many longer. Upstream's buckets.
    pub buckets: [u64; 13],
    /// All of them together.
    pub sum: Duration,
}

impl Spans {
    fn add(&mut self, span: Duration) {
        let mut bound = Duration::from_nanos(10);
        let mut bucket = 0;
        while bucket < self.buckets.len() - 1 && span > bound {
            bound *= 10;
            bucket += 1;
        }
        self.buckets[bucket] += 1;
        self.sum += span;
    }
}

impl Queue {
    /// The key is due.
    pub fn add(&self, key: ObjectRef) {
        self.inner.state.lock().add(key, Instant::now());
        self.inner.news.notify_one();
    }

    /// The key is due at `at`, or earlier if something changes.
    pub fn add_at(&self, key: ObjectRef, at: Instant) {
        self.inner.state.lock().later.insert((at, key));
        self.inner.news.notify_one();
    }

    /// What it counts, for [`crate::metrics`].
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.state.lock().counts(Instant::now())
    }

    /// Waits for a key that is due. Give it back with [`Queue::done`]. Cancel-safe.
    pub async fn next(&self) -> ObjectRef {
        loop {
            let news = self.inner.news.notified();
            let (key, wake_at) = self.inner.state.lock().next(Instant::now());
            if let Some(key) = key {
                // One notification may stand for many keys: pass it on.
                self.inner.news.notify_one();
                return key;
            }
            match wake_at {
                Some(at) => drop(tokio::time::timeout_at(at.into(), news).await),
                None => news.await,
            }
        }
    }

    /// The worker is done with the key; where it failed, the key comes back after a pause.
    pub fn done(&self, key: ObjectRef, succeeded: bool) {
        self.inner.state.lock().done(key, succeeded, Instant::now());
        self.inner.news.notify_one();
    }
}

impl State {
    fn add(&mut self, key: ObjectRef, now: Instant) {
        if !self.queued.contains_key(&key) {
            self.queued.insert(key.clone(), now);
            self.counts.adds += 1;
            if !self.working.contains_key(&key) {
                self.ready.push_back(key);
            }
        }
    }

    fn counts(&self, now: Instant) -> Counts {
        let spent = || self.working.values().map(|since| now.saturating_duration_since(*since));
        Counts {
            depth: self.ready.len(),
            unfinished: spent().sum(),
            longest: spent().max().unwrap_or_default(),
            ..self.counts
        }
    }

    fn next(&mut self, now: Instant) -> (Option<ObjectRef>, Option<Instant>) {
        while let Some((at, _)) = self.later.first()
            && *at <= now
        {
            if let Some((_, key)) = self.later.pop_first() {
                self.add(key, now);
            }
        }
        let key = self.ready.pop_front();
        if let Some(key) = &key {
            if let Some(since) = self.queued.remove(key) {
                self.counts.waited.add(now.saturating_duration_since(since));
            }
            self.working.insert(key.clone(), now);
        }
        (key, self.later.first().map(|(at, _)| *at))
    }

    fn done(&mut self, key: ObjectRef, succeeded: bool, now: Instant) {
        if let Some(since) = self.working.remove(&key) {
            self.counts.work.add(now.saturating_duration_since(since));
        }
        if self.queued.contains_key(&key) {
            self.ready.push_back(key.clone());
        }
        if succeeded {
            self.failures.remove(&key);
            return;
        }
        self.counts.retries += 1;
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
        *failures += 1;
        self.later.insert((now + pause, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectRef {
        ObjectRef::new("n", name)
    }

    #[test]
    fn a_key_waits_once_and_comes_back_after_its_worker() {
        let mut state = State::default();
        let now = Instant::now();
        state.add(key("a"), now);
        state.add(key("a"), now);
        assert_eq!(state.next(now).0, Some(key("a")));
        state.add(key("a"), now);
        assert_eq!(state.next(now).0, None, "no two workers on one key");
        state.done(key("a"), true, now);
        assert_eq!(state.next(now).0, Some(key("a")));
        state.done(key("a"), true, now);
        assert_eq!(state.next(now).0, None);
    }

    #[test]
    fn what_happens_is_counted() {
        let mut state = State::default();
        let now = Instant::now();
        for name in ["a", "a", "b"] {
            state.add(key(name), now);
        }
        assert!(state.next(now).0.is_some());
        let later = now + Duration::from_secs(2);
        let counts = state.counts(later);
        assert_eq!((counts.adds, counts.depth, counts.longest), (2, 1, Duration::from_secs(2)));
        state.done(key("a"), false, later);
        let counts = state.counts(later);
        assert_eq!((counts.retries, counts.work.sum), (1, Duration::from_secs(2)));
        assert_eq!((counts.work.buckets[9], counts.waited.buckets[0]), (1, 1), "{counts:?}");
        assert_eq!(counts.unfinished, Duration::ZERO);
    }

    #[test]
    fn failures_pause_for_longer_each_time_until_one_succeeds() {
        let mut state = State::default();
        let now = Instant::now();
        for pause in [5, 10, 20] {
            state.done(key("a"), false, now);
            let (none, wake_at) = state.next(now);
            assert_eq!((none, wake_at), (None, Some(now + Duration::from_millis(pause))));
            assert!(state.next(now + Duration::from_millis(pause)).0.is_some());
        }
        state.done(key("a"), true, now);
        state.done(key("a"), false, now);
        assert_eq!(state.next(now).1, Some(now + FIRST_PAUSE));
    }
}
