// SPDX-License-Identifier: Apache-2.0
//! Typed comparison, merging and removal over field tables.

use knarr_types::tree::json;

use super::*;
use crate::field_set::path_text;

fn ty(name: &str) -> TypeRef {
    TypeRef::named(name).unwrap()
}

fn paths(set: &crate::field_set::FieldSet<'_>) -> Vec<String> {
    set.paths().iter().map(|path| path_text(path)).collect()
}

#[test]
fn a_comparison_names_what_changed() {
    let pod = ty("io.k8s.api.core.v1.PodSpec");
    let old = json!({"containers": [{"name": "a", "image": "i:1", "args": ["x"]}, {"name": "b"}]});
    let new = json!({"containers": [{"name": "a", "image": "i:2", "args": ["y"]}, {"name": "c"}], "nodeName": "n"});
    let found = compare(&old, &new, pod.get());
    assert_eq!(paths(&found.added), [".nodeName", ".containers[name=\"c\"]", ".containers[name=\"c\"].name"]);
    assert_eq!(paths(&found.modified), [".containers[name=\"a\"].args", ".containers[name=\"a\"].image"]);
    assert_eq!(paths(&found.removed), [".containers[name=\"b\"]", ".containers[name=\"b\"].name"]);
}

#[test]
fn keys_that_are_not_set_count_with_their_default() {
    let spec = ty("io.k8s.api.core.v1.ServiceSpec");
    let claimed = json!({"ports": [{"port": 80}]});
    let set = extract(&claimed, spec.get());
    assert_eq!(paths(&set), [".ports[port=80,protocol=\"TCP\"]", ".ports[port=80,protocol=\"TCP\"].port"]);
}

#[test]
fn merged_lists_keep_the_order_of_the_configuration() {
    let spec = ty("io.k8s.api.core.v1.PodSpec");
    let names = |names: &[&str]| json!({"containers": names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>()});
    for (live, config, want) in [
        (&["a", "b"][..], &["b", "a"][..], &["b", "a"][..]),
        (&["x", "a", "b"], &["b", "a"], &["x", "b", "a"]),
        (&["a", "x", "b"], &["a", "b", "c"], &["a", "x", "b", "c"]),
        (&["a"], &["n", "a"], &["n", "a"]),
    ] {
        assert_eq!(merge(&names(live), &names(config), spec.get()), names(want), "{live:?} {config:?}");
    }
}

#[test]
fn duplicates_and_unknown_fields_are_refused() {
    let spec = ty("io.k8s.api.core.v1.ServiceSpec");
    for (object, want) in [
        (
            json!({"ports": [{"port": 80}, {"port": 80}]}),
            ".ports: duplicate entries for key [port=80,protocol=\"TCP\"]",
        ),
        // Keys that are left out count with their default, also those that must be there.
        (
            json!({"ports": [{"name": "a"}, {"name": "b"}]}),
            ".ports: duplicate entries for key [port=0,protocol=\"TCP\"]",
        ),
        (
            json!({"clusterIP": [1, null]}),
            ".clusterIP: expected string, got &value.valueUnstructured{Value:[]interface {}{1, interface {}(nil)}}",
        ),
        (json!({"zzz": 1}), ".zzz: field not declared in schema"),
        (json!({"clusterIP": 1}), ".clusterIP: expected string, got &value.valueUnstructured{Value:1}"),
    ] {
        assert_eq!(validate(&object, spec.get()).as_deref(), Some(want));
    }
    assert_eq!(validate(&json!({"ports": [{"port": 80}]}), spec.get()), None);
}
