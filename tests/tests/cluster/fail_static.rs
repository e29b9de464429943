// SPDX-License-Identifier: Apache-2.0
//! What goes on when Knarr's own processes die: everything.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::knarr::Process;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::load::{Client, Request};
use knarr_tests::wait::{eventually, until};

use crate::manifests::{shell_pod, web};

/// Answers that each client must get while something is dead.
const ENOUGH: u64 = 60;

/// How long the traffic through an edge that was killed may pause.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// How often edge is killed until it is back in time.
const KILLS_MAX: usize = 3;

#[test]
fn traffic_goes_on_whatever_dies() {
    let mut cluster = Cluster::start(2);
    let image = cluster.push_busybox();
    let kubectl = cluster.kubectl.clone();
    kubectl.apply(&web(&image));
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    kubectl.apply(&asking_pod(&image, &cluster.host(2).address));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/asker", "--timeout=90s"]);
    until("the pod's questions are answered", LATER, || {
        let log = kubectl.run(&["logs", "asker", "--tail=4"]);
        (log.lines().count() == 4 && !log.contains("failed"), log)
    });
    let since = answers_in_pod(&kubectl);

    let clients = clients(&cluster, &kubectl);
    let (before, states) = (processes(cluster.folder()), containers(&kubectl));
    assert!(before.len() >= 3, "three pods have processes: {before:?}");

    cluster.server.kill();
    unharmed(&clients, "while the server is dead");
    cluster.server.restart();
    cluster.wait_until_ready();
    cluster.agents.iter_mut().for_each(Process::kill);
    unharmed(&clients, "while the agents are dead");
    cluster.agents.iter_mut().for_each(Process::restart);
    pods_are_adopted(&kubectl);
    unharmed(&clients, "after the agents came back");
    cluster.server.kill();
    cluster.agents.iter_mut().for_each(Process::kill);
    unharmed(&clients, "while server and agents are dead");
    cluster.server.restart();
    cluster.agents.iter_mut().for_each(Process::restart);
    cluster.wait_until_ready();
    pods_are_adopted(&kubectl);
    unharmed(&clients, "after all came back");

    assert_eq!(processes(cluster.folder()), before, "no process of a container was replaced");
    assert_eq!(containers(&kubectl), states, "no container was restarted");
    let log = kubectl.run(&["logs", "asker"]);
    let asked: Vec<_> = log.lines().skip(since).collect();
    let failed: Vec<_> = asked.iter().filter(|line| line.contains("failed")).collect();
    assert!(asked.len() > 20 && failed.is_empty(), "of {} questions of the pod failed: {failed:?}", asked.len());

    edge_comes_back(&cluster, &clients);
    drop(clients);
    pods_start_without_a_server(&mut cluster, &kubectl);
}

/// A pod that asks the Service by name, and the Ingress at `node`, over and over, and says how it went.
fn asking_pod(image: &str, node: &str) -> String {
    let ask = |what: &str, arguments: &str| {
        format!("curl -sf -m 10 -o /dev/null {arguments} && echo {what} answered || echo {what} failed with $?")
    };
    let (service, ingress) =
        (ask("service", "http://web/"), ask("ingress", &format!("-H \"Host: web.test\" http://{node}/")));
    let script = format!("while true; do {service}; {ingress}; sleep 0.05; done");
    shell_pod("asker", image, &script, "")
}

fn answers_in_pod(kubectl: &Kubectl) -> usize {
    kubectl.run(&["logs", "asker"]).lines().count()
}

/// Clients of each kind of traffic, from outside the cluster and from its nodes.
fn clients(cluster: &Cluster, kubectl: &Kubectl) -> Vec<Client> {
    let of_service = |path: &str| kubectl.run(&["get", "service", "web", "-o", &format!("jsonpath={path}")]);
    let http = |address: &str, port: &str| Request::Http {
        address: format!("{address}:{port}").parse::<SocketAddr>().unwrap(),
        host: "web.test".to_owned(),
    };
    let dns = SocketAddr::from(([10, 43, 0, 10], 53));
    let question = Request::Dns { address: dns, name: "web.default.svc.cluster.local".to_owned() };
    let (address, port) = (of_service("{.spec.clusterIP}"), of_service("{.spec.ports[0].nodePort}"));
    let clients = vec![
        Client::start(cluster.host(1), "the Service from node1", http(&address, "80")),
        Client::start(cluster.host(0), "the node port of node1", http(&cluster.host(1).address, &port)),
        Client::start(cluster.host(0), "the Ingress at node2", http(&cluster.host(2).address, "80")),
        Client::start(cluster.host(2), "DNS on node2", question),
    ];
    unharmed(&clients, "while nothing is dead");
    clients
}

fn unharmed(clients: &[Client], when: &str) {
    for client in clients {
        client.more(ENOUGH, LATER);
        client.assert_unharmed(when);
    }
}

/// An agent that adopted its pods can be asked about them.
fn pods_are_adopted(kubectl: &Kubectl) {
    for pod in kubectl.run(&["get", "pods", "-o", "name"]).lines() {
        eventually(&format!("exec in {pod} works again"), LATER, || {
            let outcome = kubectl.try_run(&["exec", pod, "--", "true"], "");
            if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
        });
    }
}

