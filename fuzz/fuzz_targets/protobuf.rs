// SPDX-License-Identifier: Apache-2.0

//! Protobuf bodies from strangers: what can be read is written and read again as the same.
#![no_main]

use knarr_schema::{Registry, normalize, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let registry = Registry::builtin();
    let _ = protobuf::open(body);
    for (group, name) in [("", "Pod"), ("apiextensions.k8s.io", "CustomResourceDefinition")] {
        let Some(kind) = registry.by_kind(group, "v1", name) else { return };
        let Some(message) = kind.message() else { return };
        let Ok(mut object) = protobuf::read(message, body) else { continue };
        normalize(&mut object, kind.ty.get());
        let mut written = Vec::new();
        if protobuf::put_tree(message, &object, &mut written).is_ok() {
            let mut again = protobuf::read(message, &written).unwrap_or_default();
            normalize(&mut again, kind.ty.get());
            assert_eq!(again, object);
        }
    }
});
