// SPDX-License-Identifier: Apache-2.0
//! Every verb of kubectl against running pods on two nodes.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::running::Running;
use knarr_tests::terminal::Terminal;
use knarr_tests::wait::{eventually, until};

use crate::lines::Lines;
use crate::manifests::{shell_pod, web};
use crate::websocket::commands_run_over_version_4;

#[test]
fn kubectl_works_with_running_pods() {
    let cluster = Cluster::start(2);
    let image = cluster.push_busybox();
    let kubectl = cluster.kubectl.clone();
    kubectl.apply(&web(&image));
    kubectl.apply(&pods(&image));
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/talker", "pod/trapper", "pod/reader", "--timeout=90s"]);

    pods_are_described(&kubectl);
    logs_are_read(&kubectl);
    logs_are_followed(&kubectl);
    logs_of_the_last_run_are_kept(&kubectl);
    commands_run_inside(&kubectl);
    commands_run_over_version_4(&cluster, &first_pod(&kubectl));
    a_terminal_has_a_size(&kubectl);
    files_are_copied(&cluster);
    ports_are_forwarded(&cluster);
    running_containers_are_attached_to(&kubectl);
    a_terminal_is_attached_to(&kubectl, &image);
    objects_are_edited(&kubectl);
    pods_end_with_grace(&kubectl);
    pods_are_run_and_exposed(&kubectl, &image);
    services_and_names_resolve(&cluster);
    changes_are_watched(&kubectl);
    rollouts_go_and_come_back(&kubectl);
    nodes_are_drained(&kubectl);

    kubectl.run(&["delete", "deployment,service,ingress", "web", "--wait"]);
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]);
}

/// `talker` counts, `other` beside it says one thing; `crasher` fails once; `trapper` says when it is ended;
/// `reader` repeats what it is told.
fn pods(image: &str) -> String {
    let count = "i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); sleep 0.5; done";
    let other = format!("- {{name: other, image: {image}, command: [sh, -c, 'echo beside; exec sleep 3600']}}");
    let talker =
        shell_pod("talker", image, count, "").replace("  containers:\n", &format!("  containers:\n  {other}\n"));
    let crash =
        "if [ -e /kept/seen ]; then echo second run; exec sleep 3600; fi; touch /kept/seen; echo first run; exit 3";
    let kept = "volumeMounts: [{name: kept, mountPath: /kept}]\n  volumes: [{name: kept, emptyDir: {}}]";
    let trap = "trap 'echo ended with grace; exit 0' TERM; echo waiting; while true; do sleep 0.1; done";
    let once = "stdin: true\n    stdinOnce: true";
    [
        talker,
        shell_pod("crasher", image, crash, kept),
        shell_pod("trapper", image, trap, ""),
        shell_pod("reader", image, "while read -r line; do echo heard $line; done; echo done; exec sleep 3600", once),
    ]
    .join("---\n")
}

fn first_pod(kubectl: &Kubectl) -> String {
    kubectl.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])
}

fn pods_are_described(kubectl: &Kubectl) {
    let pod = first_pod(kubectl);
    let described = kubectl.run(&["describe", "pod", &pod]);
    for want in ["Status:           Running", "Started", "ReplicaSet/web-", "cpu:        10m"] {
        assert!(described.contains(want), "describe pod has no {want:?}:\n{described}");
    }
    assert!(kubectl.run(&["get", "pods", "-o", "wide"]).contains("node"));
    let service = kubectl.run(&["describe", "service", "web"]);
    assert!(service.contains("Endpoints:") && service.contains(":8080"), "{service}");
    let deployment = kubectl.run(&["describe", "deployment", "web"]);
    assert!(deployment.contains("2 desired | 2 updated | 2 total | 2 available"), "{deployment}");
    assert!(kubectl.run(&["describe", "ingress", "web"]).contains("web.test"));
    let node = kubectl.run(&["describe", "node", "node1"]);
    assert!(node.contains("KubeletReady") || node.contains("Ready            True"), "{node}");
    assert!(kubectl.run(&["events", "--for", &format!("pod/{pod}")]).contains("Started"));
}

