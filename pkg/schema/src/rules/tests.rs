// SPDX-License-Identifier: Apache-2.0

//! Faults of whole objects in upstream's words and order, kind by kind.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, Object};

use crate::Registry;

/// What a new object of that kind is told, its defaults filled in before.
fn told_of_new(group: &str, kind: &str, spec: &Value) -> Vec<String> {
    let registry = Registry::builtin();
    let kind = registry.by_kind(group, "v1", kind).unwrap();
    let mut object = made(spec);
    kind.default(&mut object);
    kind.normalize(&mut object);
    kind.prepare_create(&mut object);
    texts(kind.check_create(&object))
}

/// What a change of an object of that kind is told.
fn told_of_change(group: &str, kind: &str, old: &Value, new: &Value) -> Vec<String> {
    let registry = Registry::builtin();
    let kind = registry.by_kind(group, "v1", kind).unwrap();
    let [old, mut new] = [old, new].map(|spec| {
        let mut object = made(spec);
        kind.default(&mut object);
        kind.normalize(&mut object);
        object
    });
    kind.prepare_update(&mut new, &old, "");
    texts(kind.check_update(&new, &old, ""))
}

fn made(fields: &Value) -> Object {
    let mut object = json!({"metadata": {"name": "x"}});
    for (name, value) in fields.as_object().unwrap() {
        object[&**name] = value.clone();
    }
    object
}

/// Paths and words; namespaces are left to the server.
fn texts(faults: ErrorList) -> Vec<String> {
    let told = faults.iter().filter(|fault| fault.path.as_str() != "metadata.namespace");
    told.map(ToString::to_string).collect()
}

