// SPDX-License-Identifier: Apache-2.0

//! YAML bodies from strangers: no alias, anchor or nesting takes more than the body is worth.
#![no_main]

use knarr_schema::{FieldValidation, MediaType, Registry, decode_as, encode::to_yaml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let registry = Registry::builtin();
    let Some(config) = registry.by_kind("", "v1", "ConfigMap") else { return };
    if let Ok((object, _)) = decode_as(config, &registry, body, MediaType::Yaml, FieldValidation::Strict) {
        let written = to_yaml(&object);
        let again = decode_as(config, &registry, written.as_ref(), MediaType::Yaml, FieldValidation::Strict);
        assert_eq!(again.map(|(object, _)| object), Ok(object));
    }
});
