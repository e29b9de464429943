// SPDX-License-Identifier: Apache-2.0
//! Waiting for a condition, with a deadline and without luck.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Between two looks at a condition that says nothing by itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` gives something.
///
/// # Panics
/// When the deadline passes; the message has `what` and what was seen last.
pub fn eventually<T, E: Debug>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > within => panic!("{what}: not within {within:?}; last seen: {seen:?}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Looks until `test` holds; `seen` says what there is instead.
///
/// # Panics
/// When the deadline passes.
pub fn until(what: &str, within: Duration, mut test: impl FnMut() -> (bool, String)) {
    eventually(what, within, || {
        let (holds, seen) = test();
        if holds { Ok(()) } else { Err(seen) }
    });
}
