// SPDX-License-Identifier: Apache-2.0

//! The kernel's choice of whom to kill for memory: the shim last of all.

use std::fs;

/// The shim's own inclination to be killed for memory.
const OWN_SCORE: i32 = -998;
const FILE: &str = "/proc/self/oom_score_adj";

/// Protects the shim, at its start and after libcontainer set the shim's own score to what its
/// child inherits. Gives the least score that may be given to anyone: inside a container the right
/// to lower it may be missing.
pub fn protect() -> i32 {
    if fs::write(FILE, OWN_SCORE.to_string()).is_ok() {
        return -1000;
    }
    let _stays_as_it_was = fs::write(FILE, "0");
    fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}