#[test]
fn a_stateful_set_is_judged_with_the_volumes_of_its_claims() {
    let set = |template: Value, claims: Value| {
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "volumeClaimTemplates": claims,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": template}}})
    };
    let claim = json!([{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1"}}}}]);
    let pod = json!({"hostname": "Bad_", "containers": [{"name": "c", "image": "i",
        "volumeMounts": [{"name": "d", "mountPath": "/d"}]}]});
    let (path, spec) = ("spec.template.spec.containers", set(pod.clone(), claim));
    assert_eq!(told_of_new("apps", "StatefulSet", &spec), Vec::<String>::new());
    assert_eq!(
        told_of_new("apps", "StatefulSet", &set(pod, json!([]))),
        [format!("{path}[0].volumeMounts[0].name: Not found: \"d\"")]
    );
    let empty = set(json!({}), json!([]));
    assert_eq!(told_of_new("apps", "StatefulSet", &empty), [format!("{path}: Required value")]);
    // What was wrong before is let be.
    assert_eq!(told_of_change("apps", "StatefulSet", &empty, &empty), Vec::<String>::new());
    let mut other = spec.clone();
    other["spec"]["selector"] = json!({"matchLabels": {}});
    let told = told_of_change("apps", "DaemonSet", &spec, &other);
    let want = "spec.selector: Invalid value: {}: field is immutable".to_owned();
    assert!(told.contains(&want), "{told:?}");
    let mut twice = spec;
    let claim = twice["spec"]["volumeClaimTemplates"][0].clone();
    twice["spec"]["volumeClaimTemplates"] = json!([claim.clone(), claim]);
    assert_eq!(told_of_new("apps", "StatefulSet", &twice), Vec::<String>::new(), "claims of one name are one volume");
}

#[test]
fn a_new_set_keeps_the_generation_that_it_comes_with() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("apps", "v1", "DaemonSet").unwrap();
    for (sent, want) in [("0", "1"), ("5", "5"), ("-3", "1")] {
        let mut set =
            json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": sent}}, "spec": {}});
        kind.prepare_create(&mut set);
        assert_eq!(set["metadata"]["annotations"]["deprecated.daemonset.template.generation"], want);
    }
}

#[test]
fn a_set_that_waits_for_deletes_has_the_numbers_of_rolling_updates_too() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("apps", "v1", "DaemonSet").unwrap();
    let both = |unavailable: i64, surge: i64| json!({"maxUnavailable": unavailable, "maxSurge": surge});
    for (strategy, want) in [
        (json!({}), both(1, 0)),
        (json!({"type": "OnDelete"}), Value::Null),
        (json!({"type": "OnDelete", "rollingUpdate": {}}), both(0, 0)),
        (json!({"type": "OnDelete", "rollingUpdate": {"maxUnavailable": 2}}), both(2, 0)),
    ] {
        let mut set = json!({"metadata": {}, "spec": {"updateStrategy": strategy}});
        kind.default(&mut set);
        assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"], want, "{strategy}");
    }
}

#[test]
fn new_objects_are_told_what_is_wrong_with_them() {
    let hook = |service: Value| {
        json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": service}}]})
    };
    let at = "webhooks[0].clientConfig.service";
    for (group, kind, fields, want) in [
        // Upstream takes name and namespace for each other here.
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            hook(json!({"name": "n"})),
            vec![format!("{at}.name: Required value")],
        ),
        (
            "storage.k8s.io",
            "StorageClass",
            json!({"provisioner": "p", "allowedTopologies": [{}]}),
            vec!["allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\"".to_owned()],
        ),
        (
            "storage.k8s.io",
            "CSIDriver",
            json!({"spec": {"serviceAccountTokenInSecrets": true, "preventPodSchedulingIfMissing": true}}),
            vec![
                "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no \
                 tokenRequests are specified"
                    .to_owned(),
            ],
        ),
        (
            "storage.k8s.io",
            "VolumeAttachment",
            json!({"spec": {"nodeName": "n", "source": {"persistentVolumeName": "v"}}}),
            vec!["spec.attacher: Required value".to_owned()],
        ),
        (
            "apps",
            "ControllerRevision",
            json!({"data": [], "revision": -1}),
            vec![
                "revision: Invalid value: -1: must be greater than or equal to 0".to_owned(),
                "data: Required value: data must be a valid JSON object".to_owned(),
            ],
        ),
        (
            "node.k8s.io",
            "RuntimeClass",
            json!({"handler": "h", "overhead": {"podFixed": {"hugepages-2Mi": "2Mi"}}}),
            vec!["overhead: Forbidden: HugePages require cpu or memory".to_owned()],
        ),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            json!({"addressType": "IPv4", "ports": [{"protocol": "X"}], "endpoints": [{"addresses": ["::1"]}]}),
            vec![
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"".to_owned(),
                "endpoints[0].addresses: Invalid value: \"::1\": must be an IPv4 address".to_owned(),
                "endpoints[0].addresses[0]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, \
                 ::1/128)"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(told_of_new(group, kind, &fields), want, "{kind}");
    }
}

#[test]
fn changes_are_told_what_may_not_change() {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let daemons = |more: Value| {
        json!({"spec": {"selector": {"matchLabels": more},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}})
    };
    for (group, kind, old, new, want) in [
        (
            "apps",
            "DaemonSet",
            daemons(json!({"a": "b"})),
            daemons(json!({"c": "d"})),
            vec![
                "spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable",
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template \
                 `labels`",
            ],
        ),
        (
            "",
            "Node",
            json!({"spec": {}}),
            json!({"spec": {"externalID": "e", "configSource": {}}}),
            vec!["spec.externalID: Forbidden: may not be updated"],
        ),
        (
            "networking.k8s.io",
            "ServiceCIDR",
            json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
            json!({"spec": {"cidrs": ["10.0.0.0/24", "fd00::/112", "10.1.0.0/24"]}}),
            vec!["spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"fd00::/112\",\"10.1.0.0/24\"]: field is immutable"],
        ),
        (
            "networking.k8s.io",
            "ServiceCIDR",
            json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
            json!({"spec": {"cidrs": ["10.0.0.0/24", "fd00::/112"]}}),
            vec![],
        ),
    ] {
        assert_eq!(told_of_change(group, kind, &old, &new), want, "{kind}");
    }
}

#[test]
fn secrets_of_an_account_are_known_by_their_names_alone() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("", "v1", "ServiceAccount").unwrap();
    let mut account = json!({"metadata": {"name": "x"}, "secrets": [{"name": "s", "uid": "u"}, {"kind": "Secret"}]});
    kind.prepare_create(&mut account);
    assert_eq!(account["secrets"], json!([{"name": "s"}, {}]));
}

