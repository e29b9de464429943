// SPDX-License-Identifier: Apache-2.0
//! Pods that wait for a node, in the order in which they get their turn.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knarr_client::cache::ObjectRef;

use crate::pod::PodInfo;

/// The first and the longest pause after a failed attempt; it doubles in between. Upstream's defaults.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// A pod that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which pod.
    pub object: ObjectRef,
    /// What it needs.
    pub pod: Arc<PodInfo>,
    /// How many attempts failed so far.
    pub attempts: u32,
}

type Turn = (Reverse<i32>, u64);

/// Pods that are due, pods that pause, and pods that wait for the cluster to change.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    due: BTreeMap<Turn, String>,
    pausing: BTreeSet<(Instant, String)>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Due(Turn),
    Pausing(Instant),
    /// No node fits; may be tried again from the instant on, once something changed.
    Parked(Instant),
    /// Handed out by `next`.
    Out,
}

/// How many pods wait, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For their turn.
    pub due: usize,
    /// For their pause to end.
    pub pausing: usize,
    /// For the cluster to change, or for their binding.
    pub parked: usize,
}

impl Queue {
    /// How many pods are where.
    #[must_use]
    pub fn waits(&self) -> Waits {
        let (due, pausing) = (self.due.len(), self.pausing.len());
        Waits { due, pausing, parked: self.entries.len().saturating_sub(due + pausing) }
    }

    /// Takes in a pod, or what is new of one that waits already.
    pub fn add(&mut self, object: ObjectRef, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        let attempts = self.forget(&uid).map_or(0, |e| e.waiting.attempts);
        self.make_due(uid, Waiting { object, pod, attempts });
    }

    /// Forgets a pod.
    pub fn remove(&mut self, uid: &str) {
        self.forget(uid);
    }

    /// The next pod whose turn it is; it stays known until `remove`, `park` or `pause`.
    pub fn next(&mut self, now: Instant) -> Option<Waiting> {
        while let Some((at, uid)) = self.pausing.first().cloned() {
            if at > now {
                break;
            }
            self.pausing.remove(&(at, uid.clone()));
            if let Some(entry) = self.entries.remove(&uid) {
                self.make_due(uid, entry.waiting);
            }
        }
        let (_, uid) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&uid)?;
        entry.place = Place::Out;
        Some(entry.waiting.clone())
    }

    /// When `next` will have something, where that is only a question of time.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        self.pausing.first().map(|(at, _)| *at)
    }

    /// No node fits the pod: it waits for a change of the cluster.
    pub fn park(&mut self, uid: &str, now: Instant) {
        self.put_back(uid, now, false);
    }

    /// The attempt failed for a reason that passes: it is made again after a pause.
    pub fn pause(&mut self, uid: &str, now: Instant) {
        self.put_back(uid, now, true);
    }

    /// The cluster changed in a way that may help parked pods.
    pub fn cluster_changed(&mut self, now: Instant) {
        let parked: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(uid, e)| if let Place::Parked(at) = e.place { Some((uid.clone(), at)) } else { None })
            .collect();
        for (uid, at) in parked {
            if at > now {
                self.pausing.insert((at, uid.clone()));
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.place = Place::Pausing(at);
                }
            } else if let Some(entry) = self.entries.remove(&uid) {
                self.make_due(uid, entry.waiting);
            }
        }
    }

    fn put_back(&mut self, uid: &str, now: Instant, pause: bool) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let at = now + back_off(entry.waiting.attempts);
        entry.waiting.attempts += 1;
        if pause {
            entry.place = Place::Pausing(at);
            self.pausing.insert((at, uid.to_owned()));
        } else {
            entry.place = Place::Parked(at);
        }
    }

    fn make_due(&mut self, uid: String, waiting: Waiting) {
        self.arrivals += 1;
        let turn = (Reverse(waiting.pod.priority), self.arrivals);
        self.due.insert(turn, uid.clone());
        self.entries.insert(uid, Entry { waiting, place: Place::Due(turn) });
    }

    fn forget(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.entries.remove(uid)?;
        match entry.place {
            Place::Due(turn) => drop(self.due.remove(&turn)),
            Place::Pausing(at) => drop(self.pausing.remove(&(at, uid.to_owned()))),
            Place::Parked(_) | Place::Out => {}
        }
        Some(entry)
    }
}

fn back_off(attempts: u32) -> Duration {
    FIRST_BACK_OFF.saturating_mul(1 << attempts.min(10)).min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(queue: &mut Queue, uid: &str, priority: i32) {
        let pod = PodInfo { uid: uid.into(), priority, ..PodInfo::default() };
        queue.add(ObjectRef::new("n", uid), Arc::new(pod));
    }

    #[test]
    fn higher_priority_first_then_first_come() {
        let mut queue = Queue::default();
        for (uid, priority) in [("a", 0), ("b", 5), ("c", 0)] {
            add(&mut queue, uid, priority);
        }
        let now = Instant::now();
        let order: Vec<_> = std::iter::from_fn(|| queue.next(now)).map(|w| w.pod.uid.clone()).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn a_parked_pod_waits_for_a_change_and_its_back_off() {
        let mut queue = Queue::default();
        let start = Instant::now();
        add(&mut queue, "a", 0);
        assert!(queue.next(start).is_some());
        queue.park("a", start);
        assert!(queue.next(start + Duration::from_secs(60)).is_none());
        queue.cluster_changed(start);
        assert_eq!(queue.wake_at(), Some(start + Duration::from_secs(1)));
        assert!(queue.next(start).is_none());
        assert!(queue.next(start + Duration::from_secs(1)).is_some());
        queue.park("a", start);
        queue.cluster_changed(start + Duration::from_secs(2));
        assert!(queue.next(start + Duration::from_secs(2)).is_some());
        queue.remove("a");
        queue.pause("a", start);
        assert_eq!(queue.wake_at(), None);
    }

    #[test]
    fn pauses_double_up_to_ten_seconds() {
        let seconds: Vec<_> = (0..6).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }
}
