// SPDX-License-Identifier: Apache-2.0
//! Webhooks that change, refuse and hang.

use knarr_tests::cluster::{Folder, start_server};
use knarr_tests::hosts::Network;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::webhook::Webhook;

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";

#[test]
fn webhooks_change_refuse_and_hang_alone() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("server");
    let _server = start_server(&host, folder.path(), &["--disable-scheduler", "--disable-controllers"]);
    let kubectl = Kubectl::new(&host, &folder.path().join("server/admin.kubeconfig"));
    let webhook = Webhook::start(&host, folder.path());
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
}
