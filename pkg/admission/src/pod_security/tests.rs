// SPDX-License-Identifier: Apache-2.0
//! What each level says of pods.

use knarr_types::tree::json;

use super::policy::Version;
use super::*;

fn check(level: Level, minor: Option<u32>, spec: Value) -> String {
    let version = minor.map_or(Version::Latest, Version::Minor);
    let found = violations(Standard { level, version }, Subject { metadata: &Value::Null, spec: &spec });
    details(&found)
}

fn container(context: Value) -> Value {
    json!({"containers": [{"name": "c", "securityContext": context}]})
}

#[test]
fn baseline_keeps_the_host_closed() {
    let table = [
        (container(json!({})), ""),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            container(json!({"capabilities": {"add": ["SYS_TIME", "NET_ADMIN", "CHOWN"]}})),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\", \"SYS_TIME\" in securityContext.capabilities.add)",
        ),
        (json!({"hostPID": true, "hostNetwork": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
        (json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}), "hostPath volumes (volume \"h\")"),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 90}, {"hostPort": 8080}]}]}),
            "hostPort (container \"c\" uses hostPorts 8080, 90)",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "x", "role": "r"}}}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; role may not be set)",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "kernel.x"}]}}),
            "forbidden sysctls (kernel.x)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
    ];
    for (spec, want) in table {
        assert_eq!(check(Level::Baseline, None, spec.clone()), want, "{spec}");
        assert_eq!(check(Level::Privileged, None, spec), "");
    }
}

#[test]
fn restricted_wants_a_hardened_pod() {
    let hardened = json!({
        "allowPrivilegeEscalation": false, "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    assert_eq!(check(Level::Restricted, None, container(hardened)), "");
    let bare = check(Level::Restricted, None, container(json!({})));
    assert!(bare.starts_with("allowPrivilegeEscalation != false (container \"c\" must set"), "{bare}");
    assert!(bare.contains("runAsNonRoot != true (pod or container \"c\" must set"), "{bare}");
    let volume = json!({"volumes": [{"name": "n", "nfs": {}}]});
    let want = "restricted volume types (volume \"n\" uses restricted volume type \"nfs\")";
    assert_eq!(check(Level::Restricted, None, volume), want);
}

#[test]
fn versions_bring_their_checks() {
    let bare = container(json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true}));
    assert_eq!(check(Level::Restricted, Some(18), bare.clone()), "");
    assert!(check(Level::Restricted, Some(19), bare.clone()).starts_with("seccompProfile"));
    assert!(check(Level::Restricted, Some(99), bare).starts_with("unrestricted capabilities"));
    let windows = json!({"os": {"name": "windows"}, "containers": [{"name": "c"}]});
    assert!(!check(Level::Restricted, Some(25), windows.clone()).contains("allowPrivilegeEscalation"));
    assert!(check(Level::Restricted, Some(24), windows).contains("allowPrivilegeEscalation"));
    let own_users = json!({"hostUsers": false, "securityContext": {"runAsUser": 0}});
    assert_eq!(check(Level::Restricted, None, own_users.clone()), "");
    assert!(check(Level::Restricted, Some(34), own_users).starts_with("runAsUser=0"));
}

#[test]
fn a_new_level_tells_which_pods_break_it() {
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"hostPID": true}});
    let level = Standard { level: Level::Baseline, version: Version::Latest };
    let told = existing("n", level, &[pod("b"), pod("a"), pod("c")].map(Into::into));
    let head = "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"";
    assert_eq!(told, [head, "a (and 2 other pods): host namespaces"]);
}
