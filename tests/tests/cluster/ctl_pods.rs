// SPDX-License-Identifier: Apache-2.0
//! Every command of `knarr ctl` against running pods and the nodes under them.

use std::fs;
use std::path::Path;
use std::process::Command;

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::images::Rootfs;
use knarr_tests::knarr::binary;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::terminal::Terminal;
use knarr_tests::wait::{eventually, until};
use serde_json::json;

use crate::lines::Lines;
use crate::manifests::{shell_pod, web};

#[test]
fn ctl_works_with_running_pods() {
    let cluster = Cluster::start(2);
    let image = cluster.push_busybox();
    // The same calls as kubectl's: another program.
    let ctl = cluster.kubectl.with_program(&program(cluster.folder()));
    assert!(ctl.apply(&web(&image)).contains("deployment.apps/web created"));
    let count = "i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); sleep 0.5; done";
    ctl.apply(&shell_pod("talker", &image, count, ""));
    assert!(ctl.run(&["rollout", "status", "deployment/web"]).contains("successfully rolled out"));
    cluster.kubectl.run(&["wait", "--for=condition=Ready", "pod/talker", "--timeout=60s"]);

    logs_are_read(&ctl);
    commands_run_inside(&ctl);
    files_are_copied(&cluster, &ctl);
    ports_are_forwarded(&cluster, &ctl);
    changes_are_watched(&ctl);
    rollouts_are_undone(&ctl);
    nodes_are_looked_after(&ctl);
    images_are_looked_after(&cluster);
    tokens_are_looked_after(&ctl);
    the_rest_answers(&ctl);
    let deleted = ctl.run(&["delete", "deployment,service,ingress", "web"]);
    assert_eq!(deleted.lines().count(), 3, "{deleted}");
}

/// `knarr ctl` as a program of its own, as kubectl is called: with a folder for a cache, which it has no use for.
fn program(folder: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("ctl");
    let script = "#!/bin/sh\nconfig=$2; shift 4\nexec KNARR ctl --kubeconfig \"$config\" \"$@\"\n";
    fs::write(&path, script.replace("KNARR", &binary().display().to_string())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn first_pod(ctl: &Kubectl) -> String {
    ctl.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])
}

fn logs_are_read(ctl: &Kubectl) {
    until("three lines were said", SOON, || {
        let log = ctl.run(&["logs", "talker"]);
        (log.starts_with("line 0\nline 1\nline 2\n"), log)
    });
    assert_eq!(ctl.run(&["logs", "talker", "--tail=1"]).lines().count(), 1);
    assert!(ctl.run(&["logs", "talker", "-c", "main", "--since=1h"]).starts_with("line 0\n"));
    let stamped = ctl.run(&["logs", "pod/talker", "--timestamps"]);
    assert!(stamped.lines().next().is_some_and(|line| line.contains('T') && line.ends_with("Z line 0")), "{stamped}");
    let both = ctl.run(&["logs", "-l", "app=web", "--prefix"]);
    assert_eq!(
        both.lines().filter(|line| line.starts_with("[pod/web-") && line.ends_with("started")).count(),
        2,
        "{both}"
    );
    assert_eq!(ctl.run(&["logs", "deployment/web", "--all-containers"]).trim(), "started");
    let followed = Lines::of(ctl.command(&["logs", "-f", "talker", "--tail=1"]));
    followed.find("a first line", |line| line.starts_with("line "));
    followed.find("a later line", |line| line.starts_with("line "));
    let wrong = ctl.try_run(&["logs", "talker", "-c", "none"], "");
    assert!(
        wrong.code == 1 && wrong.err.contains("container none is not valid for pod talker out of: main"),
        "{wrong:?}"
    );
    let none = ctl.try_run(&["logs", "talker", "--previous"], "");
    assert!(none.code == 1 && none.err.contains("previous terminated container \"main\""), "{none:?}");
}

