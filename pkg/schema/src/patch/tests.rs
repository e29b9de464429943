// SPDX-License-Identifier: Apache-2.0
//! JSON, merge and strategic merge patches by tables.

use knarr_types::tree::json;
use proptest::prelude::*;

use super::*;
use crate::field_table::{Type, TypeRef};

fn pod_spec() -> &'static Type {
    static TYPE: std::sync::LazyLock<TypeRef> =
        std::sync::LazyLock::new(|| TypeRef::named("io.k8s.api.core.v1.PodSpec").unwrap());
    TYPE.get()
}

fn strategic(object: Value, patch: Value) -> Result<Value, String> {
    strategic_merge_patch(object, &patch, pod_spec()).map_err(|error| error.to_string())
}

#[test]
fn merge_patches_follow_rfc_7386() {
    for (object, patch, want) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        // What is in lists has nothing to take out; upstream looks into them all the same, but not in place of an object.
        (json!({"a": [1]}), json!({"a": [{"b": null, "c": [{"d": null}]}, null]}), json!({"a": [{"c": [{}]}, null]})),
        (json!({"a": {}}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]})),
    ] {
        assert_eq!(merge_patch(object, &patch).unwrap(), want);
    }
    assert!(merge_patch(json!({}), &json!([])).unwrap_err().to_string().ends_with("type map[string]interface {}"));
}

#[test]
fn json_patches_are_as_lenient_as_upstreams() {
    let object = || json!({"data": {"a": "1"}, "l": [1, 2]});
    for (patch, want) in [
        (
            json!([{"op": "replace", "path": "/data/z", "value": "1"}]),
            Some(json!({"data": {"a": "1", "z": "1"}, "l": [1, 2]})),
        ),
        (json!([{"op": "add", "path": "x/l/-1", "value": 3}]), Some(json!({"data": {"a": "1"}, "l": [1, 2, 3]}))),
        (json!([{"op": "add", "path": "/l/0", "value": 3}]), Some(json!({"data": {"a": "1"}, "l": [3, 1, 2]}))),
        (json!([{"op": "move", "from": "/data/a", "path": "/b"}]), Some(json!({"data": {}, "b": "1", "l": [1, 2]}))),
        (json!([{"op": "test", "path": "/data/z", "value": null}]), Some(object())),
        (json!([{"op": "remove", "path": "/l/-2"}]), Some(json!({"data": {"a": "1"}, "l": [2]}))),
        (json!([{"op": "remove", "path": "/data/z"}]), None),
        (json!([{"op": "add", "path": "/l/9", "value": 3}]), None),
        (json!([{"op": "add", "path": "/no/z", "value": 3}]), None),
        (json!([{"op": "frob", "path": "/data/a"}]), None),
        (json!([null]), None),
    ] {
        assert_eq!(json_patch(object(), &patch).ok(), want, "{patch}");
    }
    let many = Value::Array(vec![json!({}); MAX_OPERATIONS + 1]);
    assert_eq!(json_patch(object(), &many), Err(PatchError::TooManyOperations(MAX_OPERATIONS + 1)));
}

#[test]
fn lists_merge_by_their_key() {
    let object = || json!({"containers": [{"name": "a", "image": "i:1"}, {"name": "b"}]});
    for (patch, want) in [
        (json!([{"name": "a", "image": "i:2"}]), json!([{"name": "a", "image": "i:2"}, {"name": "b"}])),
        (json!([{"name": "c"}]), json!([{"name": "c"}, {"name": "a", "image": "i:1"}, {"name": "b"}])),
        (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b"}])),
        (json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
    ] {
        assert_eq!(strategic(object(), json!({"containers": patch})).unwrap(), json!({"containers": want}));
    }
    let order = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]});
    let want = json!({"containers": [{"name": "b"}, {"name": "a", "image": "i:1"}]});
    assert_eq!(strategic(object(), order).unwrap(), want);
}

#[test]
fn directives_that_say_nothing_are_bad_requests() {
    for (patch, code) in [
        (json!({"$retainKeys": "nodeName"}), 400),
        (json!({"$retainKeys": ["nodeName"], "hostname": "a"}), 400),
        (json!({"$setElementOrder": ["a"]}), 400),
        (json!({"$deleteFromPrimitiveList": ["a"]}), 400),
        (json!({"containers": [{"image": "no name"}]}), 500),
    ] {
        let refused = strategic_merge_patch(json!({"containers": [{"name": "a"}]}), &patch, pod_spec()).unwrap_err();
        assert_eq!(refused.to_status().code, code, "{patch}: {refused}");
    }
}

