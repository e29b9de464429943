// SPDX-License-Identifier: Apache-2.0
//! Server-side apply: tables of merges and conflicts, and the properties that hold for any objects.

use knarr_types::tree::json;
use proptest::prelude::*;

use super::*;
use crate::field_table::TypeRef;
use crate::managed_fields::{OneVersion, Versions};

fn config_map(data: &Value) -> Object {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + second).unwrap()
}

fn apply_as(live: Option<&Object>, data: &Value, name: &str, force: bool, at: i64) -> Result<Object, ApplyError> {
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name, api_version: "v1", subresource: "", reset: &[], others: &OneVersion };
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
    let manager = Manager { name: "m", api_version: "v1", subresource: "", reset: &[], others: &OneVersion };
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

/// A kind whose `data.a` is `data.z` in its old version, `v0`.
#[derive(Debug)]
struct Renamed;

impl Versions for Renamed {
    fn convert(&self, object: &Object, version: &str) -> Result<Option<(Object, TypeRef)>, String> {
        let (from, to) = match version {
            "v0" => ("a", "z"),
            "v1" => ("z", "a"),
            "broken" => return Err("cannot be converted".into()),
            _ => return Ok(None),
        };
        let mut object = object.clone();
        if object["apiVersion"] != version
            && let Some(value) = object["data"].as_object_mut().and_then(|data| data.remove(from))
        {
            object["data"][to] = value;
        }
        object["apiVersion"] = version.into();
        Ok(Some((object, TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap())))
    }
}

fn in_version(
    live: Option<&Object>,
    version: &str,
    data: &Value,
    name: &str,
    force: bool,
) -> Result<Object, ApplyError> {
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name, api_version: version, subresource: "", reset: &[], others: &Renamed };
    let live = live.map(|live| Renamed.convert(live, version).unwrap().unwrap().0);
    let mut config = config_map(data);
    config["apiVersion"] = version.into();
    apply(live.as_ref(), &config, ty.get(), "ConfigMap", &manager, force, now(0))
}

fn owners(object: &Object) -> Vec<(String, String, Value)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let fields = |entry: &Value| entry["fieldsV1"]["f:data"].clone();
    entries.iter().map(|entry| (text(entry, "manager"), text(entry, "apiVersion"), fields(entry))).collect()
}

#[test]
fn owners_of_another_version_are_asked_there() {
    let live = in_version(None, "v0", &json!({"z": "1", "b": "1"}), "m0", false).unwrap();
    let error = in_version(Some(&live), "v1", &json!({"a": "2"}), "m1", false).unwrap_err();
    assert_eq!(error.to_string(), "Apply failed with 1 conflict: conflict with \"m0\": .data.z");
    let shared = in_version(Some(&live), "v1", &json!({"a": "1"}), "m1", false).unwrap();
    assert_eq!(owners(&shared).len(), 2);
    let forced = in_version(Some(&shared), "v1", &json!({"a": "2"}), "m1", true).unwrap();
    let want = [("m0".into(), "v0".into(), json!({"f:b": {}})), ("m1".into(), "v1".into(), json!({"f:a": {}}))];
    assert_eq!(owners(&forced), want);
    let mut written = Renamed.convert(&forced, "v1").unwrap().unwrap().0;
    written["data"]["b"] = json!("3");
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name: "u", api_version: "v1", subresource: "", reset: &[], others: &Renamed };
    managed_fields::track_update(Some(&forced), &mut written, ty.get(), &manager, now(1));
    assert_eq!(owners(&written)[1..], [("u".into(), "v1".into(), json!({"f:b": {}}))]);
}

#[test]
fn what_was_applied_in_another_version_goes_when_it_is_no_longer_applied() {
    let live = in_version(None, "v0", &json!({"z": "1", "b": "1"}), "m0", false).unwrap();
    let moved = in_version(Some(&live), "v1", &json!({"b": "1"}), "m0", false).unwrap();
    assert_eq!(moved["data"], json!({"b": "1"}));
    assert_eq!(owners(&moved), [("m0".into(), "v1".into(), json!({"f:b": {}}))]);
    // Somebody else owns it, in the newer version.
    let shared = in_version(Some(&live), "v1", &json!({"a": "1"}), "m1", false).unwrap();
    let moved = in_version(Some(&shared), "v1", &json!({"b": "1"}), "m0", false).unwrap();
    assert_eq!(moved["data"], json!({"a": "1", "b": "1"}));
}

#[test]
fn owners_of_a_version_that_is_gone_are_forgotten() {
    let mut live = in_version(None, "v1", &json!({"a": "1"}), "m1", false).unwrap();
    live["metadata"]["managedFields"][0]["apiVersion"] = "v9".into();
    let applied = in_version(Some(&live), "v1", &json!({"b": "1"}), "m2", false).unwrap();
    assert_eq!(owners(&applied), [("m2".into(), "v1".into(), json!({"f:b": {}}))]);
    assert_eq!(applied["data"], json!({"a": "1", "b": "1"}));
    live["metadata"]["managedFields"][0]["apiVersion"] = "broken".into();
    let error = in_version(Some(&live), "v1", &json!({"b": "1"}), "m2", false).unwrap_err();
    assert_eq!((error.to_status().code, error.to_string().as_str()), (500, "cannot be converted"));
}

#[test]
fn a_new_object_may_bring_owners_of_other_versions() {
    let brought = in_version(None, "v0", &json!({"z": "1"}), "m0", false).unwrap();
    let mut new = Renamed.convert(&brought, "v1").unwrap().unwrap().0;
    new["data"]["b"] = json!("1");
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let manager = Manager { name: "u", api_version: "v1", subresource: "", reset: &[], others: &Renamed };
    managed_fields::track_update(None, &mut new, ty.get(), &manager, now(1));
    // A create takes all that it sets from those it brings.
    assert_eq!(owners(&new), [("u".into(), "v1".into(), json!({".": {}, "f:a": {}, "f:b": {}}))]);
    new["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:data": {"f:other": {}}});
    new["metadata"]["managedFields"][0]["apiVersion"] = "v0".into();
    managed_fields::track_update(None, &mut new, ty.get(), &manager, now(1));
    assert_eq!(owners(&new).len(), 2);
}

#[test]
fn conflicts_come_by_manager_then_members_before_what_is_below() {
    let pod = TypeRef::named("io.k8s.api.core.v1.Service").unwrap();
    let apply_as = |live: Option<&Object>, spec: Value, name: &str| {
        let manager = Manager { name, api_version: "v1", subresource: "", reset: &[], others: &OneVersion };
        let config = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
        apply(live, &config, pod.get(), "Service", &manager, false, now(0))
    };
    let ports = |target: i32| {
        let port = |port: i32| json!({"port": port, "protocol": "TCP", "targetPort": target});
        json!({"ports": [port(443), port(80)], "type": format!("T{target}"), "selector": {"a": "b"}})
    };
    let live = apply_as(None, ports(1), "m").unwrap();
    let error = apply_as(Some(&live), ports(2), "n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"m\":\n- .spec.type\n\
         - .spec.ports[port=80,protocol=\"TCP\"].targetPort\n- .spec.ports[port=443,protocol=\"TCP\"].targetPort"
    );
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
