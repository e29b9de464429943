// SPDX-License-Identifier: Apache-2.0

//! Definitions from strangers: a schema and an object, separated by a zero byte. Whatever they say, the definition is
//! refused, or its objects are pruned, defaulted and judged; pruning twice is pruning once.
#![no_main]

use knarr_schema::Registry;
use knarr_schema::crd::kinds_of;
use libfuzzer_sys::fuzz_target;
use knarr_types::tree::{Value, json};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(schema), Some(object)) = (parts.next(), parts.next()) else { return };
    let Ok(schema) = serde_json::from_slice::<Value>(schema) else { return };
    let Ok(mut object) = serde_json::from_slice::<Value>(object) else { return };
    let names = json!({"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"});
    let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "as.e.com"},
        "spec": {"group": "e.com", "scope": "Namespaced", "names": names, "versions": versions},
    });
    let registry = Registry::builtin();
    let Some(kind) = registry.by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition") else { return };
    kind.default(&mut definition);
    // Only definitions that were taken make kinds.
    if !kind.check_create(&definition).is_empty() {
        return;
    }
    definition["status"] = json!({"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]});
    for made in kinds_of(&definition) {
        let Some(custom) = &made.custom else { continue };
        let Some(fields) = object.as_object_mut() else { return };
        fields.extend([("apiVersion".to_owned(), json!("e.com/v1")), ("kind".to_owned(), json!("A"))]);
        if custom.coerce(&mut object).is_err() {
            return;
        }
        custom.default(&mut object);
        let once = object.clone();
        if custom.coerce(&mut object).is_ok() {
            assert_eq!(object, once, "pruned twice");
        }
        let _ = made.check_create(&object);
        let _ = made.check_update(&object, &once, "");
    }
});
