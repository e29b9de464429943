// SPDX-License-Identifier: Apache-2.0

//! JSON bodies from strangers: whatever they say, they are refused or brought into one form that stays.
#![no_main]

use knarr_schema::{FieldValidation, MediaType, Registry, decode_as, normalize};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let registry = Registry::builtin();
    let Some(pod) = registry.by_kind("", "v1", "Pod") else { return };
    if let Ok((mut object, _)) = decode_as(pod, &registry, body, MediaType::Json, FieldValidation::Warn) {
        normalize(&mut object, pod.ty.get());
        let once = object.clone();
        normalize(&mut object, pod.ty.get());
        assert_eq!(object, once);
    }
});
