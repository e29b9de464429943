// SPDX-License-Identifier: Apache-2.0

//! Where proposals wait: two lanes, one of them reserved for the system; flows of a lane take
//! turns, so that a flow with many proposals delays itself and nobody else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::options::Limits;
use crate::proposal::Lane;

/// The queue was full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Proposals (of any type: only their size matters here) that wait.
pub(crate) struct Lanes<T> {
    system: Flows<T>,
    normal: Flows<T>,
}

struct Flows<T> {
    waiting: HashMap<Arc<str>, Flow<T>>,
    /// Flows that have something waiting, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    proposals: usize,
    bytes: usize,
}

struct Flow<T> {
    queue: VecDeque<(usize, T)>,
    bytes: usize,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { system: Flows::new(), normal: Flows::new() }
    }
}

impl<T> Lanes<T> {
    /// Queues `item` of `bytes`; a flow that waits for nothing may always queue one.
    pub(crate) fn push(
        &mut self,
        lane: Lane,
        flow: &Arc<str>,
        bytes: usize,
        item: T,
        limits: &Limits,
    ) -> Result<(), Full> {
        match lane {
            Lane::System => self.system.push(flow, bytes, item, limits),
            Lane::Normal => self.normal.push(flow, bytes, item, limits),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.system.turns.is_empty() && self.normal.turns.is_empty()
    }

    /// Takes everything.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let lanes = std::mem::take(self);
        let flows = lanes.system.waiting.into_values().chain(lanes.normal.waiting.into_values());
        flows.flat_map(|flow| flow.queue).map(|(_, item)| item).collect()
    }

    /// How many wait.
    pub(crate) const fn len(&self) -> usize {
        self.system.proposals + self.normal.proposals
    }

    /// Takes up to `count` items of together `bytes`, at least one: the system's first, but where
    /// others wait no more than three quarters of the batch.
    pub(crate) fn take(&mut self, count: usize, bytes: usize) -> Vec<T> {
        let share = if self.normal.turns.is_empty() { 4 } else { 3 };
        let mut taken = Vec::new();
        let mut room = bytes;
        self.system.take(&mut taken, (count * share / 4).max(1), &mut room, bytes / 4 * (4 - share));
        self.normal.take(&mut taken, count, &mut room, 0);
        self.system.take(&mut taken, count, &mut room, 0);
        taken
    }
}

impl<T> Flows<T> {
    fn new() -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), proposals: 0, bytes: 0 }
    }

    fn push(&mut self, name: &Arc<str>, bytes: usize, item: T, limits: &Limits) -> Result<(), Full> {
        let full = self.proposals >= limits.lane_proposals || self.bytes + bytes > limits.lane_bytes;
        let known = self.waiting.get(name);
        if full && self.proposals > 0 || known.is_some_and(|flow| flow.bytes + bytes > limits.flow_bytes) {
            return Err(Full);
        }
        let flow = self.waiting.entry(Arc::clone(name)).or_insert_with(|| {
            self.turns.push_back(Arc::clone(name));
            Flow { queue: VecDeque::new(), bytes: 0 }
        });
        flow.queue.push_back((bytes, item));
        flow.bytes += bytes;
        self.proposals += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes in turns until `taken` has `count` items or `room` is down to `keep`.
    fn take(&mut self, taken: &mut Vec<T>, count: usize, room: &mut usize, keep: usize) {
        while taken.len() < count {
            let Some(name) = self.turns.front() else { return };
            let flow = self.waiting.get_mut(name).expect("a flow that has a turn is waiting");
            let (bytes, _) = flow.queue.front().expect("a waiting flow is not empty");
            let bytes = *bytes;
            if !taken.is_empty() && bytes + keep > *room {
                return;
            }
            *room = room.saturating_sub(bytes);
            let (_, item) = flow.queue.pop_front().expect("it was just looked at");
            taken.push(item);
            flow.bytes -= bytes;
            self.proposals -= 1;
            self.bytes -= bytes;
            let name = self.turns.pop_front().expect("it was just looked at");
            if flow.queue.is_empty() {
                self.waiting.remove(&name);
            } else {
                self.turns.push_back(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(items: &[(Lane, &str, usize)]) -> Lanes<usize> {
        let mut lanes = Lanes::default();
        for (at, (lane, flow, bytes)) in items.iter().enumerate() {
            lanes.push(*lane, &Arc::from(*flow), *bytes, at, &Limits::default()).unwrap();
        }
        lanes
    }

    #[test]
    fn flows_take_turns_and_the_system_goes_first() {
        use Lane::{Normal, System};
        let mut lanes =
            filled(&[(Normal, "a", 1), (Normal, "a", 1), (Normal, "a", 1), (Normal, "b", 1), (System, "s", 1)]);
        assert_eq!(lanes.take(10, 100), [4, 0, 3, 1, 2]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_and_a_large_one_goes_alone() {
        let mut lanes = filled(&[(Lane::Normal, "a", 500), (Lane::Normal, "a", 60), (Lane::Normal, "a", 60)]);
        assert_eq!(lanes.take(10, 100), [0]);
        assert_eq!(lanes.take(10, 100), [1]);
        assert_eq!(lanes.take(10, 100), [2]);
    }

    #[test]
    fn the_system_leaves_room_for_others() {
        let mut items = vec![(Lane::System, "s", 1); 8];
        items.push((Lane::Normal, "a", 1));
        let mut lanes = filled(&items);
        assert!(lanes.take(4, 100).contains(&8));
    }

    #[test]
    fn full_queues_refuse() {
        let limits = Limits { lane_proposals: 3, flow_bytes: 10, ..Limits::default() };
        let mut lanes = Lanes::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert_eq!(lanes.push(Lane::Normal, &a, 50, 0, &limits), Ok(()), "one is always taken");
        assert_eq!(lanes.push(Lane::Normal, &a, 1, 1, &limits), Err(Full), "bytes of the flow");
        assert_eq!(lanes.push(Lane::Normal, &b, 1, 2, &limits), Ok(()));
        assert_eq!(lanes.push(Lane::Normal, &b, 1, 3, &limits), Ok(()));
        assert_eq!(lanes.push(Lane::Normal, &b, 1, 4, &limits), Err(Full), "proposals of the lane");
        assert_eq!(lanes.push(Lane::System, &b, 1, 5, &limits), Ok(()), "the system has its own");
        assert_eq!(lanes.len(), 4);
    }
}