fn logs_are_read(kubectl: &Kubectl) {
    let all = || kubectl.run(&["logs", "talker", "-c", "main"]);
    until("three lines were said", SOON, || (all().lines().count() >= 3, all()));
    assert!(all().starts_with("line 0\nline 1\nline 2\n"));
    let tail = kubectl.run(&["logs", "talker", "-c", "main", "--tail=2"]);
    assert_eq!(tail.lines().count(), 2, "{tail}");
    assert!(kubectl.run(&["logs", "talker", "-c", "main", "--since=1h"]).starts_with("line 0\n"));
    assert_eq!(kubectl.run(&["logs", "talker", "-c", "other", "--since-time=2100-01-01T00:00:00Z"]), "");
    assert_eq!(kubectl.run(&["logs", "talker", "-c", "main", "--limit-bytes=6"]), "line 0");
    let stamped = kubectl.run(&["logs", "talker", "-c", "other", "--timestamps"]);
    let (stamp, text) = stamped.trim().split_once(' ').unwrap();
    assert!(stamp.len() >= 20 && stamp.contains('T') && text == "beside", "{stamped}");
    // Without a name kubectl asks for the first one, and all of them have their own.
    assert_eq!(kubectl.run(&["logs", "talker", "--tail=1"]).trim(), "beside");
    let both = kubectl.run(&["logs", "talker", "--all-containers", "--prefix"]);
    assert!(both.contains("[pod/talker/other] beside") && both.contains("[pod/talker/main] line 0"), "{both}");
    assert!(kubectl.run(&["logs", "-l", "app=talker", "-c", "main", "--tail=1"]).starts_with("line "));
    let wrong = kubectl.try_run(&["logs", "talker", "-c", "none"], "");
    assert!(wrong.code != 0 && wrong.err.contains("container none is not valid for pod talker"), "{wrong:?}");
}

fn logs_are_followed(kubectl: &Kubectl) {
    let followed = Lines::of(kubectl.command(&["logs", "-f", "talker", "-c", "main", "--tail=1"]));
    let number = |line: &str| line.strip_prefix("line ").and_then(|n| n.parse::<u32>().ok());
    let first = number(&followed.find("a first line", |_| true)).unwrap();
    let next = number(&followed.find("a line that is said later", |_| true)).unwrap();
    assert_eq!(next, first + 1, "nothing is left out or said twice");
    followed.find("many more lines", |line| number(line).is_some_and(|n| n >= first + 4));
}

fn logs_of_the_last_run_are_kept(kubectl: &Kubectl) {
    kubectl.wait_for(&["pod", "crasher"], "{.status.containerStatuses[0].restartCount}", "1", LATER);
    eventually("the second run speaks", LATER, || {
        let log = kubectl.run(&["logs", "crasher"]);
        if log.trim() == "second run" { Ok(()) } else { Err(log) }
    });
    assert_eq!(kubectl.run(&["logs", "crasher", "--previous"]).trim(), "first run");
    let last = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    kubectl.wait_for(&["pod", "crasher"], last, "3", SOON);
    let none = kubectl.try_run(&["logs", "talker", "-c", "other", "--previous"], "");
    assert!(none.code != 0 && none.err.contains("previous terminated container \"other\""), "{none:?}");
}

fn commands_run_inside(kubectl: &Kubectl) {
    let pod = first_pod(kubectl);
    assert_eq!(kubectl.run(&["logs", &pod]).trim(), "started");
    assert_eq!(kubectl.run(&["exec", &pod, "--", "hostname"]).trim(), pod);
    assert_eq!(kubectl.run(&["exec", "deployment/web", "-c", "web", "--", "echo", "hi"]).trim(), "hi");
    assert_eq!(kubectl.run_with(&["exec", "-i", &pod, "--", "cat"], "through stdin"), "through stdin");
    let big = "0123456789abcde\n".repeat(1 << 16);
    let sum = kubectl.run_with(&["exec", "-i", &pod, "--", "md5sum"], &big);
    let echoed = kubectl.run_with(&["exec", "-i", &pod, "--", "cat"], &big);
    assert!(echoed == big && sum.len() > 32, "a MiB goes in and comes out");
    let failed = kubectl.try_run(&["exec", &pod, "--", "sh", "-c", "echo oops >&2; exit 7"], "");
    assert_eq!((failed.code, failed.err.contains("oops")), (7, true), "{failed:?}");
    let none = kubectl.try_run(&["exec", &pod, "--", "no-such-program"], "");
    assert!(none.code != 0 && none.err.contains("no-such-program"), "{none:?}");
    let wrong = kubectl.try_run(&["exec", &pod, "-c", "none", "--", "true"], "");
    assert!(wrong.code != 0 && wrong.err.contains("none"), "{wrong:?}");
}

