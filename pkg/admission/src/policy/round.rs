// SPDX-License-Identifier: Apache-2.0
//! Which mutating policies are asked a second time: those with `reinvocationPolicy: IfNeeded` after which others did
//! something to the object.

use knarr_types::Object;

/// A policy with one of its bindings and one of the parameters of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub policy: String,
    pub binding: String,
    /// Namespace and name.
    pub params: (String, String),
}

/// What came of asking all mutating policies once.
#[derive(Debug, Default)]
pub struct Round {
    /// The object is another one now.
    pub changed: bool,
    /// One did something, if only what changes nothing: plugins, policies and webhooks have their turn again.
    pub repeats: bool,
    /// Those that are asked again whatever happens.
    due: Vec<Key>,
    /// Those that are asked again where the object is no longer what it was after this round.
    asked: Vec<Key>,
    left: Object,
}

impl Round {
    /// A policy was asked, and changed the object or not; `again` where it wants to be asked again.
    pub(super) fn was_asked(&mut self, key: Key, changed: bool, again: bool) {
        if changed {
            self.repeats = true;
            self.due.append(&mut self.asked);
        }
        if again {
            self.asked.push(key);
        }
    }

    /// All were asked, and left this; `touched` where the last of them did something.
    pub(super) fn ends(&mut self, left: &Object, touched: bool) {
        if touched {
            self.repeats = true;
            self.due.append(&mut self.asked);
        }
        self.left = left.clone();
    }

    /// Those that are asked again about the object as it is now.
    pub(super) fn wanted(mut self, object: &Object) -> Vec<Key> {
        if self.left != *object {
            self.due.append(&mut self.asked);
        }
        self.due
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn key(policy: &str) -> Key {
        Key { policy: policy.to_owned(), binding: String::new(), params: Default::default() }
    }

    #[test]
    fn those_are_asked_again_after_which_something_was_done() {
        let asked = |changes: [bool; 2], touched: bool, now: &str| {
            let mut round = Round::default();
            round.was_asked(key("a"), changes[0], true);
            round.was_asked(key("never"), false, false);
            round.was_asked(key("b"), changes[1], true);
            round.ends(&json!("left"), touched);
            let repeats = round.repeats;
            let wanted: Vec<String> = round.wanted(&json!(now)).into_iter().map(|key| key.policy).collect();
            (repeats, wanted.join(","))
        };
        for (changes, touched, now, repeats, want) in [
            ([false, false], false, "left", false, ""),
            ([true, false], false, "left", true, ""),
            ([false, true], false, "left", true, "a"),
            ([false, true], true, "left", true, "a,b"),
            ([false, false], false, "other", false, "a,b"),
        ] {
            assert_eq!(asked(changes, touched, now), (repeats, want.to_owned()), "{changes:?} {touched} {now}");
        }
    }
}
