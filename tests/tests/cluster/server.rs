// SPDX-License-Identifier: Apache-2.0
//! A server without nodes: what kubectl does with objects alone.

use std::time::Duration;

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::running::Running;
use knarr_tests::wait::eventually;

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";

#[test]
fn kubectl_works_against_a_bare_server_that_restarts() {
    let mut bare = Bare::start(&[]);
    let kubectl = bare.kubectl.clone();

    objects_are_applied(&kubectl);
    objects_are_applied_by_the_server(&kubectl);
    objects_are_compared_and_edited(&kubectl);
    kinds_are_explained(&kubectl);

    // What was acknowledged is there after a power cut.
    let before = kubectl.json(&["configmap", "settings"]);
    bare.restart();
    assert_eq!(kubectl.json(&["configmap", "settings"]), before);

    kubectl.run(&["delete", "configmap", "settings"]);
    assert!(kubectl.try_run(&["get", "configmap", "settings"], "").code != 0);
    assert!(bare.server.terminate(Duration::from_secs(5)).success());
}

fn objects_are_applied(kubectl: &Kubectl) {
    assert!(kubectl.apply(CONFIG_MAP).contains("configmap/settings created"));
    assert!(kubectl.apply(CONFIG_MAP).contains("unchanged"));
    assert!(kubectl.apply(&CONFIG_MAP.replace("blue", "red")).contains("configured"));
    assert_eq!(kubectl.json(&["configmap", "settings"])["data"]["color"], "red");
    assert!(kubectl.run(&["get", "configmap", "settings"]).contains("settings   1"));
    kubectl.run(&["label", "configmap", "settings", "team=blue"]);
    kubectl.run(&["annotate", "configmap", "settings", "note=hello"]);
    kubectl.run(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"size":"5"}}"#]);
    assert_eq!(kubectl.run(&["get", "cm", "-l", "team=blue", "-o", "name"]).trim(), "configmap/settings");
    kubectl.run_with(&["create", "-f", "-"], "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
    kubectl.run_with(&["create", "-n", "other", "-f", "-"], CONFIG_MAP);
    assert_eq!(kubectl.run(&["get", "cm", "-A", "-o", "name"]).matches("configmap/settings").count(), 2);
    let again = kubectl.try_run(&["create", "-f", "-"], CONFIG_MAP);
    assert!(again.err.contains("configmaps \"settings\" already exists"), "{again:?}");
    let missing = kubectl.try_run(&["get", "pod", "none"], "");
    assert!(missing.err.contains("pods \"none\" not found"), "{missing:?}");
}

fn objects_are_applied_by_the_server(kubectl: &Kubectl) {
    let manifest = CONFIG_MAP.replace("settings", "shared");
    let apply = |manager: &str, text: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        kubectl.try_run(&[&["apply", "--server-side", &manager, "-f", "-"], more].concat(), text)
    };
    assert!(apply("one", &manifest, &[]).out.contains("configmap/shared serverside-applied"));
    let conflict = apply("two", &manifest.replace("blue", "red"), &[]);
    assert!(conflict.code != 0 && conflict.err.contains("conflict with \"one\": .data.color"), "{conflict:?}");
    assert_eq!(apply("two", &manifest.replace("blue", "red"), &["--force-conflicts"]).code, 0);
    // What its only manager no longer applies goes.
    assert_eq!(apply("two", &manifest.replace("data: {color: blue}", ""), &[]).code, 0);
    assert!(kubectl.json(&["configmap", "shared"])["data"]["color"].is_null());
    kubectl.run(&["delete", "configmap", "shared"]);
}

