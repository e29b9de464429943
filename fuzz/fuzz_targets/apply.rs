// SPDX-License-Identifier: Apache-2.0

//! Configurations from strangers, separated by zero bytes and applied in turn by two managers, and managed fields that a
//! stranger sent: whatever they say, they are refused or merged, and the same again changes nothing.
#![no_main]

use knarr_schema::apply::apply;
use knarr_schema::managed_fields::{Manager, OneVersion};
use knarr_schema::{FieldValidation, MediaType, Registry, decode_as};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let registry = Registry::builtin();
    let Some(pod) = registry.by_kind("", "v1", "Pod") else { return };
    let mut live = None;
    for (turn, text) in data.split(|byte| *byte == 0).take(4).enumerate() {
        let Ok((config, _)) = decode_as(pod, &registry, text, MediaType::Json, FieldValidation::Warn) else { return };
        // The first may bring managed fields of its own, as an object that was stored does.
        if turn == 0 && config["metadata"].get("managedFields").is_some() {
            live = Some(config);
            continue;
        }
        let name = if turn % 2 == 0 { "one" } else { "two" };
        let manager = Manager { name, api_version: "v1", subresource: "", reset: &[], others: &OneVersion };
        let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        let once = apply(live.as_ref(), &config, pod.ty.get(), "Pod", &manager, true, now);
        if let Ok(once) = once {
            let again = apply(Some(&once), &config, pod.ty.get(), "Pod", &manager, true, now);
            assert_eq!(again.ok().as_ref(), Some(&once));
            live = Some(once);
        }
    }
});