#[test]
fn what_is_named_but_not_described_stays_so() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("apps", "v1", "StatefulSet").unwrap();
    let strategy = |given: Value| {
        let mut set = json!({"metadata": {"name": "x"}, "spec": {"updateStrategy": given}});
        kind.default(&mut set);
        set["spec"]["updateStrategy"].clone()
    };
    let whole = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
    assert_eq!(strategy(json!({})), whole);
    assert_eq!(strategy(json!({"type": "RollingUpdate"})), json!({"type": "RollingUpdate"}));
    assert_eq!(strategy(json!({"type": "RollingUpdate", "rollingUpdate": {}})), whole);
}

#[test]
fn a_whole_pod_asks_for_what_its_containers_do() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("", "v1", "Pod").unwrap();
    let container = |name: &str| json!({"name": name, "image": "i", "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "2Mi", "storage": "1"}}});
    let mut pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [container("a"), container("b")],
        "resources": {"limits": {"cpu": "3", "memory": "1Gi"}}}});
    kind.default(&mut pod);
    let want = json!({"limits": {"cpu": "3", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
        "requests": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "4Mi"}});
    assert_eq!(pod["spec"]["resources"], want);
}

#[test]
fn what_the_server_fills_in_is_in_its_one_form() {
    let registry = Registry::builtin();
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s", "namespace": ""});
    for (group, kind, mut object) in [
        ("batch", "Job", json!({"metadata": {}, "spec": {"template": {}}})),
        ("", "PersistentVolumeClaim", json!({"metadata": {"name": "x"}, "spec": {"dataSourceRef": source}})),
    ] {
        let kind = registry.by_kind(group, "v1", kind).unwrap();
        kind.default(&mut object);
        kind.normalize(&mut object);
        kind.prepare_create(&mut object);
        assert!(kind.is_normal(&object), "{object:?}");
    }
}

