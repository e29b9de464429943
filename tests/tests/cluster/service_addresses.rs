// SPDX-License-Identifier: Apache-2.0
//! Service addresses: objects of their own, out of ranges that can be added and taken away.

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;
use serde_json::{Value, json};

fn service(name: &str, spec: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn exists(kubectl: &Kubectl, kind: &str, name: &str) -> bool {
    kubectl.try_run(&["get", kind, name], "").code == 0
}

fn ready(kubectl: &Kubectl, range: &str) -> Value {
    kubectl.json(&["servicecidr", range])["status"]["conditions"][0]["status"].clone()
}

#[test]
fn service_addresses_are_objects_of_ranges() {
    let mut bare = Bare::start_with(&["--disable-scheduler"]);
    let kubectl = bare.kubectl.clone();

    assert_eq!(ready(&kubectl, "kubernetes"), "True");
    let own = kubectl.json(&["service", "kubernetes"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let parent = kubectl.json(&["ipaddress", &own])["spec"]["parentRef"].clone();
    assert_eq!(parent, json!({"resource": "services", "namespace": "default", "name": "kubernetes"}));

    addresses_come_and_go_with_their_service(&kubectl);
    ranges_are_added_and_taken_away(&kubectl);
    what_people_break_is_mended(&kubectl);

    // What was there before the server knew of address objects gets them when it starts.
    bare.restart();
    assert_eq!(kubectl.json(&["ipaddress", &own])["spec"]["parentRef"], parent);
}

fn addresses_come_and_go_with_their_service(kubectl: &Kubectl) {
    let ports = json!([{"port": 80}]);
    kubectl.run_with(&["create", "-f", "-"], &service("web", &json!({ "ports": ports })));
    let address = kubectl.json(&["service", "web"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert_eq!(kubectl.json(&["ipaddress", &address])["spec"]["parentRef"]["name"], "web");
    let again =
        kubectl.try_run(&["create", "-f", "-"], &service("other", &json!({"ports": ports, "clusterIP": address})));
    assert!(again.err.contains("provided IP is already allocated"), "{again:?}");
    let external = r#"{"spec":{"type":"ExternalName","externalName":"example.com","clusterIP":"","clusterIPs":null}}"#;
    kubectl.run(&["patch", "service", "web", "--type=merge", "-p", external]);
    assert!(!exists(kubectl, "ipaddress", &address));
    kubectl.run(&["patch", "service", "web", "--type=merge", "-p", r#"{"spec":{"type":"ClusterIP"}}"#]);
    let address = kubectl.json(&["service", "web"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(exists(kubectl, "ipaddress", &address));
    kubectl.run(&["delete", "service", "web"]);
    assert!(!exists(kubectl, "ipaddress", &address));
}

fn ranges_are_added_and_taken_away(kubectl: &Kubectl) {
    let wanted = json!({"ports": [{"port": 80}], "clusterIP": "203.0.113.5"});
    let refused = kubectl.try_run(&["create", "-f", "-"], &service("far", &wanted));
    let words = "failed to allocate IP 203.0.113.5: the provided network does not match the current range";
    assert!(refused.err.contains(words), "{refused:?}");
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["203.0.113.0/28"]},
    });
    kubectl.apply(&range.to_string());
    kubectl.run_with(&["create", "-f", "-"], &service("far", &wanted));
    eventually("the range is protected", SOON, || {
        let range = kubectl.json(&["servicecidr", "more"]);
        let kept = range["metadata"]["finalizers"][0] == "networking.k8s.io/service-cidr-finalizer";
        if kept && ready(kubectl, "more") == "True" { Ok(()) } else { Err(range) }
    });
    kubectl.run(&["delete", "servicecidr", "more", "--wait=false"]);
    eventually("the range is closed while it is in use", SOON, || {
        let status = ready(kubectl, "more");
        if status == "False" { Ok(()) } else { Err(status) }
    });
    let refused = kubectl.try_run(
        &["create", "-f", "-"],
        &service("late", &json!({"ports": [{"port": 80}], "clusterIP": "203.0.113.6"})),
    );
    assert!(refused.err.contains("does not match the current range"), "{refused:?}");
    kubectl.run(&["delete", "service", "far"]);
    eventually("the range goes with its last address", SOON, || {
        if exists(kubectl, "servicecidr", "more") { Err("it is there") } else { Ok(()) }
    });
}

fn what_people_break_is_mended(kubectl: &Kubectl) {
    kubectl.run_with(&["create", "-f", "-"], &service("mended", &json!({"ports": [{"port": 80}]})));
    let address = kubectl.json(&["service", "mended"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    kubectl.run(&["delete", "ipaddress", &address]);
    eventually("the address is an object again", SOON, || {
        if exists(kubectl, "ipaddress", &address) { Ok(()) } else { Err("it is not there") }
    });
    eventually("people are told", SOON, || {
        let told = kubectl.run(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        if told.contains("ClusterIPNotAllocated") { Ok(()) } else { Err(told) }
    });
    let stray = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": "10.43.200.200", "labels": {
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io", "ipaddress.kubernetes.io/ip-family": "IPv4",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "mended"}},
    });
    kubectl.run_with(&["create", "-f", "-"], &stray.to_string());
    eventually("an address that its Service does not have goes", SOON, || {
        if exists(kubectl, "ipaddress", "10.43.200.200") { Err("it is there") } else { Ok(()) }
    });
}
