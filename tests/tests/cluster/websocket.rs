// SPDX-License-Identifier: Apache-2.0
//! exec as clients do it that speak the WebSocket protocol before the present one.

use std::fs;
use std::path::Path;

use knarr_tests::cluster::Cluster;

/// Runs `websocket.py` with a command's words and more arguments; gives what it prints.
fn exec(cluster: &Cluster, protocols: &str, pod: &str, query: &str, more: &[&str]) -> String {
    let config = cluster.folder().join("kubeconfig.json");
    fs::write(&config, cluster.kubectl.run(&["config", "view", "--raw", "-o", "json"])).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/websocket.py");
    let path = format!("/api/v1/namespaces/default/pods/{pod}/exec?{query}");
    let mut python = cluster.host(0).command("timeout");
    python.args(["60", "python3"]).arg(script).arg(config).args([protocols, &path]).args(more);
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// As a value in a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// In a pod whose container has a shell.
pub fn commands_run_over_version_4(cluster: &Cluster, pod: &str) {
    let v4 = "v4.channel.k8s.io";
    let shell = |script: &str| format!("command=sh&command=-c&command={}", encoded(script));
    let both = "stdout=true&stderr=true";
    let said = exec(cluster, v4, pod, &format!("{}&{both}", shell("echo out; echo err >&2; exit 7")), &[]);
    for want in [
        "protocol v4.channel.k8s.io",
        r#"stdout "out\n""#,
        r#"stderr "err\n""#,
        r#""message": "7", "reason": "ExitCode""#,
    ] {
        assert!(said.contains(want), "{want:?} in {said}");
    }
    let said = exec(cluster, v4, pod, &format!("{}&stdin=true&{both}", shell("read a; echo got $a")), &["type=words"]);
    assert!(said.contains(r#"stdout "got words\n""#) && said.contains(r#""status": "Success""#), "{said}");
    let tty = format!("{}&stdin=true&stdout=true&tty=true", shell("read a; stty size"));
    let said = exec(cluster, v4, pod, &tty, &["resize=101x41", "type=now"]);
    assert!(said.contains(r"41 101\r\n"), "the terminal has the size that was sent: {said}");
}