#[test]
fn words_for_what_few_get_wrong() {
    let level = |annotation: &str| {
        json!({"metadata": {"name": "x", "annotations": {annotation: ""}}, "spec": {"type": "Limited", "limited": {
        "limitResponse": {"type": "Reject"}}}})
    };
    let shares = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    let told = told_of_new("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", &level(shares));
    assert_eq!(told, [format!("metadata.annotations: Forbidden: annotation '{shares}' is forbidden")]);
    let node = json!({"spec": {"podCIDRs": ["192.168.000.000/16"]}});
    let leading = "must not have leading 0s in IP or prefix length";
    let want = format!("spec.podCIDRs[0]: Invalid value: \"192.168.000.000/16\": {leading}");
    assert_eq!(told_of_new("", "Node", &node), [want]);
    let avoided = json!({"metadata": {"name": "x", "annotations": {
        "scheduler.alpha.kubernetes.io/preferAvoidPods": "{\"preferAvoidPods\": [{}]}"}}});
    let told = told_of_new("", "Node", &avoided);
    assert!(told[0].ends_with("preferAvoidPods[0].PodSignature: Required value"), "{told:?}");
    let init = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "i", "image": "i",
        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}});
    let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
    let want =
        format!("spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": {why}");
    assert_eq!(told_of_new("", "Pod", &init), [want]);
    let controller = json!({"metadata": {"name": "x", "generateName": "Bad_"}, "spec": {"selector": {"a": "b"},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(told_of_new("", "ReplicationController", &controller), Vec::<String>::new(), "the name counts");
}

/// What a change of an object of that kind is warned of.
fn warned_of_change(group: &str, kind: &str, old: &Value, new: &Value) -> Vec<String> {
    let registry = Registry::builtin();
    let kind = registry.by_kind(group, "v1", kind).unwrap();
    kind.warnings(&made(new), Some(&made(old)))
}

#[test]
fn changes_are_warned_of_in_ways_of_their_own() {
    let tokens = |audience: &str| json!({"spec": {"tokenRequests": [{"audience": audience}]}});
    let warned = |old: &str, new: &str| warned_of_change("storage.k8s.io", "CSIDriver", &tokens(old), &tokens(new));
    assert!(warned("a", "a").is_empty());
    assert!(warned("a", "b")[0].starts_with("spec.serviceAccountTokenInSecrets is unset"));

    let claims = json!([{"spec": {"resources": {"requests": {"storage": "1500m"}}}}]);
    let set = json!({"spec": {"revisionHistoryLimit": -1, "volumeClaimTemplates": claims}});
    let warned = warned_of_change("apps", "StatefulSet", &set, &set);
    let path = "spec.volumeClaimTemplates[0].Spec.resources.requests[storage]";
    assert!(warned[0].starts_with(path), "{warned:?}");
    assert!(warned[1].starts_with("spec.revisionHistoryLimit: a negative value"), "{warned:?}");

    let policy = json!({"metadata": {"name": "x.static.k8s.io"}});
    let group = "admissionregistration.k8s.io";
    for kind in ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"] {
        assert_eq!(warned_of_change(group, kind, &policy, &policy).len(), 1, "{kind}");
    }
    let cron_job = json!({"spec": {"schedule": "TZ=UTC * * * * *"}});
    let warned = warned_of_change("batch", "CronJob", &cron_job, &cron_job);
    assert!(warned[0].contains("TZ or CRON_TZ in spec.spec.schedule"), "{warned:?}");
    let secret = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": ""}});
    let warned = warned_of_change("", "Secret", &secret, &secret);
    assert_eq!(warned, ["tls: failed to find any PEM data in certificate input"]);
}

#[test]
fn addresses_in_a_status_are_warned_of() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("", "v1", "Service").unwrap();
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"ip": "::ffff:1.2.3.4"}]}}});
    let warned = kind.status_warnings(&status);
    assert_eq!(warned.len(), 1);
    assert!(warned[0].starts_with("status.loadBalancer.ingress[1]: non-standard IP address"), "{warned:?}");
}

