// SPDX-License-Identifier: Apache-2.0

//! Specs of pods that were found right a moment ago. Pods are made from templates: nearly each has the spec of one before
//! it, and what the rules found of that one holds for it.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::FixedState;
use knarr_types::tree::{Map, Value};

use crate::recent::Recent;

/// Larger ones, by their text in bytes, are judged each time: so what is kept is bounded.
const BYTES_MAX: usize = 16 << 10;

/// The specs of which one question, always the same, was answered with yes. The answer may depend on nothing but the spec.
pub struct Judged(Mutex<Recent<Bytes>>);

impl Judged {
    /// None.
    pub const fn new() -> Self {
        Self(Mutex::new(Recent::new()))
    }

    /// Whether `judge` answers with yes for this spec, or did. A spec is known by its text: one that has none, because it
    /// was changed since it was stored or is not ready to be, is judged.
    pub fn is_right(&self, spec: &Value, judge: impl FnOnce() -> bool) -> bool {
        let text = spec.as_object().and_then(Map::as_stored).filter(|text| text.len() <= BYTES_MAX);
        let Some(text) = text else { return judge() };
        let hash = FixedState::with_seed(0).hash_one(text);
        if self.recent().get(hash) == Some(text) {
            return true;
        }
        let is_right = judge();
        if is_right {
            let mut recent = self.recent();
            if recent.came_before(hash) {
                recent.keep(hash, text.clone());
            }
        }
        is_right
    }

    fn recent(&self) -> MutexGuard<'_, Recent<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use knarr_types::tree::json;

    use super::*;
    use crate::recent::KEPT;

    fn stored(spec: &Value) -> Value {
        Value::Object(Map::stored(spec.to_string().into()))
    }

    #[test]
    fn a_spec_that_came_twice_is_not_judged_again() {
        let (judged, asked) = (Judged::new(), Cell::new(0));
        let ask = |spec: &Value, answer| {
            judged.is_right(spec, || {
                asked.set(asked.get() + 1);
                answer
            })
        };
        let spec = |n: usize| stored(&json!({"containers": [{"name": "c", "image": format!("image:{n}")}], "port": n}));
        for _ in 0..5 {
            assert!(ask(&spec(0), true));
        }
        assert_eq!(asked.get(), 2);
        assert!(!ask(&spec(1), false) && !ask(&spec(1), false) && !ask(&spec(1), false), "only yes is kept");
        assert_eq!(asked.get(), 5);
        // Others push it out.
        for n in (2..2 + KEPT).flat_map(|n| [n, n]) {
            assert!(ask(&spec(n), true));
        }
        let before = asked.get();
        assert!(ask(&spec(0), true));
        assert_eq!(asked.get(), before + 1);
    }

    #[test]
    fn what_is_large_is_judged_each_time() {
        let (judged, asked) = (Judged::new(), Cell::new(0));
        let spec = stored(&json!({"containers": [{"args": ["x".repeat(BYTES_MAX)]}]}));
        for _ in 0..4 {
            judged.is_right(&spec, || {
                asked.set(asked.get() + 1);
                true
            });
        }
        assert_eq!(asked.get(), 4);
    }
}
