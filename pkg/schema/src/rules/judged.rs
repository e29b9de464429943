// SPDX-License-Identifier: Apache-2.0

//! Specs of pods that were found right a moment ago. Pods are made from templates: nearly each has the spec of one before
//! it, and what the rules found of that one holds for it.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::{FixedState, FoldHasher};
use knarr_types::tree::Value;

use crate::recent::Recent;

/// Larger ones, by their names and texts in bytes, are judged each time: so what is kept is bounded.
const BYTES_MAX: usize = 16 << 10;

/// The specs of which one question, always the same, was answered with yes. The answer may depend on nothing but the spec.
pub struct Judged(Mutex<Recent<Arc<Value>>>);

impl Judged {
    /// None.
    pub const fn new() -> Self {
        Self(Mutex::new(Recent::new()))
    }

    /// Whether `judge` answers with yes for this spec, or did.
    pub fn is_right(&self, spec: &Value, judge: impl FnOnce() -> bool) -> bool {
        let Some(hash) = small_hash(spec) else { return judge() };
        let known = self.recent().get(hash).map(Arc::clone);
        if known.is_some_and(|known| *known == *spec) {
            return true;
        }
        let is_right = judge();
        if is_right {
            let mut recent = self.recent();
            if recent.came_before(hash) {
                recent.keep(hash, Arc::new(spec.clone()));
            }
        }
        is_right
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<Arc<Value>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash of a spec that is not too large to be kept.
fn small_hash(spec: &Value) -> Option<u64> {
    let mut hasher = Counting { hasher: FixedState::with_seed(0).build_hasher(), bytes: 0 };
    spec.hash(&mut hasher);
    (hasher.bytes <= BYTES_MAX).then(|| hasher.finish())
}

/// Counts what it hashes.
struct Counting {
    hasher: FoldHasher<'static>,
    bytes: usize,
}

impl Hasher for Counting {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.hasher.write(bytes);
    }

    fn write_u8(&mut self, byte: u8) {
        self.bytes += 1;
        self.hasher.write_u8(byte);
    }

    fn write_usize(&mut self, number: usize) {
        self.bytes += size_of::<usize>();
        self.hasher.write_usize(number);
    }

    fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_spec_that_came_twice_is_not_judged_again() {
        let (judged, asked) = (Judged::new(), Cell::new(0));
        let ask = |spec: &Value, answer| {
            judged.is_right(spec, || {
                asked.set(asked.get() + 1);
                answer
            })
        };
        let spec =
            |n: usize| json!({"containers": [{"name": "c", "image": format!("image:{n}"), "env": []}], "port": n});
        for _ in 0..5 {
            assert!(ask(&spec(0), true));
        }
        assert_eq!(asked.get(), 2);
        assert!(!ask(&spec(1), false) && !ask(&spec(1), false) && !ask(&spec(1), false), "only yes is kept");
        assert_eq!(asked.get(), 5);
        // Others push it out.
        for n in (2..2 + 16).flat_map(|n| [n, n]) {
            assert!(ask(&spec(n), true));
        }
        let before = asked.get();
        assert!(ask(&spec(0), true));
        assert_eq!(asked.get(), before + 1);
    }

    #[test]
    fn what_is_large_is_judged_each_time() {
        let (judged, asked) = (Judged::new(), Cell::new(0));
        let spec = json!({"containers": [{"args": ["x".repeat(BYTES_MAX)]}]});
        for _ in 0..4 {
            judged.is_right(&spec, || {
                asked.set(asked.get() + 1);
                true
            });
        }
        assert_eq!(asked.get(), 4);
    }
}
