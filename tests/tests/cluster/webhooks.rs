// SPDX-License-Identifier: Apache-2.0
//! Webhooks that change, refuse and hang.

use std::time::Duration;

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::wait::eventually;
use knarr_tests::webhook::Webhook;
use serde_json::{Value, json};

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";

#[test]
fn webhooks_change_refuse_and_hang_alone() {
    let mut bare = Bare::start(&[]);
    let kubectl = &bare.kubectl.clone();
    let webhook = Webhook::start(&bare.host, bare.folder.path());
    for (kind, path, resource) in [
        ("MutatingWebhookConfiguration", "/label", "configmaps"),
        ("ValidatingWebhookConfiguration", "/deny", "configmaps"),
        ("ValidatingWebhookConfiguration", "/hang", "secrets"),
    ] {
        kubectl.apply(&webhook.configuration(kind, path, resource).to_string());
    }

    // The one that hangs holds up nobody else.
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: slow}\n";
    let (slow, made) = std::thread::scope(|scope| {
        let slow = scope.spawn(|| kubectl.try_run(&["create", "-f", "-"], secret));
        let made = kubectl.try_run(&["create", "-f", "-"], CONFIG_MAP);
        (slow.join().unwrap(), made)
    });
    let words = "failed calling webhook \"hang.knarr.test\"";
    assert!(slow.err.contains(words) && slow.err.contains("deadline exceeded"), "{slow:?}");
    assert!(made.err.contains("Warning: seen by /label") && made.err.contains("seen by /deny"), "{made:?}");
    assert_eq!(kubectl.json(&["configmap", "settings"])["metadata"]["labels"]["seen"], "CREATE");

    let bad = CONFIG_MAP.replace("{name: settings}", "{name: bad, labels: {bad: really}}");
    let refused = kubectl.try_run(&["create", "-f", "-"], &bad);
    let words = "admission webhook \"deny.knarr.test\" denied the request: it is labelled bad";
    assert!(refused.code != 0 && refused.err.contains(words), "{refused:?}");
    kubectl.run(&["delete", "validatingwebhookconfiguration", "hang"]);
    kubectl.run_with(&["create", "-f", "-"], secret);

    // What the server works on when it is told to end is still answered.
    kubectl.apply(&webhook.configuration("ValidatingWebhookConfiguration", "/slow", "services").to_string());
    let made = std::thread::scope(|scope| {
        let late = scope.spawn(|| kubectl.try_run(&["create", "service", "clusterip", "late", "--tcp=80"], ""));
        eventually("the webhook is asked", SOON, || if webhook.slow_questions() > 0 { Ok(()) } else { Err("not yet") });
        assert!(bare.server.terminate(Duration::from_secs(5)).success());
        late.join().unwrap()
    });
    assert_eq!(made.out, "service/late created\n", "{made:?}");
}

#[test]
fn actions_and_connections_are_asked_about() {
    let bare = Bare::start(&[]);
    let (host, kubectl, folder) = (&bare.host, &bare.kubectl, &bare.folder);
    let webhook = Webhook::start(host, folder.path());
    let mut configuration = webhook.configuration("ValidatingWebhookConfiguration", "/refuse", "pods/exec");
    let rule = |resource: &str, operation: &str| json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": [resource], "operations": [operation]});
    configuration["webhooks"][0]["rules"] = json!([
        rule("pods/exec", "CONNECT"),
        rule("pods/binding", "CREATE"),
        rule("pods/eviction", "CREATE"),
        rule("serviceaccounts/token", "CREATE"),
        rule("services/proxy", "CONNECT"),
    ]);
    kubectl.apply(&configuration.to_string());
    let denied = "admission webhook \"refuse.knarr.test\" denied the request: ";

    let executed = kubectl.try_run(&["exec", "none", "--", "true"], "");
    // kubectl looks for the pod first.
    assert!(executed.err.contains("pods \"none\" not found"), "{executed:?}");
    let pods = "/api/v1/namespaces/default/pods/none";
    let proxied = kubectl.try_run(&["get", "--raw", "/api/v1/namespaces/default/services/none/proxy/a"], "");
    let opened = kubectl.try_run(&["get", "--raw", &format!("{pods}/exec?command=true")], "");
    let post = |path: String, body: Value| kubectl.try_run(&["create", "--raw", &path, "-f", "-"], &body.to_string());
    let metadata = json!({"name": "none"});
    let bound = post(
        format!("{pods}/binding"),
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"name": "n"}}),
    );
    let evicted =
        post(format!("{pods}/eviction"), json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}));
    let token = post(
        "/api/v1/namespaces/default/serviceaccounts/none/token".into(),
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["a"]}}),
    );
    for (outcome, want) in [
        (proxied, "CONNECT/services/proxy/ServiceProxyOptions/ServiceProxyOptions"),
        (opened, "CONNECT/pods/exec/PodExecOptions/PodExecOptions"),
        (bound, "CREATE/pods/binding/Binding/Binding"),
        (evicted, "CREATE/pods/eviction/Eviction/Eviction"),
        (token, "CREATE/serviceaccounts/token/TokenRequest/TokenRequest"),
    ] {
        assert!(outcome.err.contains(&format!("{denied}{want}")), "{want}: {outcome:?}");
    }

    // Policies have the same say.
    kubectl.run(&["delete", "validatingwebhookconfiguration", "refuse"]);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-shells"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule("pods/exec", "CONNECT")]},
            "validations": [{"expression": "!object.command.exists(word, word == 'sh')", "message": "no shells"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-shells"}, "spec": {"policyName": "no-shells", "validationActions": ["Deny"]},
    });
    kubectl.apply(&policy.to_string());
    kubectl.apply(&binding.to_string());
    let shell = kubectl.try_run(&["get", "--raw", &format!("{pods}/exec?command=sh")], "");
    assert!(shell.err.contains("no shells"), "{shell:?}");
    let other = kubectl.try_run(&["get", "--raw", &format!("{pods}/exec?command=true")], "");
    assert!(other.err.contains("not found") || other.err.contains("could not find"), "{other:?}");
}

