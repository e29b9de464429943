// SPDX-License-Identifier: Apache-2.0
//! Services and names as pods see them, on two nodes: TCP and UDP, affinity, node ports, and what DNS knows.

use std::collections::BTreeSet;
use std::fs;

use knarr_tests::cluster::{Cluster, SOON};
use knarr_tests::images::Rootfs;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;
use serde_json::json;

/// A server that answers with its name over TCP and UDP, with a name of its own in DNS.
const ECHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: LABELS}
spec:
  hostname: HOSTNAME
  subdomain: group
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "mkdir /www; hostname > /www/index.html; httpd -p 8080 -h /www; exec perl /udp-server.pl"]
    ports: [{name: http, containerPort: 8080}, {name: echo, containerPort: 9000, protocol: UDP}]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---"#;

/// Services of each kind in front of such servers, one a node, and pods that ask, with their own ideas of DNS.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: both}
spec:
  type: NodePort
  clusterIP: 10.43.7.1
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: http}, {name: echo, port: 99, protocol: UDP, targetPort: echo, nodePort: 30099}]
---
apiVersion: v1
kind: Service
metadata: {name: faithful}
spec: {selector: {app: echo}, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 30900
  externalIPs: [192.0.2.80]
  selector: {place: first}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: inner}
spec: {internalTrafficPolicy: Local, selector: {app: echo}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: group}
spec: {clusterIP: None, selector: {app: echo}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: away}
spec: {type: ExternalName, externalName: both.default.svc.cluster.local}
---
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: IMAGE, command: [sleep, "3600"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: wilful}
spec:
  nodeName: node1
  terminationGracePeriodSeconds: 1
  dnsPolicy: None
  dnsConfig: {nameservers: [192.0.2.53], searches: [my.test], options: [{name: ndots, value: "2"}, {name: debug}]}
  containers: [{name: main, image: IMAGE, command: [sleep, "3600"]}]
"#;

#[test]
fn services_and_names_are_there_for_pods() {
    let cluster = Cluster::start(2);
    let image = push_image(&cluster);
    let kubectl = &cluster.kubectl;
    let echo = |name: &str, labels: &str, hostname: &str, node: &str| {
        let named = ECHO.replace("HOSTNAME", hostname).replace("NODE", node);
        named.replace("NAME", name).replace("LABELS", labels)
    };
    let one = echo("one", "{app: echo, place: first}", "first", "node1");
    let two = echo("two", "{app: echo}", "second", "node2");
    kubectl.apply(&[&one, &two, OBJECTS].concat().replace("IMAGE", &image));
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    names_lead_to_services_and_pods(kubectl);
    all_endpoints_answer_and_affinity_keeps_one(kubectl);
    datagrams_arrive(&cluster);
    traffic_stays_on_the_node_where_it_is_to(&cluster);
    pods_have_the_resolvers_that_they_ask_for(kubectl);
}

/// Answers datagrams at port 9000 with the host's name. Without modules, which are files of their own.
const UDP_SERVER: &str = r#"
chomp($name = `hostname`);
socket(S, 2, 2, 17) && bind(S, pack("S n N x8", 2, 9000, 0)) or die $!;
while (defined($from = recv(S, $data, 99, 0))) { send(S, "$name\n", 0, $from) }
"#;

/// Sends a datagram to an address and port, and prints what comes back.
const UDP_CLIENT: &str = r#"
my ($address, $port) = @ARGV;
socket(S, 2, 2, 17) && connect(S, pack("S n C4 x8", 2, $port, split(/\./, $address))) or die $!;
alarm 2;
send(S, "x", 0);
recv(S, $data, 99, 0);
print $data;
"#;

fn push_image(cluster: &Cluster) -> String {
    let rootfs = Rootfs::busybox().with_program("/usr/bin/curl").with_program("/usr/bin/perl");
    rootfs.write("udp-server.pl", UDP_SERVER);
    rootfs.write("udp-client.pl", UDP_CLIENT);
    cluster.push(&rootfs, "services:test", &json!({"Cmd": ["sh"]}))
}

fn shell(kubectl: &Kubectl, script: &str) -> String {
    kubectl.try_run(&["exec", "asker", "--", "sh", "-c", script], "").out
}

/// Asks until the answer has all of these words, and none of those.
fn knows(kubectl: &Kubectl, question: &str, words: &[&str], not: &[&str]) {
    eventually(&format!("nslookup {question} says {words:?}"), SOON, || {
        let said = shell(kubectl, &format!("nslookup {question} 2>&1"));
        let good = words.iter().all(|word| said.contains(word)) && !not.iter().any(|word| said.contains(word));
        if good { Ok(()) } else { Err(said) }
    });
}