#[test]
fn options_of_mounts_go_with_some_volumes() {
    let volume = |source: &str| {
        json!({"metadata": {"name": "x", "annotations": {"volume.beta.kubernetes.io/mount-options": "ro"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, source: {"path": "/x", "server": "s"}}})
    };
    assert_eq!(told_of_new("", "PersistentVolume", &volume("nfs")), Vec::<String>::new());
    let path = "metadata.annotations.volume.beta.kubernetes.io/mount-options";
    let want = format!("{path}: Forbidden: may not specify mount options for this volume type");
    assert_eq!(told_of_new("", "PersistentVolume", &volume("hostPath")), [want]);
}

#[test]
fn what_a_controller_cannot_say_stays() {
    let controller = |labels: Value, note: &str| {
        json!({"metadata": {"name": "x", "annotations": {note: "v"}}, "spec": {"selector": labels, "template":
            {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let told = |note: &str| {
        let (old, new) = (controller(json!({"a": "b"}), note), controller(json!({"c": "d"}), note));
        told_of_change("", "ReplicationController", &old, &new)
    };
    assert_eq!(told("x/y"), Vec::<String>::new());
    let want = "spec.selector: Invalid value: {\"c\":\"d\"}: cannot update non-convertible selector";
    assert_eq!(told("non-convertible.kubernetes.io/spec.selector"), [want]);
    let want = "other: Not found: \"v\": unknown non-convertible field";
    assert_eq!(told("non-convertible.kubernetes.io/other"), [want]);
}

#[test]
fn a_taint_of_a_device_says_since_when() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("resource.k8s.io", "v1", "ResourceSlice").unwrap();
    let mut slice = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"devices": [{"taints": [{"effect": "NoSchedule"}, {"timeAdded": "2020-01-01T00:00:00Z"}]}]}});
    kind.prepare_create(&mut slice);
    let taints = &slice["spec"]["devices"][0]["taints"];
    assert_eq!(taints[0]["timeAdded"], "2026-01-01T00:00:00Z");
    assert_eq!(taints[1]["timeAdded"], "2020-01-01T00:00:00Z");
}

#[test]
fn empty_lists_count_as_changes_of_some_kinds() {
    let registry = Registry::builtin();
    let kind = registry.by_kind("networking.k8s.io", "v1", "NetworkPolicy").unwrap();
    let old = json!({"metadata": {"generation": 1}, "spec": {"podSelector": {}}});
    for (sent, want) in [
        (json!({"metadata": {"labels": {}}, "spec": {"podSelector": {}}}), 1),
        (json!({"spec": {"podSelector": {}, "ingress": []}}), 2),
        (json!({"spec": {"podSelector": {"matchLabels": {}}}}), 2),
    ] {
        let mut new = old.clone();
        kind.count_empties(&mut new, &old, &sent);
        assert_eq!(new["metadata"]["generation"], want, "{sent}");
    }
}

/// What a new pod is told, faults and warnings.
fn told_of_pod(metadata: &Value, spec: &Value) -> (Vec<String>, Vec<String>) {
    let registry = Registry::builtin();
    let kind = registry.by_kind("", "v1", "Pod").unwrap();
    let mut pod = json!({"metadata": metadata.clone(), "spec": spec.clone()});
    kind.default(&mut pod);
    kind.normalize(&mut pod);
    kind.prepare_create(&mut pod);
    kind.seal(&mut pod);
    (texts(kind.check_create(&pod)), kind.warnings(&pod, None))
}

/// Specs that came before are not judged again: what a pod is told must not hang on that, whatever its metadata says.
#[test]
fn a_pod_is_judged_as_if_none_before_had_its_spec() {
    let container = json!({"name": "c", "image": "i"});
    let named = |name: &str| json!([container.clone(), {"name": name, "image": "i"}]);
    let volume = |volume: Value| json!({"containers": [container.clone()], "volumes": [volume]});
    let specs = [
        json!({"containers": [container.clone()]}),
        json!({"containers": named("d"), "hostname": "h", "hostNetwork": true}),
        json!({"containers": named("c")}),
        json!({"containers": [container.clone()], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
        json!({"containers": [container.clone()], "resourceClaims": [{"name": "r", "resourceClaimTemplateName": "t"}]}),
        volume(json!({"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec":
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}}}})),
        volume(json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})),
        json!({"containers": [container.clone()], "nodeName": "n", "serviceAccountName": "s"}),
    ];
    let annotated = |key: &str, value: &str| json!({"name": "x", "annotations": {key: value}});
    let metadatas = [
        json!({"name": "x"}),
        json!({"name": "x".repeat(253)}),
        json!({"generateName": "x-", "name": "x.y"}),
        annotated("container.apparmor.security.beta.kubernetes.io/d", "runtime/default"),
        annotated("container.apparmor.security.beta.kubernetes.io/c", "localhost/"),
        annotated("seccomp.security.alpha.kubernetes.io/pod", "nothing"),
        annotated("container.seccomp.security.alpha.kubernetes.io/c", "unconfined"),
        annotated("kubernetes.io/config.mirror", "x"),
        annotated("scheduler.alpha.kubernetes.io/preferAvoidPods", "x"),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (number, spec) in specs.iter().enumerate() {
        let of_known = |metadata| (0..4).map(|_| told_of_pod(metadata, spec)).next_back().unwrap();
        of_known(&metadatas[0]);
        for (other, metadata) in metadatas.iter().enumerate() {
            let mut never_seen = spec.clone();
            never_seen["schedulerName"] = json!(format!("never-seen-{number}-{other}"));
            let want = told_of_pod(metadata, &never_seen);
            assert_eq!(of_known(metadata), want, "{metadata} {spec}");
            told.extend([want.0, want.1].concat());
        }
    }
    assert!(told.len() > 5, "there is something to be told: {told:#?}");
}