/// Container ids and restart counts of all pods.
fn containers(kubectl: &Kubectl) -> BTreeSet<String> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    kubectl.run(&["get", "pods", "-o", path]).lines().map(str::to_owned).collect()
}

/// Process ids below `/proc` with the command lines, words split by blanks.
fn command_lines() -> Vec<(u32, String)> {
    let pid = |entry: fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().ok();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(pid);
    // One that ended meanwhile has no line any more.
    let line = |pid: u32| Some((pid, fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ")));
    pids.filter_map(line).collect()
}

/// Knarr's processes of one kind (`shim`, `edge`) with something below `folder`.
fn of_kind(kind: &str, folder: &Path) -> Vec<u32> {
    let folder = folder.display().to_string();
    let ours = |line: &str| line.split(' ').nth(1) == Some(kind) && line.contains(&folder);
    command_lines().into_iter().filter(|(_, line)| ours(line)).map(|(pid, _)| pid).collect()
}

/// The first processes of all containers: the children of the shims.
fn processes(folder: &Path) -> BTreeSet<u32> {
    let children = |shim: u32| fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
    let shims = of_kind("shim", folder).into_iter();
    shims.flat_map(|shim| children(shim).split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn kill(pids: &[u32]) {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    assert!(Command::new("kill").arg("-9").args(pids).status().unwrap().success());
}

/// Killing edge costs at most what it was answering, one request a client, and it is back within a second.
fn edge_comes_back(cluster: &Cluster, clients: &[Client]) {
    let (ingress, dns) = (&clients[2], &clients[3]);
    let mut pauses = Vec::new();
    // Whoever shares the machine may hold it up; not each time.
    while pauses.len() < KILLS_MAX && pauses.last().is_none_or(|pause| *pause >= BACK_WITHIN) {
        let before = of_kind("edge", &cluster.folder().join("node2"));
        assert_eq!(before.len(), 1, "one edge a node: {before:?}");
        let _so_far = ingress.longest_gap();
        kill(&before);
        // Connections wait in the socket; a lost datagram is waited for until its client gives up.
        ingress.more(ENOUGH, LATER);
        pauses.push(ingress.longest_gap());
        dns.more(ENOUGH, LATER);
        let after = of_kind("edge", &cluster.folder().join("node2"));
        assert!(after.len() == 1 && after != before, "{before:?} became {after:?}");
    }
    eprintln!("Ingress paused for {pauses:?}; lost: {:?}, {:?}", ingress.failures(), dns.failures());
    assert!(pauses.iter().any(|pause| *pause < BACK_WITHIN), "the Ingress paused for {pauses:?}");
    for client in [ingress, dns] {
        let failures = client.failures();
        assert!(failures.len() <= pauses.len(), "more failed than was in flight: {failures:?}");
    }
    clients[0].assert_unharmed("when edge died");
    clients[1].assert_unharmed("when edge died");
}

/// As after a boot: nothing of the node lives, the server is away, and the agent finds its own record.
fn pods_start_without_a_server(cluster: &mut Cluster, kubectl: &Kubectl) {
    let address = kubectl.run(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let uids = "jsonpath={.items[*].metadata.uid}";
    let before = kubectl.run(&["get", "pods", "-o", uids]);
    cluster.server.kill();
    let folder = cluster.folder().to_owned();
    for node in 1..=2 {
        cluster.agents[node - 1].kill();
        let data = folder.join(format!("node{node}"));
        let pods: Vec<_> = processes(&data).into_iter().collect();
        kill(&[of_kind("edge", &data), of_kind("shim", &data), pods].concat());
        forget_as_a_boot_does(cluster, node, &data);
    }
    cluster.agents.iter_mut().for_each(Process::restart);
    eventually("the Service answers on a node that booted without a server", LATER, || {
        let url = format!("http://{address}/");
        let output = cluster.host(1).command("curl").args(["-sf", "-m", "2", &url]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(output.status) }
    });
    cluster.server.restart();
    cluster.wait_until_ready();
    pods_are_adopted(kubectl);
    kubectl.wait_for(&["deployment", "web"], "{.status.availableReplicas}", "2", LATER);
    assert_eq!(kubectl.run(&["get", "pods", "-o", uids]), before, "they are the same pods");
}

/// Removes what the kernel alone remembers of a node: links, tables, mounts.
fn forget_as_a_boot_does(cluster: &Cluster, node: usize, data: &Path) {
    let host = cluster.host(node);
    let run = |program: &str, arguments: &[&str]| host.command(program).args(arguments).output().unwrap();
    let links = String::from_utf8_lossy(&run("ip", &["-o", "link"]).stdout).into_owned();
    for link in links.lines().filter_map(|l| l.split(": ").nth(1)?.split('@').next()) {
        if !["lo", "eth0"].contains(&link) {
            run("ip", &["link", "delete", link]);
        }
    }
    run("nft", &["flush", "ruleset"]);
    until("nothing is mounted below the data dir", SOON, || {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let left: Vec<_> = points.filter(|point| Path::new(point).starts_with(data)).collect();
        for point in left.iter().rev() {
            let _ = Command::new("umount").args(["--lazy", point]).output();
        }
        (left.is_empty(), left.join(" "))
    });
}
