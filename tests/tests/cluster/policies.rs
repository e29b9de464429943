// SPDX-License-Identifier: Apache-2.0
//! What the status of policies says of their expressions.

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::wait::eventually;
use serde_json::{Value, json};

fn policy(group: &str, resource: &str, expression: &str) -> String {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": resource},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["*"],
            }]},
            "validations": [{"expression": expression}],
        },
    });
    policy.to_string()
}

#[test]
fn the_status_of_a_policy_warns_of_expressions_that_do_not_fit() {
    let bare = Bare::start_with(&["--disable-scheduler"]);
    let kubectl = &bare.kubectl;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.e.com"},
        "spec": {
            "group": "e.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
            }}}],
        },
    });
    kubectl.apply(&definition.to_string());
    kubectl.run(&["wait", "--for=condition=Established", "crd/widgets.e.com"]);
    let status = |name: &str, generation: i64| -> Value {
        eventually("the policy is checked", SOON, || {
            let status = kubectl.json(&["validatingadmissionpolicy", name])["status"].clone();
            if status["observedGeneration"] == generation { Ok(status) } else { Err(status) }
        })
    };
    for (group, resource, good, bad, kind) in [
        ("apps", "deployments", "object.spec.replicas > 1", "object.spec.size > 1", "apps/v1, Kind=Deployment"),
        ("e.com", "widgets", "object.spec.size > 1", "object.spec.replicas > 1", "e.com/v1, Kind=Widget"),
    ] {
        kubectl.apply(&policy(group, resource, good));
        assert_eq!(status(resource, 1)["typeChecking"], json!({}));
        kubectl.apply(&policy(group, resource, bad));
        let field = bad.split(['.', ' ']).nth(2).unwrap();
        let warning = format!("{kind}: ERROR: <input>:1:12: undefined field '{field}'\n | {bad}\n | ...........^\n");
        let expected =
            json!({"expressionWarnings": [{"fieldRef": "spec.validations[0].expression", "warning": warning}]});
        assert_eq!(status(resource, 2)["typeChecking"], expected);
    }
}
