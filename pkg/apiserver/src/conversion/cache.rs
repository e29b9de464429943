// SPDX-License-Identifier: Apache-2.0
//! Records in versions that a webhook made of them, by what they were made of.

use std::collections::HashMap;
use std::sync::Arc;

use knarr_types::{Key, Revision};

/// What a converted record depends on: an object at a revision, the version that is wanted, and the
/// definition that says who converts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    pub key: Key,
    pub revision: Revision,
    pub version: Arc<str>,
    pub definition: Arc<str>,
    pub generation: i64,
}

/// The newest and the most used of what was converted. What was not asked for while half of the bound was
/// filled with others goes.
#[derive(Debug)]
pub(super) struct Cache<V> {
    half_bytes: usize,
    filled_bytes: usize,
    young: HashMap<Id, (V, usize)>,
    old: HashMap<Id, (V, usize)>,
}

impl<V: Clone> Cache<V> {
    /// One that holds about so much.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { half_bytes: most_bytes / 2, filled_bytes: 0, young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&mut self, id: &Id) -> Option<V> {
        if let Some((value, _)) = self.young.get(id) {
            return Some(value.clone());
        }
        let (value, bytes) = self.old.remove(id)?;
        self.insert(id.clone(), value.clone(), bytes);
        Some(value)
    }

    pub(super) fn insert(&mut self, id: Id, value: V, bytes: usize) {
        if self.filled_bytes >= self.half_bytes {
            self.old = std::mem::take(&mut self.young);
            self.filled_bytes = 0;
        }
        self.filled_bytes += bytes;
        self.young.insert(id, (value, bytes));
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::ResourceId;

    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let id = |n: u64| Id {
            key: Key::new(ResourceId::new("g", "r"), "n", "a"),
            revision: Revision(n),
            version: "v1".into(),
            definition: "u".into(),
            generation: 1,
        };
        let mut cache = Cache::new(1000);
        for n in 0..40 {
            cache.insert(id(n), n, 100);
            assert_eq!(cache.get(&id(0)), Some(0), "after {n}");
        }
        let kept = (0..40).filter(|n| cache.young.contains_key(&id(*n)) || cache.old.contains_key(&id(*n))).count();
        assert!((2..=12).contains(&kept), "{kept}");
    }
}