fn commands_run_inside(ctl: &Kubectl) {
    let pod = first_pod(ctl);
    assert_eq!(ctl.run(&["exec", &pod, "--", "hostname"]).trim(), pod);
    assert_eq!(ctl.run(&["exec", "deployment/web", "-c", "web", "--", "echo", "hi"]).trim(), "hi");
    let big = "0123456789abcde\n".repeat(1 << 16);
    assert!(ctl.run_with(&["exec", "-i", &pod, "--", "cat"], &big) == big, "a MiB goes in and comes out");
    let failed = ctl.try_run(&["exec", &pod, "--", "sh", "-c", "echo oops >&2; exit 7"], "");
    assert_eq!((failed.code, failed.err.contains("oops")), (7, true), "{failed:?}");
    let none = ctl.try_run(&["exec", &pod, "--", "no-such-program"], "");
    assert!(none.code != 0 && none.err.contains("no-such-program"), "{none:?}");
    let mut terminal = Terminal::start(&ctl.command(&["exec", "-it", &pod, "--", "sh"]), 41, 101);
    assert!(terminal.shows("# ", SOON), "a prompt: {}", terminal.rest());
    terminal.type_line("stty size");
    assert!(terminal.shows("41 101", SOON), "{}", terminal.rest());
    terminal.resize(52, 122);
    eventually("the new size arrives", SOON, || {
        terminal.type_line("stty size");
        let sees = terminal.shows("52 122", std::time::Duration::from_millis(500));
        if sees { Ok(()) } else { Err(terminal.rest().to_owned()) }
    });
    terminal.type_line("exit 5");
    assert_eq!(terminal.exit_code(SOON), Some(5), "{}", terminal.rest());
}

fn files_are_copied(cluster: &Cluster, ctl: &Kubectl) {
    let pod = first_pod(ctl);
    let (there, back) = (cluster.folder().join("there"), cluster.folder().join("back"));
    fs::create_dir_all(there.join("deep")).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(there.join("deep/data"), &bytes).unwrap();
    ctl.run(&["cp", &there.display().to_string(), &format!("{pod}:/tmp/copied")]);
    ctl.run(&["cp", &format!("default/{pod}:/tmp/copied"), &back.display().to_string(), "-c", "web"]);
    assert!(fs::read(back.join("deep/data")).unwrap() == bytes, "what comes back is what went");
}

fn ports_are_forwarded(cluster: &Cluster, ctl: &Kubectl) {
    let pod = first_pod(ctl);
    for (target, port) in [(format!("pod/{pod}"), "8080"), ("service/web".to_owned(), "80")] {
        let forward = Lines::of(ctl.command(&["port-forward", &target, &format!(":{port}")]));
        let line = forward.find("a local port", |line| line.starts_with("Forwarding from 127.0.0.1:"));
        let local = line.split([':', ' ']).nth(3).unwrap().to_owned();
        for _ in 0..3 {
            let url = format!("http://127.0.0.1:{local}/");
            let output = cluster.host(0).command("curl").args(["-sS", "-m", "20", &url]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.starts_with("web-"), "{target} through {local}: {text}");
        }
    }
}

fn changes_are_watched(ctl: &Kubectl) {
    let path = "jsonpath={.status.readyReplicas}{\"\\n\"}";
    let watched = Lines::of(ctl.command(&["get", "deployment", "web", "-w", "-o", path]));
    watched.find("two are ready", |line| line == "2");
    let table = Lines::of(ctl.command(&["get", "deployments", "-w"]));
    table.find("headings", |line| line.starts_with("NAME "));
    table.find("the Deployment", |line| line.starts_with("web ") && line.contains("2/2"));
    assert_eq!(ctl.run(&["scale", "deployment/web", "--replicas=3"]), "deployment.apps/web scaled\n");
    watched.find("three are ready", |line| line == "3");
    table.find("three are ready", |line| line.starts_with("web ") && line.contains("3/3"));
    ctl.run(&["scale", "deployment", "web", "--replicas=2", "--current-replicas=3"]);
}

