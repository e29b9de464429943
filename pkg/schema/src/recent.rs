// SPDX-License-Identifier: Apache-2.0
//! What was found out a moment ago, by the hash of what it was found out of.

use std::collections::VecDeque;

/// So many templates can be rolled out at once.
pub const KEPT: usize = 16;
/// Of so many hashes it is known that they came once.
const SEEN: usize = 64;

/// What was found out of what came twice: what came once may never come again.
pub struct Recent<T> {
    kept: VecDeque<(u64, T)>,
    seen: VecDeque<u64>,
}

impl<T> Recent<T> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { kept: VecDeque::new(), seen: VecDeque::new() }
    }

    /// What is kept under a hash. That it was found out of the same is for the caller to see.
    pub fn get(&self, hash: u64) -> Option<&T> {
        self.kept.iter().find(|(known, _)| *known == hash).map(|(_, found)| found)
    }

    /// Whether what has that hash came before; it did from now on.
    pub fn came_before(&mut self, hash: u64) -> bool {
        let before = self.seen.contains(&hash);
        if !before {
            self.seen.truncate(SEEN - 1);
            self.seen.push_front(hash);
        }
        before
    }

    /// Keeps what was found out, in place of what was kept longest.
    pub fn keep(&mut self, hash: u64, found: T) {
        self.kept.truncate(KEPT - 1);
        self.kept.push_front((hash, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let mut recent = Recent::new();
        assert!(!recent.came_before(7) && recent.came_before(7));
        for hash in 0..=KEPT as u64 {
            recent.keep(hash, hash * 10);
        }
        assert_eq!((recent.get(0), recent.get(1)), (None, Some(&10)));
        (100..100 + SEEN as u64).for_each(|hash| assert!(!recent.came_before(hash)));
        assert!(!recent.came_before(7), "so many others came since");
    }
}