fn a_terminal_has_a_size(kubectl: &Kubectl) {
    let pod = first_pod(kubectl);
    let mut terminal = Terminal::start(&kubectl.command(&["exec", "-it", &pod, "--", "sh"]), 41, 101);
    assert!(terminal.shows("# ", SOON), "a prompt: {}", terminal.rest());
    terminal.type_line("tty && stty size");
    assert!(terminal.shows("/dev/pts/", SOON), "{}", terminal.rest());
    assert!(terminal.shows("41 101", SOON), "{}", terminal.rest());
    terminal.resize(52, 122);
    eventually("the new size arrives", SOON, || {
        terminal.type_line("stty size");
        if terminal.shows("52 122", Duration::from_millis(500)) { Ok(()) } else { Err(terminal.rest().to_owned()) }
    });
    terminal.type_line("exit 5");
    assert_eq!(terminal.exit_code(SOON), Some(5), "{}", terminal.rest());
}

fn files_are_copied(cluster: &Cluster) {
    let kubectl = &cluster.kubectl;
    let pod = first_pod(kubectl);
    let (there, back) = (cluster.folder().join("there"), cluster.folder().join("back"));
    fs::create_dir_all(there.join("deep")).unwrap();
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(there.join("deep/data"), &bytes).unwrap();
    fs::write(there.join("note"), "a note\n").unwrap();
    kubectl.run(&["cp", &there.display().to_string(), &format!("{pod}:/tmp/copied")]);
    assert_eq!(kubectl.run(&["exec", &pod, "--", "cat", "/tmp/copied/note"]), "a note\n");
    kubectl.run(&["cp", &format!("default/{pod}:/tmp/copied"), &back.display().to_string(), "-c", "web"]);
    assert!(fs::read(back.join("deep/data")).unwrap() == bytes, "what comes back is what went");
}

fn ports_are_forwarded(cluster: &Cluster) {
    let (kubectl, host) = (&cluster.kubectl, cluster.host(0));
    let pod = first_pod(kubectl);
    for (target, port) in [(format!("pod/{pod}"), "8080"), ("service/web".to_owned(), "80")] {
        let forward = Lines::of(kubectl.command(&["port-forward", &target, &format!(":{port}")]));
        let line = forward.find("a local port", |line| line.starts_with("Forwarding from 127.0.0.1:"));
        let local = line.split([':', ' ']).nth(3).unwrap().to_owned();
        for _ in 0..5 {
            let url = format!("http://127.0.0.1:{local}/");
            let output = host.command("curl").args(["-sS", "-m", "20", &url]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.starts_with("web-"), "{target} through {local}: {text} {error}");
        }
    }
}

