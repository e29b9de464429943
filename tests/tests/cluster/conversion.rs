// SPDX-License-Identifier: Apache-2.0
//! Custom objects of two versions, between which a webhook converts.

use std::process::Stdio;

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;
use knarr_tests::webhook::Webhook;
use serde_json::{Value, json};

const V1: &str = "widgets.v1.conversion.test";
const V2: &str = "widgets.v2.conversion.test";

fn definition(webhook: &Webhook, stored: &str) -> Value {
    let version = |name: &str, field: &str| {
        json!({
            "name": name, "served": true, "storage": name == stored,
            "subresources": {
                "status": {},
                "scale": {"specReplicasPath": format!(".spec.{field}"), "statusReplicasPath": ".status.seen"},
            },
            "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {field: {"type": "integer"}, "note": {"type": "string"}}},
                "status": {"type": "object", "properties": {"seen": {"type": "integer"}}},
            }}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.conversion.test"},
        "spec": {
            "group": "conversion.test", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", "size"), version("v2", "length")],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": webhook.client_config("/convert"), "conversionReviewVersions": ["v1"],
            }},
        },
    })
}

fn widget(version: &str, name: &str, spec: &Value) -> String {
    let api_version = format!("conversion.test/{version}");
    json!({"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn spec(kubectl: &Kubectl, resource: &str, name: &str) -> Value {
    kubectl.json(&[resource, name])["spec"].clone()
}

#[test]
fn a_webhook_converts_custom_objects() {
    let bare = Bare::start(&[]);
    let (host, kubectl, folder) = (&bare.host, &bare.kubectl, &bare.folder);
    let webhook = Webhook::start(host, folder.path());
    kubectl.apply(&definition(&webhook, "v1").to_string());
    eventually("the kind is served", SOON, || {
        let outcome = kubectl.try_run(&["create", "-f", "-"], &widget("v1", "a", &json!({"size": 1})));
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });

    objects_are_written_in_any_version(kubectl);
    owners_know_their_fields_in_every_version(kubectl);
    lists_are_converted_at_once_and_only_once(kubectl, &webhook);
    watches_see_their_version(kubectl, &webhook);
    what_cannot_be_converted_is_told(kubectl);
    admission_sees_the_version_that_it_names(kubectl, &webhook);
    storage_is_migrated(kubectl, &webhook);
}

fn objects_are_written_in_any_version(kubectl: &Kubectl) {
    assert_eq!(spec(kubectl, V2, "a"), json!({"length": 1}));
    kubectl.run_with(&["create", "-f", "-"], &widget("v2", "b", &json!({"length": 2, "note": "x"})));
    assert_eq!(spec(kubectl, V1, "b"), json!({"size": 2, "note": "x"}));
    kubectl.run(&["patch", V2, "a", "--type=merge", "-p", r#"{"spec":{"length":3}}"#]);
    assert_eq!(spec(kubectl, V1, "a"), json!({"size": 3}));
    kubectl.run(&["patch", V2, "a", "--subresource=status", "--type=merge", "-p", r#"{"status":{"seen":7}}"#]);
    kubectl.run(&["scale", V2, "a", "--replicas=5"]);
    let a = kubectl.json(&[V1, "a"]);
    assert_eq!((&a["spec"], &a["status"]), (&json!({"size": 5}), &json!({"seen": 7})));
    assert_eq!(a["metadata"]["generation"], 3);
    kubectl.run_with(&["replace", "-f", "-"], &widget("v2", "b", &json!({"length": 4})));
    assert_eq!(spec(kubectl, V1, "b"), json!({"size": 4}));
    kubectl.run_with(&["apply", "--server-side", "-f", "-"], &widget("v2", "c", &json!({"length": 6})));
    assert_eq!(spec(kubectl, V1, "c"), json!({"size": 6}));
    let dry = widget("v2", "d", &json!({"length": 8}));
    let dry = kubectl.run_with(&["create", "--dry-run=server", "-o", "json", "-f", "-"], &dry);
    let dry: Value = serde_json::from_str(&dry).unwrap();
    assert_eq!((&dry["apiVersion"], &dry["spec"]), (&json!("conversion.test/v2"), &json!({"length": 8})));
}

fn owners_know_their_fields_in_every_version(kubectl: &Kubectl) {
    let apply = |version: &str, manager: &str, spec: Value, more: &[&str]| {
        let name = format!("--field-manager={manager}");
        let command = [&["apply", "--server-side", &*name, "-f", "-"], more].concat();
        kubectl.try_run(&command, &widget(version, "owned", &spec))
    };
    let owners = || {
        let object: Value = kubectl.json(&[V1, "owned", "--show-managed-fields"]);
        let entry =
            |entry: &Value| (entry["manager"].as_str().unwrap().to_owned(), entry["fieldsV1"]["f:spec"].clone());
        object["metadata"]["managedFields"].as_array().unwrap().iter().map(entry).collect::<Vec<_>>()
    };
    assert_eq!(apply("v1", "first", json!({"size": 1, "note": "x"}), &[]).code, 0);
    let refused = apply("v2", "second", json!({"length": 2}), &[]);
    assert!(refused.err.contains("conflict with \"first\": .spec.size"), "{refused:?}");
    assert_eq!(apply("v2", "second", json!({"length": 2}), &["--force-conflicts"]).code, 0);
    let (first, second) = (("first".to_owned(), json!({"f:note": {}})), ("second".to_owned(), json!({"f:length": {}})));
    assert_eq!(owners(), [first.clone(), second.clone()]);
    // What it no longer applies is another's now, who knows it by another name.
    assert_eq!(apply("v1", "first", json!({"note": "x"}), &[]).code, 0);
    assert_eq!(spec(kubectl, V1, "owned"), json!({"size": 2, "note": "x"}));
    let patch = r#"{"spec":{"size":3}}"#;
    kubectl.run(&["patch", V1, "owned", "--field-manager=third", "--type=merge", "-p", patch]);
    assert_eq!(owners(), [first, ("third".to_owned(), json!({"f:size": {}}))]);
    kubectl.run(&["delete", V1, "owned"]);
}

fn admission_sees_the_version_that_it_names(kubectl: &Kubectl, webhook: &Webhook) {
    let rule = json!([{"apiGroups": ["conversion.test"], "apiVersions": ["v2"], "resources": ["widgets"], "operations": ["*"]}]);
    let mut label = webhook.configuration("MutatingWebhookConfiguration", "/label", "widgets");
    label["webhooks"][0]["rules"] = rule.clone();
    kubectl.apply(&label.to_string());
    let made = kubectl.run_with(&["create", "-o", "json", "-f", "-"], &widget("v1", "seen", &json!({"size": 3})));
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("conversion.test/v1"), &json!({"size": 3})));
    assert_eq!(made["metadata"]["labels"]["seen"], "CREATE");

    let mut tell = webhook.configuration("ValidatingWebhookConfiguration", "/tell", "widgets");
    tell["webhooks"][0]["rules"] = rule.clone();
    kubectl.apply(&tell.to_string());
    let told = told(&kubectl.try_run(&["patch", V1, "seen", "--type=merge", "-p", r#"{"spec":{"size":4}}"#], "").err);
    assert_eq!((&told["kind"]["version"], &told["requestKind"]["version"]), (&json!("v2"), &json!("v1")));
    assert_eq!((&told["type"], &told["resource"]["version"]), (&json!("conversion.test/v2"), &json!("v2")));
    assert_eq!((&told["spec"], &told["old"]), (&json!({"length": 4}), &json!({"length": 3})));
    kubectl.run(&["delete", "validatingwebhookconfiguration", "tell"]);
    kubectl.run(&["delete", "mutatingwebhookconfiguration", "label"]);

    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "short"},
        "spec": {
            "matchConstraints": {"resourceRules": rule},
            "validations": [{"expression": "object.spec.length < 10 && request.kind.version == 'v2' && request.requestKind.version == 'v1'"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "short"}, "spec": {"policyName": "short", "validationActions": ["Deny"]},
    });
    kubectl.apply(&policy.to_string());
    kubectl.apply(&binding.to_string());
    let patch = |size: i64| {
        let patch = json!({"spec": {"size": size}}).to_string();
        kubectl.try_run(&["patch", V1, "seen", "--type=merge", "-p", &patch], "")
    };
    assert_eq!(patch(9).code, 0);
    assert!(patch(10).err.contains("denied request: failed expression: object.spec.length < 10"));
    kubectl.run(&["delete", "validatingadmissionpolicybinding", "short"]);
    kubectl.run(&["delete", V1, "seen"]);
}

/// What a webhook said that it was told.
fn told(message: &str) -> Value {
    let told = message.split("<<").nth(1).and_then(|rest| rest.split(">>").next());
    serde_json::from_str(told.unwrap_or_else(|| panic!("{message}"))).unwrap()
}

fn lists_are_converted_at_once_and_only_once(kubectl: &Kubectl, webhook: &Webhook) {
    // Whoever wrote an object last saw it in one of the versions; touch all of them in the stored one.
    for (name, size) in [("a", 1), ("b", 2), ("c", 3)] {
        let patch = json!({"spec": {"size": size}}).to_string();
        kubectl.run(&["patch", V1, name, "--type=merge", "-p", &patch]);
    }
    let before = webhook.conversions();
    let list = kubectl.json(&[V2]);
    let lengths: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|item| &item["spec"]["length"]).collect();
    assert_eq!(lengths, [1, 2, 3]);
    assert_eq!(webhook.conversions(), (before.0 + 1, before.1 + 3));
    let selected = kubectl.run(&["get", V2, "--field-selector", "spec.length=2", "-o", "name"]);
    assert_eq!(selected.trim(), "widget.conversion.test/b");
    assert_eq!(spec(kubectl, V2, "c"), json!({"length": 3}));
    assert_eq!(webhook.conversions().0, before.0 + 1, "what did not change was converted again");
}

fn watches_see_their_version(kubectl: &Kubectl, webhook: &Webhook) {
    let before = webhook.conversions();
    let path = "/apis/conversion.test/v2/namespaces/default/widgets?watch=true&timeoutSeconds=5";
    let watch = || kubectl.command(&["get", "--raw", path]).stdout(Stdio::piped()).spawn().unwrap();
    let watches = [watch(), watch(), watch()];
    kubectl.run(&["patch", V1, "a", "--type=merge", "-p", r#"{"spec":{"size":9}}"#]);
    kubectl.run(&["delete", V1, "b"]);
    for watch in watches {
        let out = watch.wait_with_output().unwrap().stdout;
        let events: Vec<Value> =
            String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().all(|event| event["object"]["apiVersion"] == "conversion.test/v2"), "{events:?}");
        let last = |name: &str| events.iter().rfind(|event| event["object"]["metadata"]["name"] == name).unwrap();
        assert_eq!(last("a")["object"]["spec"], json!({"length": 9}));
        assert_eq!((&last("c")["type"], &last("c")["object"]["spec"]), (&json!("ADDED"), &json!({"length": 3})));
    }
    let (reviews, objects) = webhook.conversions();
    // Those who own fields in v2 are asked what the patch changed: the object before and after it.
    assert_eq!((reviews - before.0, objects - before.1), (1 + 2, 1 + 2), "three watchers asked for themselves");
}

fn what_cannot_be_converted_is_told(kubectl: &Kubectl) {
    kubectl.run(&["label", V1, "c", "broken=true"]);
    let refused = kubectl.try_run(&["get", V2, "c"], "");
    let words = "conversion webhook for conversion.test/v1, Kind=Widget failed: it is broken";
    assert!(refused.code != 0 && refused.err.contains(words), "{refused:?}");
    let refused = kubectl.try_run(&["get", V2], "");
    assert!(refused.code != 0 && refused.err.contains(words), "{refused:?}");
    assert_eq!(spec(kubectl, V1, "c"), json!({"size": 3}));
    kubectl.run(&["label", V1, "c", "broken-"]);
    assert_eq!(spec(kubectl, V2, "c"), json!({"length": 3}));
}

fn storage_is_migrated(kubectl: &Kubectl, webhook: &Webhook) {
    kubectl.apply(&definition(webhook, "v2").to_string());
    let stored = || kubectl.json(&["crd", "widgets.conversion.test"])["status"]["storedVersions"].clone();
    assert_eq!(stored(), json!(["v1", "v2"]));
    // A write that changes nothing brings an object into the version that is stored now.
    let version = |name: &str| kubectl.json(&[V2, name])["metadata"]["resourceVersion"].clone();
    let migrate = |name: &str| kubectl.run(&["patch", V2, name, "--type=merge", "-p", "{}"]);
    for name in ["a", "c"] {
        let before = version(name);
        eventually("the object is written in the new version", SOON, || {
            migrate(name);
            if version(name) == before { Err("it is as it was") } else { Ok(()) }
        });
        let after = version(name);
        migrate(name);
        assert_eq!(version(name), after);
    }
    let before = webhook.conversions();
    assert_eq!(spec(kubectl, V2, "a"), json!({"length": 9}));
    assert_eq!(webhook.conversions(), before);
    assert_eq!(spec(kubectl, V1, "a"), json!({"size": 9}));
    kubectl.run(&["delete", "crd", "widgets.conversion.test"]);
}