#[test]
fn questions_scales_and_other_versions_are_asked_about() {
    let bare = Bare::start(&[]);
    let (host, kubectl, folder) = (&bare.host, &bare.kubectl, &bare.folder);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
        }},
    });
    kubectl.apply(&deployment.to_string());
    kubectl.run(&["create", "namespace", "held"]);
    let webhook = Webhook::start(host, folder.path());
    let mut configuration = webhook.configuration("ValidatingWebhookConfiguration", "/tell", "pods");
    let rule = |group: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["*"]});
    configuration["webhooks"][0]["rules"] = json!([
        rule("", "namespaces/finalize"),
        rule("apps", "deployments/scale"),
        rule("authentication.k8s.io", "*"),
        rule("authorization.k8s.io", "*"),
        rule("autoscaling", "*"),
        rule("events.k8s.io", "events"),
    ]);
    configuration["webhooks"][0]["namespaceSelector"] = json!({});
    kubectl.apply(&configuration.to_string());
    let post = |path: &str, body: Value| kubectl.try_run(&["create", "--raw", path, "-f", "-"], &body.to_string()).err;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "held"}, "spec": {}});
    let asked = [
        (
            kubectl
                .try_run(&["replace", "--raw", "/api/v1/namespaces/held/finalize", "-f", "-"], &namespace.to_string())
                .err,
            json!(["Namespace", "v1", "v1", "finalize", "v1"]),
        ),
        (
            kubectl.try_run(&["scale", "deployment", "d", "--replicas=2"], "").err,
            json!(["Scale", "v1", "v1", "scale", "autoscaling/v1"]),
        ),
        (
            post("/apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": {"token": "t"}})),
            json!(["TokenReview", "v1", "v1", null, "authentication.k8s.io/v1"]),
        ),
        (
            post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json!({})),
            json!(["SelfSubjectReview", "v1", "v1", null, "authentication.k8s.io/v1"]),
        ),
        (
            post(
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                json!({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}),
            ),
            json!(["SelfSubjectAccessReview", "v1", "v1", null, "authorization.k8s.io/v1"]),
        ),
        (
            post(
                "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
                json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
            ),
            json!(["HorizontalPodAutoscaler", "v1", "v2", null, "autoscaling/v1"]),
        ),
        (
            post(
                "/api/v1/namespaces/default/events",
                json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"namespace": "default"}}),
            ),
            json!(["Event", "v1", "v1", null, "events.k8s.io/v1"]),
        ),
    ];
    for (message, want) in asked {
        let told = message.split("<<").nth(1).and_then(|rest| rest.split(">>").next());
        let told: Value = serde_json::from_str(told.unwrap_or_else(|| panic!("{want}: {message}"))).unwrap();
        let (kind, requested) = (&told["kind"], &told["requestKind"]["version"]);
        assert_eq!(json!([kind["kind"], kind["version"], requested, told["below"], told["type"]]), want, "{told}");
    }
}
