// SPDX-License-Identifier: Apache-2.0
//! Managed fields: who owns what after each kind of write.

use knarr_types::tree::json;
use proptest::prelude::*;

use super::*;
use crate::field_table::TypeRef;

fn ty(name: &str) -> TypeRef {
    TypeRef::named(name).unwrap()
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + second).unwrap()
}

fn manager(name: &str) -> Manager<'_> {
    Manager { name, api_version: "v1", subresource: "", reset: &[], others: &OneVersion }
}

fn config_map(data: Value) -> Object {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// Writes `data` as `name`, in second `at`.
fn write(old: Option<&Object>, data: Value, name: &str, at: i64) -> Object {
    let mut new = config_map(data);
    track_update(old, &mut new, ty("io.k8s.api.core.v1.ConfigMap").get(), &manager(name), now(at));
    new
}

#[test]
fn a_writer_owns_what_it_changes_and_no_more() {
    let first = write(None, json!({"a": "1", "b": "1"}), "m1", 0);
    let list = &first["metadata"]["managedFields"];
    assert_eq!(list[0]["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}));
    assert_eq!(list[0]["time"], "2001-09-09T01:46:40Z");
    let second = write(Some(&first), json!({"a": "2", "c": "1"}), "m2", 1);
    let list = second["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["fieldsV1"], json!({"f:data": {}}));
    assert_eq!(list[1]["fieldsV1"], json!({"f:data": {"f:a": {}, "f:c": {}}}));
}

#[test]
fn a_write_that_changes_nothing_leaves_owners_and_times() {
    let first = write(None, json!({"a": "1"}), "m1", 0);
    let again = write(Some(&first), json!({"a": "1"}), "m2", 5);
    assert_eq!(first, again);
}

#[test]
fn who_says_no_name_owns_what_it_changes_next() {
    let first = write(None, json!({"a": "1"}), "", 0);
    let mut folded = folded::read_folded(&first.to_string().into()).unwrap();
    let mut new = folded.clone();
    new["metadata"]["labels"] = json!({"l": "1"});
    track_folded(Some(&folded), &mut new, ty("io.k8s.api.core.v1.ConfigMap").get(), &manager(""), now(1));
    folded = new;
    folded::unfold(&mut folded);
    let owners = &folded["metadata"]["managedFields"];
    assert_eq!(owners[0]["manager"], "unknown");
    assert_eq!(owners[0]["fieldsV1"]["f:metadata"], json!({"f:labels": {".": {}, "f:l": {}}}));
}

#[test]
fn an_empty_entry_forgets_all_owners() {
    let first = write(None, json!({"a": "1"}), "m1", 0);
    let mut new = config_map(json!({"a": "2"}));
    new["metadata"]["managedFields"] = json!([{}]);
    track_update(Some(&first), &mut new, ty("io.k8s.api.core.v1.ConfigMap").get(), &manager("m1"), now(1));
    assert_eq!(new["metadata"].get("managedFields"), None);
}

#[test]
fn the_oldest_updaters_become_one() {
    let mut object = write(None, json!({"k0": "v"}), "m0", 0);
    for n in 1..=12 {
        let mut data = object["data"].clone();
        data[format!("k{n}")] = json!("v");
        object = write(Some(&object), data, &format!("m{n}"), n);
    }
    let list = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(list.len(), MAX_UPDATE_MANAGERS);
    assert_eq!(list[0]["manager"], "ancient-changes");
    assert_eq!(list[0]["time"], "2001-09-09T01:46:43Z");
}

#[test]
fn times_alone_are_no_change() {
    let old = write(None, json!({"a": "1"}), "m1", 0);
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    keep_times(&old, &mut new);
    assert_eq!(old, new);
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    new["data"]["a"] = json!("2");
    let changed = new.clone();
    keep_times(&old, &mut new);
    assert_eq!(new, changed);
}

#[test]
fn managers_are_named_by_parameter_or_user_agent() {
    assert_eq!(manager_name("x", "kubectl/v1"), "x");
    assert_eq!(manager_name("", "kubectl/v1.36.0 (linux/amd64)"), "kubectl");
    assert_eq!(manager_name("", ""), "");
    assert_eq!(manager_name("", &"é".repeat(100)).len(), 128);
}

type Track = fn(Option<&Object>, &mut Object, &Type, &Manager<'_>, Timestamp);

proptest! {
    #[test]
    fn folded_owners_come_out_as_listed_ones(
        writes in prop::collection::vec(
            (0..13_usize, 0..4_usize, 0..3_u8, prop::bool::weighted(0.1), prop::bool::weighted(0.3)), 1..30
        ),
        few in any::<bool>(),
    ) {
        let ty = ty("io.k8s.api.core.v1.ConfigMap");
        let mut listed = write(None, json!({"a": "1"}), "m0", 0);
        let mut folded = folded::read_folded(&listed.to_string().into()).unwrap();
        for (at, (name, field, value, of_old_version, is_status)) in writes.into_iter().enumerate() {
            // Who says no name is one of them, too. Few often come by way of the object and of its status.
            let name = if few { name % 2 } else { name };
            let name = if name == 12 { String::new() } else { format!("m{name}") };
            let api_version = if of_old_version { "v0" } else { "v1" };
            let subresource = if is_status { "status" } else { "" };
            let manager = Manager { api_version, subresource, ..manager(&name) };
            let track_listed: Track = track_update;
            for (object, track) in [(&mut listed, track_listed), (&mut folded, track_folded)] {
                let mut new = object.clone();
                let path = [&["data", "a"][..], &["data", "b"], &["metadata", "labels"], &["immutable"]][field];
                let value = match (field, value) {
                    (_, 0) => Value::Null,
                    (0 | 1, value) => value.to_string().into(),
                    (2, value) => json!({"l": value.to_string()}),
                    (_, value) => (value == 1).into(),
                };
                let place = path.iter().fold(&mut new, |place, step| &mut place[*step]);
                *place = value;
                track(Some(object), &mut new, ty.get(), &manager, now(at as i64));
                *object = new;
            }
            prop_assert_eq!(&*folded::unfolded(&folded), &listed);
        }
    }
}
