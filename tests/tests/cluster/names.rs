// SPDX-License-Identifier: Apache-2.0
//! A node's name belongs to the machine that first had it.

use std::fs;

use knarr_tests::knarr::{self, PORT};
use knarr_tests::wait::eventually;

use knarr_tests::cluster::{Cluster, SOON};

#[test]
fn another_machine_cannot_take_a_nodes_name() {
    let cluster = Cluster::start(1);
    let (server, host) = (&cluster.host(0).address, cluster.host(1));
    let data = cluster.folder().join("thief");
    let token = fs::read_to_string(cluster.folder().join("server/agent-token")).unwrap();
    let url = format!("https://{server}:{PORT}");
    let steal = || {
        let data = data.display().to_string();
        let join = ["agent", "--server", &url, "--token", token.trim(), "--node-name", "node1", "--data-dir", &data];
        knarr::run(host, &join)
    };
    let (code, text) = eventually("the Node has its password", SOON, || {
        let annotations = &cluster.kubectl.json(&["node", "node1"])["metadata"]["annotations"];
        if annotations["knarr.dev/node-password-hash"].is_string() { Ok(steal()) } else { Err(annotations.to_string()) }
    });
    assert_ne!(code, Some(0));
    assert!(text.contains("another machine has this name") && text.contains("--node-name"), "{text}");
    assert!(!data.join("node.crt").exists(), "it got no certificate");
}
