// SPDX-License-Identifier: Apache-2.0
//! Server-side apply: tables of merges and conflicts, and the properties that hold for any objects.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::field_table::TypeRef;

fn config_map(data: &Value) -> Object {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + second).unwrap()
}

fn apply_as(live: Option<&Object>, data: &Value, name: &str, force: bool, at: i64) -> Result<Object, ApplyError> {
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name, api_version: "v1", subresource: "", reset: &[] };
    apply(live, &config_map(data), ty.get(), "ConfigMap", &manager, force, now(at))
}

#[test]
fn conflicts_name_fields_and_their_owners() {
    let live = apply_as(None, &json!({"a": "1", "b": "1"}), "m1", false, 0).unwrap();
    let error = apply_as(Some(&live), &json!({"a": "2"}), "m2", false, 1).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .data.a");
    let status = error.to_status();
    assert_eq!((status.code, status.details.unwrap().causes[0].field.as_str()), (409, ".data.a"));
    let error = apply_as(Some(&live), &json!({"a": "2", "b": "2"}), "m2", false, 1).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b");
    let forced = apply_as(Some(&live), &json!({"a": "2"}), "m2", true, 1).unwrap();
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(forced["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {"f:b": {}}}));
}

#[test]
fn a_field_no_longer_applied_goes_unless_another_owns_it() {
    let live = apply_as(None, &json!({"a": "1", "b": "1"}), "m1", false, 0).unwrap();
    let live = apply_as(Some(&live), &json!({"a": "1"}), "m2", false, 1).unwrap();
    let live = apply_as(Some(&live), &json!({"c": "1"}), "m1", false, 2).unwrap();
    assert_eq!(live["data"], json!({"a": "1", "c": "1"}));
}

#[test]
fn the_request_must_be_for_that_kind() {
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name: "m", api_version: "v1", subresource: "", reset: &[] };
    for (config, want) in [
        (json!({"metadata": {"name": "a"}}), "invalid object type: /, Kind="),
        (json!({"apiVersion": "apps/v1", "kind": "ConfigMap"}), "invalid object type: apps/v1, Kind=ConfigMap"),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            "metadata.managedFields must be nil",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "zzz": 1}),
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .zzz: field not declared in schema",
        ),
    ] {
        let error = apply(None, &config, ty.get(), "ConfigMap", &manager, false, now(0)).unwrap_err();
        assert_eq!(error.to_string(), want);
    }
}

fn data() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", "[0-2]", 1..4).prop_map(|map| json!(map))
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in data(), other in data(), second in data()) {
        let live = apply_as(None, &first, "m1", true, 0).unwrap();
        let live = apply_as(Some(&live), &other, "m2", true, 1).unwrap();
        let once = apply_as(Some(&live), &second, "m1", true, 2).unwrap();
        let twice = apply_as(Some(&once), &second, "m1", true, 3).unwrap();
        prop_assert_eq!(&once, &twice);
        for (key, value) in second.as_object().unwrap() {
            prop_assert_eq!(&once["data"][key], value);
        }
    }
}