fn rollouts_are_undone(ctl: &Kubectl) {
    let rollout = |words: &[&str]| ctl.run(&[&["rollout"], words].concat());
    rollout(&["restart", "deployment/web"]);
    assert!(rollout(&["status", "deployment/web"]).contains("successfully rolled out"));
    assert!(rollout(&["history", "deployment/web"]).contains("\n2 "));
    assert_eq!(rollout(&["undo", "deployment/web"]), "deployment.apps/web rolled back\n");
    assert!(rollout(&["status", "deployment/web"]).contains("successfully rolled out"));
    rollout(&["pause", "deployment/web"]);
    assert_eq!(rollout(&["resume", "deployment/web"]), "deployment.apps/web resumed\n");
}

fn nodes_are_looked_after(ctl: &Kubectl) {
    let list = ctl.run(&["node", "list"]);
    assert!(list.starts_with("NAME ") && list.contains("node1") && list.contains("node2"), "{list}");
    ctl.run(&["node", "cordon", "node1"]);
    assert!(ctl.run(&["get", "node", "node1"]).contains("SchedulingDisabled"));
    ctl.run(&["node", "uncordon", "node1"]);
    // The pod without a controller would be lost: that takes a word.
    let refused =
        ctl.try_run(&["node", "drain", &ctl.run(&["get", "pod", "talker", "-o", "jsonpath={.spec.nodeName}"])], "");
    assert!(refused.code != 0 && refused.err.contains("talker"), "{refused:?}");
    ctl.run(&["node", "drain", "node1", "--ignore-daemonsets", "--force", "--delete-emptydir-data"]);
    let on_node1 = || ctl.run(&["get", "pods", "-A", "--field-selector=spec.nodeName=node1", "-o", "name"]);
    until("nothing runs on the drained node", LATER, || (on_node1().is_empty(), on_node1()));
    ctl.run(&["node", "uncordon", "node1"]);
    ctl.run(&["node", "uncordon", "node2"]);
    assert!(ctl.run(&["rollout", "status", "deployment/web"]).contains("successfully rolled out"));
}

/// On the host of a node, with its data dir.
fn images_are_looked_after(cluster: &Cluster) {
    let data = cluster.folder().join("node1").display().to_string();
    let image = |words: &[&str]| {
        let mut command: Command = cluster.host(1).command(binary());
        command.args(["ctl", "image"]).args(words).args(["--data-dir", &data]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "image {}: {said}", words.join(" "));
        said
    };
    let archive = cluster.folder().join("imported.tar");
    Rootfs::busybox().pack(&archive, "imported:1", &json!({"Cmd": ["sh"]}));
    assert!(image(&["import", &archive.display().to_string()]).contains("imported:1"));
    assert!(image(&["list"]).contains("imported"));
    image(&["rm", "imported:1"]);
    assert!(!image(&["list"]).contains("imported"));
    image(&["import", &archive.display().to_string()]);
    image(&["prune"]);
}

fn tokens_are_looked_after(ctl: &Kubectl) {
    let token = ctl.run(&["token", "create"]).trim().to_owned();
    let id = token.rsplit(':').next().unwrap().split('.').next().unwrap().to_owned();
    assert!(ctl.run(&["token", "list"]).contains(&id), "{token}");
    ctl.run(&["token", "delete", &token]);
    assert!(!ctl.run(&["token", "list"]).contains(&id));
}

fn the_rest_answers(ctl: &Kubectl) {
    assert!(ctl.run(&["cluster-info"]).contains("is running at"));
    assert!(ctl.run(&["kubeconfig"]).contains("client-certificate-data"));
    let version = ctl.run(&["version"]);
    assert!(version.contains("Server Version") && version.contains("Client Version"), "{version}");
    assert!(ctl.run(&["completion", "bash"]).contains("complete -F"));
}