#[test]
fn strategic_patches_fail_in_upstreams_words() {
    let object = || json!({"containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}});
    for (patch, want) in [
        (json!({"containers": [{"image": "i"}]}), "map: map[image:i] does not contain declared merge key: name"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"securityContext": {"$patch": 1}}), "unknown patch type: %!s(int64=1) in map: map[$patch:1]"),
        (json!({"$setElementOrder/containers": "x"}), "expected a []interface {}, but received a string"),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b", "image": "i"}]}),
            "The order in patch list:\n[map[image:i name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(strategic(object(), patch).unwrap_err(), want);
    }
}

#[test]
fn keys_that_are_not_retained_go() {
    let object = json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}});
    let patch = json!({"securityContext": {"$retainKeys": ["runAsUser"], "runAsUser": 3}});
    assert_eq!(strategic(object, patch).unwrap(), json!({"securityContext": {"runAsUser": 3}}));
}

/// Any JSON, with names that mean something to patches.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("name"),
        Just("containers"),
        Just("volumes"),
        Just("env"),
        Just("$patch"),
        Just("$retainKeys"),
        Just("$setElementOrder/containers"),
        Just("$deleteFromPrimitiveList/containers"),
        Just("op"),
        Just("path"),
        Just("from"),
        Just("value"),
        Just("nodeSelector"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        prop_oneof![
            Just("replace"),
            Just("delete"),
            Just("a"),
            Just("add"),
            Just("move"),
            Just("copy"),
            Just("/name"),
            Just("/containers/-1"),
            Just("")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn no_input_makes_a_patch_panic(object in any_json(), patch in any_json()) {
        drop(json_patch(object.clone(), &patch));
        drop(merge_patch(object.clone(), &patch));
        drop(strategic_merge_patch(object, &patch, pod_spec()));
    }

    #[test]
    fn merge_patches_are_idempotent(object in any_json(), patch in any_json()) {
        if let Ok(once) = merge_patch(object, &patch) {
            prop_assert_eq!(merge_patch(once.clone(), &patch).unwrap(), once);
        }
    }
}

#[test]
fn operations_that_do_not_apply_say_where() {
    let object = json!({"a": {"b": "c"}, "l": [1]});
    for (operation, want) in [
        (
            json!({"op": "add", "path": "/x/y"}),
            "add operation does not apply: doc is missing path: \"/x/y\": missing value",
        ),
        (
            json!({"op": "remove", "path": "/a/x"}),
            "error in remove for path: '/a/x': Unable to remove nonexistent key: x: missing value",
        ),
        (
            json!({"op": "replace", "path": "/x/y"}),
            "replace operation does not apply: doc is missing path: /x/y: missing value",
        ),
        (
            json!({"op": "replace", "path": "/l/3"}),
            "replace operation does not apply: doc is missing key: /l/3: missing value",
        ),
        (
            json!({"op": "move", "path": "/z", "from": "/x/y"}),
            "move operation does not apply: doc is missing from path: /x/y: missing value",
        ),
        (
            json!({"op": "copy", "path": "/x/y", "from": "/a"}),
            "copy operation does not apply: doc is missing destination path: /x/y: missing value",
        ),
        (json!({"op": "test", "path": "/x/y"}), "test operation does not apply: is missing path: /x/y: missing value"),
        (json!({"op": "test", "path": "/a/b", "value": 1}), "testing value /a/b failed: test failed"),
        (json!({"op": "x"}), "Unexpected kind: x"),
        (json!({"op": "add"}), "add operation failed to decode path: missing value"),
        (
            json!({"op": "move", "path": "/a"}),
            "move operation failed to decode from: operation, missing from field: missing value",
        ),
    ] {
        let error = json_patch(object.clone(), &json!([operation])).unwrap_err();
        assert_eq!(error.to_string(), want, "{operation}");
    }
}

/// What the store holds is right in its place alone.
#[test]
fn what_comes_to_another_place_is_looked_at_there() {
    use crate::decode::check;
    use crate::managed_fields::folded::read_folded;
    let pod = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
    let container = json!({"name": "c", "image": "i", "args": ["x".repeat(300)]});
    let stored = json!({"metadata": {"name": "p"}, "spec": {"containers": [container.clone()]}}).to_string();
    let object = || read_folded(&stored.clone().into()).unwrap();
    for kind in ["copy", "move"] {
        for (from, path, is_right) in [
            ("/spec", "/metadata/annotations", false),
            ("/spec/containers/0", "/metadata/labels", false),
            ("/spec/containers", "/spec/initContainers", true),
        ] {
            let result = json_patch(object(), &json!([{"op": kind, "from": from, "path": path}])).unwrap();
            let decoded = check(result, pod.get());
            assert_eq!(decoded.is_ok_and(|decoded| decoded.faults.is_empty()), is_right, "{kind} {from} {path}");
        }
    }
}
