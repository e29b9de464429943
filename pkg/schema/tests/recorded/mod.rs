// SPDX-License-Identifier: Apache-2.0
//! Recorded conversations, played against our rules area by area.

use std::path::PathBuf;

use knarr_types::tree::Value;

/// What one request and its recorded answer came to: what it was, and how ours differs.
pub type Verdict = (String, Result<(), String>);

/// Plays the scenarios of each area; fails where a smaller share of its answers, in percent, is right than its
/// floor. Differences of which `shown` is true are printed. Leaves all out, with a line that says so, where there
/// are no recordings.
pub fn play_all(floors: &[(&str, usize)], shown: impl Fn(&str) -> bool, play: impl Fn(&Value) -> Vec<Verdict>) {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo starts the tests"));
    let corpus = package.join("../../../shared/corpus");
    if !corpus.is_dir() {
        println!("left out: no recordings at {}", corpus.display());
        return;
    }
    let mut below = Vec::new();
    for (area, floor) in floors {
        let text = std::fs::read(corpus.join(format!("{area}.json"))).expect("readable recording");
        let scenarios: Vec<Value> = serde_json::from_slice(&text).expect("a list of scenarios");
        let (mut right, mut total) = (0, 0);
        for (what, verdict) in scenarios.iter().flat_map(&play) {
            total += 1;
            match verdict {
                Ok(()) => right += 1,
                Err(why) if shown(&what) => println!("{what}\n{why}"),
                Err(_) => {}
            }
        }
        let percent = right * 100 / total.max(1);
        println!("{area}: {right} of {total} ({percent} %)");
        if percent < *floor {
            below.push(format!("{area}: {percent} < {floor}"));
        }
    }
    assert!(below.is_empty(), "below the floor: {below:?}");
}