fn names_lead_to_services_and_pods(kubectl: &Kubectl) {
    let address = |pod: &str| kubectl.run(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]);
    let (one, two) = (address("one"), address("two"));
    knows(kubectl, "both.default.svc.cluster.local", &["10.43.7.1"], &[]);
    knows(kubectl, "group.default.svc.cluster.local", &[&one, &two], &[]);
    knows(kubectl, "first.group.default.svc.cluster.local", &[&one], &[&two]);
    knows(
        kubectl,
        "away.default.svc.cluster.local",
        &["canonical name = both.default.svc.cluster.local", "10.43.7.1"],
        &[],
    );
    knows(
        kubectl,
        "-type=srv _http._tcp.group.default.svc.cluster.local",
        &["8080 first.group.default.svc.cluster.local", "8080 second.group.default.svc.cluster.local"],
        &[],
    );
    knows(kubectl, "-type=srv _echo._udp.both.default.svc.cluster.local", &["99 both.default.svc.cluster.local"], &[]);
    knows(kubectl, &one, &["first.group.default.svc.cluster.local"], &[]);
    knows(kubectl, "10.43.7.1", &["both.default.svc.cluster.local"], &[]);
    knows(kubectl, "nobody.default.svc.cluster.local", &["NXDOMAIN"], &[]);
    assert_eq!(shell(kubectl, "hostname"), "asker\n");
    let own = kubectl.run(&["exec", "one", "--", "hostname", "-f"]);
    assert_eq!(own, "first.group.default.svc.cluster.local\n", "a pod knows its own full name");
}

fn all_endpoints_answer_and_affinity_keeps_one(kubectl: &Kubectl) {
    let answers = |service: &str| -> BTreeSet<String> {
        let script = format!("for i in $(seq 30); do curl -s -m 5 http://{service}/; done");
        shell(kubectl, &script).lines().map(str::to_owned).collect()
    };
    eventually("both answer", SOON, || {
        let found = answers("both");
        if found.iter().eq(["first", "second"]) { Ok(()) } else { Err(found) }
    });
    eventually("one answers", SOON, || {
        let found = answers("faithful");
        if found.len() == 1 { Ok(()) } else { Err(found) }
    });
}

/// By the Service's address from a pod, and by the node port of each node from outside.
fn datagrams_arrive(cluster: &Cluster) {
    eventually("a pod's datagram is answered", SOON, || {
        let said = shell(&cluster.kubectl, "perl /udp-client.pl 10.43.7.1 99");
        if ["first\n", "second\n"].contains(&said.as_str()) { Ok(()) } else { Err(said) }
    });
    let script = cluster.folder().join("udp-client.pl");
    fs::write(&script, UDP_CLIENT).unwrap();
    for node in 1..=2 {
        eventually(&format!("a datagram to the node port of node{node} is answered"), SOON, || {
            let address = &cluster.host(node).address;
            let output = cluster.host(0).command("perl").arg(&script).args([address, "30099"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if ["first\n", "second\n"].contains(&said.as_str()) { Ok(()) } else { Err(said) }
        });
    }
}

/// What a host outside is answered, with the status; `000` is no answer.
fn from_outside(cluster: &Cluster, url: &str) -> String {
    let curl = ["-s", "-m", "1", "-w", " %{http_code}", url];
    let output = cluster.host(0).command("curl").args(curl).output().unwrap();
    String::from_utf8_lossy(&output.stdout).replace('\n', "")
}

/// A Service for outside that keeps to a node's own pods, of which there is one, on the first node; one that does the same
/// inside; and the addresses by which others send to the first.
fn traffic_stays_on_the_node_where_it_is_to(cluster: &Cluster) {
    let ingress = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.81"}]}}}"#;
    cluster.kubectl.run(&["patch", "service", "near", "--subresource=status", "--type=merge", "-p", ingress]);
    let node = |number: usize| cluster.host(number).address.clone();
    for (url, words) in [
        (format!("http://{}:30080/", node(1)), ["first", " 200"]),
        (format!("http://{}:30080/", node(2)), ["", " 000"]),
        (format!("http://{}:30900/healthz", node(1)), [r#""localEndpoints":1,"#, " 200"]),
        (format!("http://{}:30900/", node(2)), [r#""localEndpoints":0,"#, " 503"]),
    ] {
        eventually(&format!("{url} says {words:?}"), SOON, || {
            let found = from_outside(cluster, &url);
            if words.iter().all(|word| found.contains(word)) { Ok(()) } else { Err(found) }
        });
    }
    for (host, said) in
        [("192.0.2.80", "first\n"), ("192.0.2.81", "first\n"), ("inner", "first\nfirst\nfirst\nfirst\n")]
    {
        let times = said.lines().count();
        eventually(&format!("{host} leads to the pod"), SOON, || {
            let found =
                shell(&cluster.kubectl, &format!("for i in $(seq {times}); do curl -s -m 2 http://{host}/; done"));
            if found == said { Ok(()) } else { Err(found) }
        });
    }
}

fn pods_have_the_resolvers_that_they_ask_for(kubectl: &Kubectl) {
    let usual = shell(kubectl, "cat /etc/resolv.conf");
    for want in
        ["nameserver 10.43.0.10", "search default.svc.cluster.local svc.cluster.local cluster.local", "options ndots:5"]
    {
        assert!(usual.contains(want), "{want:?} in {usual}");
    }
    let wilful = kubectl.run(&["exec", "wilful", "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(wilful, "search my.test\nnameserver 192.0.2.53\noptions ndots:2 debug\n");
}
