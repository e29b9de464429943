// SPDX-License-Identifier: Apache-2.0

//! Selectors from strangers: what can be read is printed as something that means the same.
#![no_main]

use knarr_types::selector::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = LabelSelector::parse(text) {
        let printed = selector.to_string();
        assert_eq!(LabelSelector::parse(&printed).map(|s| s.to_string()).ok(), Some(printed));
    }
    let _ = FieldSelector::parse(text);
});