fn running_containers_are_attached_to(kubectl: &Kubectl) {
    let attached = Lines::of(kubectl.command(&["attach", "talker", "-c", "main"]));
    attached.find("what is said from now on", |line| line.starts_with("line "));
    drop(attached);
    let mut child = kubectl.command(&["attach", "-i", "reader"]);
    let mut child = Running(child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a word\n").unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains("done") {
        let count = output.read(&mut buffer).unwrap();
        assert!(count > 0, "attach ended early: {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    assert!(text.contains("heard a word\ndone\n"), "{text:?}");
}

fn a_terminal_is_attached_to(kubectl: &Kubectl, image: &str) {
    let image = format!("--image={image}");
    let run = ["run", "typed", &image, "-it", "--rm", "--restart=Never", "--", "sh"];
    let mut terminal = Terminal::start(&kubectl.command(&run), 43, 103);
    eventually("the shell hears and has the window's size", SOON, || {
        terminal.type_line("stty size");
        if terminal.shows("43 103", Duration::from_secs(1)) { Ok(()) } else { Err(terminal.rest().to_owned()) }
    });
    terminal.type_line("exit 6");
    assert_eq!(terminal.exit_code(LATER), Some(6), "{}", terminal.rest());
    kubectl.run(&["wait", "--for=delete", "pod/typed", "--timeout=30s"]);
}

fn objects_are_edited(kubectl: &Kubectl) {
    kubectl.run(&["create", "configmap", "edited", "--from-literal=color=blue"]);
    let mut edit = kubectl.command(&["edit", "configmap", "edited"]);
    let output = edit.env("KUBE_EDITOR", "sed -i s/blue/green/").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(kubectl.run(&["get", "configmap", "edited", "-o", "jsonpath={.data.color}"]), "green");
    kubectl.run(&["delete", "configmap", "edited"]);
}

fn pods_end_with_grace(kubectl: &Kubectl) {
    let followed = Lines::of(kubectl.command(&["logs", "-f", "trapper"]));
    followed.find("it runs", |line| line == "waiting");
    kubectl.run(&["delete", "pod", "trapper", "--grace-period=30", "--timeout=60s"]);
    let (code, lines) = followed.finish();
    assert_eq!((code, lines), (Some(0), vec!["ended with grace".to_owned()]), "the log is whole at the end");
    // This one hears no SIGTERM: only the grace period ends it.
    kubectl.run(&["delete", "pod", "reader", "--grace-period=1", "--timeout=60s"]);
    kubectl.run(&["delete", "pod", "crasher", "--force", "--grace-period=0"]);
    kubectl.run(&["delete", "pod", "talker", "--now", "--wait=false"]);
    kubectl.run(&["wait", "--for=delete", "pod/talker", "pod/crasher", "--timeout=60s"]);
}

fn pods_are_run_and_exposed(kubectl: &Kubectl, image: &str) {
    let image = format!("--image={image}");
    let said = kubectl.run_with(&["run", "once", &image, "-i", "--rm", "--restart=Never", "--", "cat"], "said once\n");
    assert!(said.contains("said once") && said.contains("deleted"), "{said}");
    let failed =
        kubectl.try_run(&["run", "bad", &image, "-i", "--rm", "--restart=Never", "--", "sh", "-c", "exit 9"], "");
    assert_eq!(failed.code, 9, "{failed:?}");
    let serve =
        ["--command", "--", "sh", "-c", "mkdir /www; echo exposed > /www/index.html; exec httpd -f -p 81 -h /www"];
    kubectl.run(&[&["run", "lone", &image, "--port=81", "--expose"], &serve[..]].concat());
    kubectl.run(&["wait", "--for=jsonpath={.status.phase}=Running", "pod/lone", "--timeout=60s"]);
    kubectl.run(&["expose", "pod", "lone", "--name=named", "--port=8000", "--target-port=81"]);
    eventually("the exposed pod answers", SOON, || {
        let call = ["exec", "deployment/web", "--", "curl", "-s", "-m", "2", "http://named:8000", "http://lone:81"];
        let outcome = kubectl.try_run(&call, "");
        if outcome.out == "exposed\nexposed\n" { Ok(()) } else { Err(outcome) }
    });
    kubectl.run(&["delete", "pod/lone", "service/lone", "service/named", "--now"]);
}

fn services_and_names_resolve(cluster: &Cluster) {
    let kubectl = &cluster.kubectl;
    for name in ["web", "web.default", "web.default.svc.cluster.local"] {
        eventually("a pod reaches the Service by its name", SOON, || {
            let url = format!("http://{name}/");
            let outcome = kubectl.try_run(&["exec", "deployment/web", "--", "curl", "-s", "-m", "2", &url], "");
            if outcome.out.starts_with("web-") { Ok(()) } else { Err(outcome) }
        });
    }
    let port = kubectl.run(&["get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    for node in 1..=2 {
        let address = &cluster.host(node).address;
        for (what, url) in
            [("Ingress", format!("http://{address}/")), ("node port", format!("http://{address}:{port}/"))]
        {
            eventually(&format!("{what} of node{node} answers"), SOON, || {
                let mut curl = cluster.host(0).command("curl");
                let output = curl.args(["-s", "-m", "2", "-H", "Host: web.test", &url]).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                if text.starts_with("web-") { Ok(()) } else { Err(text) }
            });
        }
    }
}

fn changes_are_watched(kubectl: &Kubectl) {
    let watched = Lines::of(kubectl.command(&[
        "get",
        "deployment",
        "web",
        "-w",
        "-o",
        "jsonpath={.status.readyReplicas}{\"\\n\"}",
    ]));
    watched.find("two are ready", |line| line == "2");
    let pods = Lines::of(kubectl.command(&["get", "pods", "-l", "app=web", "--watch-only", "--output-watch-events"]));
    eventually("the watch sees a change", SOON, || {
        // The watch may begin after a change: another one follows.
        kubectl.run(&["label", "pods", "-l", "app=web", "--overwrite", &format!("seen={}", fastrand::u32(..))]);
        pods.lines.recv_timeout(Duration::from_secs(1)).map_err(|e| e.to_string())
    });
    kubectl.run(&["scale", "deployment/web", "--replicas=3", "--current-replicas=2"]);
    watched.find("three are ready", |line| line == "3");
    pods.find("the third is seen", |line| line.starts_with("ADDED"));
    kubectl.run(&["wait", "--for=jsonpath={.status.availableReplicas}=3", "deployment/web", "--timeout=60s"]);
    kubectl.run(&["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"]);
}

fn newest_pod(kubectl: &Kubectl) -> String {
    let path = "jsonpath={.items[-1:].metadata.name}";
    kubectl.run(&["get", "pods", "-l", "app=web", "--sort-by=.metadata.creationTimestamp", "-o", path])
}

/// A pod of the newest template says this. Old pods end after a roll-out is done: the newest one is asked.
fn newest_says(kubectl: &Kubectl, color: &str) {
    eventually("a pod of the new template answers", SOON, || {
        let answer = kubectl.try_run(&["exec", &newest_pod(kubectl), "--", "sh", "-c", "echo $COLOR"], "");
        if answer.out.trim() == color { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

fn rollouts_go_and_come_back(kubectl: &Kubectl) {
    let rollout = |verb: &[&str]| kubectl.run(&[&["rollout"], verb].concat());
    let done = || rollout(&["status", "deployment/web", "--timeout=90s"]);
    kubectl.run(&["set", "env", "deployment/web", "COLOR=red"]);
    assert!(done().contains("successfully rolled out"));
    newest_says(kubectl, "red");
    rollout(&["restart", "deployment/web"]);
    done();
    assert!(rollout(&["history", "deployment/web"]).lines().count() >= 5);
    rollout(&["undo", "deployment/web", "--to-revision=1"]);
    done();
    newest_says(kubectl, "");
    assert!(rollout(&["history", "deployment/web", "--revision=2"]).contains("COLOR"));
    rollout(&["pause", "deployment/web"]);
    kubectl.run(&["set", "env", "deployment/web", "COLOR=green"]);
    rollout(&["resume", "deployment/web"]);
    done();
    newest_says(kubectl, "green");
    kubectl.run(&["scale", "deployment/web", "--replicas=2"]);
    kubectl.wait_for(&["deployment", "web"], "{.status.replicas}", "2", LATER);
}

fn nodes_are_drained(kubectl: &Kubectl) {
    let names = "jsonpath={.items[*].spec.nodeName}";
    kubectl.run(&["drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s"]);
    assert!(kubectl.run(&["get", "node", "node1"]).contains("SchedulingDisabled"));
    kubectl.wait_for(&["deployment", "web"], "{.status.availableReplicas}", "2", LATER);
    until("all pods are on the other node", LATER, || {
        let nodes =
            kubectl.run(&["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", names]);
        (nodes == "node2 node2", nodes)
    });
    kubectl.run(&["uncordon", "node1"]);
    kubectl.run(&["taint", "node", "node2", "maintenance=yes:NoExecute"]);
    until("all pods left the tainted node", LATER, || {
        let nodes = kubectl.run(&["get", "pods", "-l", "app=web", "-o", names]);
        (nodes == "node1 node1", nodes)
    });
    kubectl.run(&["taint", "node", "node2", "maintenance-"]);
}
