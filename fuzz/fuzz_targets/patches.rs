// SPDX-License-Identifier: Apache-2.0

//! Patches from strangers: the first byte says which form, the rest is the patch. Whatever they say, they are refused or
//! give an object; a merge patch done twice is done once.
#![no_main]

use knarr_schema::Registry;
use knarr_schema::patch::{json_patch, merge_patch, strategic_merge_patch};
use libfuzzer_sys::fuzz_target;
use knarr_types::tree::{Value, json};

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "labels": {"x": "y"}, "finalizers": ["a/b", "c/d"]},
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
                {"name": "b", "image": "i"},
            ],
            "tolerations": [{"key": "k"}], "securityContext": {"runAsUser": 1},
        },
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((form, text)) = data.split_first() else { return };
    let Ok(patch) = serde_json::from_slice::<Value>(text) else { return };
    let registry = Registry::builtin();
    let Some(kind) = registry.by_kind("", "v1", "Pod") else { return };
    match form % 3 {
        0 => drop(json_patch(pod(), &patch)),
        1 => {
            if let Ok(once) = merge_patch(pod(), &patch) {
                assert_eq!(merge_patch(once.clone(), &patch).ok(), Some(once));
            }
        }
        _ => drop(strategic_merge_patch(pod(), &patch, kind.ty.get())),
    }
});