fn objects_are_compared_and_edited(kubectl: &Kubectl) {
    let same = kubectl.json(&["configmap", "settings"]).to_string();
    let diff = kubectl.try_run(&["diff", "-f", "-"], &CONFIG_MAP.replace("blue", "green"));
    assert!(diff.code == 1 && diff.out.contains("+  color: green"), "{diff:?}");
    let diff = kubectl.try_run(&["diff", "-f", "-"], &CONFIG_MAP.replace("blue", "red"));
    assert!(diff.code == 0 && diff.out.is_empty(), "{diff:?}");
    assert_eq!(kubectl.json(&["configmap", "settings"]).to_string(), same, "diff changes nothing");

    let edit = |script: &str| {
        let mut command = kubectl.command(&["edit", "configmap", "settings"]);
        let output = command.env("KUBE_EDITOR", format!("sed -i {script}")).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(edit("s/red/yellow/").contains("configmap/settings edited"));
    assert_eq!(kubectl.json(&["configmap", "settings"])["data"]["color"], "yellow");
    assert!(edit("s/nothing/like-it/").contains("no changes"));
}

fn kinds_are_explained(kubectl: &Kubectl) {
    assert!(kubectl.run(&["explain", "pod.spec.containers.image"]).contains("FIELD: image"));
    assert!(kubectl.run(&["explain", "deployment", "--recursive"]).contains("maxSurge"));
    assert!(kubectl.run(&["api-resources"]).contains("deployments"));
    assert!(kubectl.run(&["api-versions"]).contains("apps/v1"));
    assert!(kubectl.run(&["version"]).contains("Server Version: v1.36"));
    assert!(kubectl.run(&["cluster-info"]).contains("is running at"));
}

#[test]
fn what_every_cluster_holds_comes_back() {
    let bare = Bare::start(&[]);
    let kubectl = &bare.kubectl;
    kubectl.apply(include_str!("certificates.yaml"));
    kubectl.run(&["wait", "--for=condition=Established", "crd/certs.pki.example.com", "--timeout=30s"]);
    for [kind, name, namespace] in [
        ["flowschema", "catch-all", "default"],
        ["prioritylevelconfiguration", "global-default", "default"],
        ["apiservice", "v1.pki.example.com", "default"],
        ["service", "kubernetes", "default"],
        ["endpointslice", "kubernetes", "default"],
    ] {
        let read = || {
            eventually("it is there", SOON, || {
                let found = kubectl.try_run(&["get", kind, name, "-n", namespace, "-o", "json"], "");
                serde_json::from_str::<serde_json::Value>(&found.out).map_err(|_| found.err)
            })
        };
        let before = read();
        kubectl.run(&["delete", kind, name, "-n", namespace, "--wait=false"]);
        let after = eventually("it is made again", SOON, || {
            let after = read();
            if after["metadata"]["uid"] == before["metadata"]["uid"] { Err(after) } else { Ok(after) }
        });
        assert_eq!(after["spec"], before["spec"], "{kind} {name}");
    }
    // What somebody took over is theirs.
    let keep = ["annotate", "flowschema", "probes", "--overwrite", "apf.kubernetes.io/autoupdate-spec=false"];
    kubectl.run(&keep);
    let patch = r#"{"spec":{"matchingPrecedence":4321}}"#;
    kubectl.run(&["patch", "flowschema", "probes", "--type=merge", "-p", patch]);
    kubectl.run(&["patch", "flowschema", "service-accounts", "--type=merge", "-p", patch]);
    eventually("the spec comes back", SOON, || {
        let precedence = kubectl.json(&["flowschema", "service-accounts"])["spec"]["matchingPrecedence"].clone();
        if precedence == 4321 { Err(precedence) } else { Ok(()) }
    });
    assert_eq!(kubectl.json(&["flowschema", "probes"])["spec"]["matchingPrecedence"], 4321);
    heartbeats_get_their_namespace_back(kubectl);
    others_can_tell_who_their_clients_are(kubectl);
}

/// API servers of others read there whose certificates the cluster trusts.
fn others_can_tell_who_their_clients_are(kubectl: &Kubectl) {
    let config_map = ["configmap", "extension-apiserver-authentication", "-n", "kube-system"];
    let authority = kubectl.json(&config_map)["data"]["client-ca-file"].clone();
    assert!(authority.as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")), "{authority}");
    let other = r#"{"data":{"client-ca-file":"mine"}}"#;
    for change in [&["patch", "--type=merge", "-p", other][..], &["delete"]] {
        kubectl.run(&[&change[..1], &config_map, &change[1..]].concat());
        eventually("the authority comes back", SOON, || {
            let command = [&["get"], &config_map[..], &["-o", "json"]].concat();
            let found = kubectl.try_run(&command, "");
            let after: serde_json::Value = serde_json::from_str(&found.out).map_err(|_| found.err.clone())?;
            if after["data"]["client-ca-file"] == authority { Ok(()) } else { Err(after.to_string()) }
        });
    }
}

/// No controller empties namespaces here: its finalizer is taken away by hand.
fn heartbeats_get_their_namespace_back(kubectl: &Kubectl) {
    let name = "kube-node-lease";
    let before = kubectl.json(&["namespace", name]);
    kubectl.run(&["delete", "namespace", name, "--wait=false"]);
    let mut over = kubectl.json(&["namespace", name]);
    assert_eq!(over["status"]["phase"], "Terminating");
    over["spec"]["finalizers"] = serde_json::json!([]);
    let path = format!("/api/v1/namespaces/{name}/finalize");
    kubectl.run_with(&["replace", "--raw", &path, "-f", "-"], &over.to_string());
    eventually("the namespace is made again", SOON, || {
        let found = kubectl.try_run(&["get", "namespace", name, "-o", "json"], "");
        let after: serde_json::Value = serde_json::from_str(&found.out).map_err(|_| found.err.clone())?;
        let again = after["metadata"]["uid"] != before["metadata"]["uid"] && after["status"]["phase"] == "Active";
        if again { Ok(()) } else { Err(after.to_string()) }
    });
}

#[test]
fn a_watcher_that_vanishes_frees_what_it_held() {
    let bare = Bare::start(&[]);
    let kubectl = &bare.kubectl;
    // Nobody else looks at these.
    let open = || {
        let metrics = kubectl.run(&["get", "--raw", "/metrics"]);
        let of_watches = |line: &&str| {
            line.starts_with("apiserver_longrunning_requests{verb=\"WATCH\"")
                && line.contains("resource=\"limitranges\"")
        };
        metrics.lines().find(of_watches).map(str::to_owned)
    };
    assert_eq!(open(), None);
    let watcher = Running(kubectl.command(&["get", "limitranges", "--watch"]).spawn().unwrap());
    eventually("the watch is open", SOON, || open().filter(|line| line.ends_with(" 1")).ok_or("none"));
    drop(watcher);
    eventually("the watch is over", SOON, || open().map_or(Ok(()), Err));
}
