// SPDX-License-Identifier: Apache-2.0
//! A real server program: nginx from Debian's package, configured, scaled, and renewed under load.

use std::collections::BTreeSet;

use knarr_tests::cluster::{Cluster, LATER, SOON};
use knarr_tests::images::Rootfs;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::load::{Client, Request};
use knarr_tests::wait::{eventually, until};

/// Answers that the client must get in a quiet moment.
const ENOUGH: u64 = 50;

#[test]
fn a_server_program_is_renewed_under_load() {
    let cluster = Cluster::start(2);
    let image = push_nginx(&cluster);
    let kubectl = cluster.kubectl.clone();
    kubectl.apply(&configuration("one"));
    kubectl.apply(&nginx(&image));
    kubectl.run(&["rollout", "status", "deployment/nginx", "--timeout=90s"]);
    let address = kubectl.run(&["get", "service", "nginx", "-o", "jsonpath={.spec.clusterIP}"]);
    let answer = || {
        let output = cluster.host(1).command("curl").args(["-s", "-m", "5", &format!("http://{address}/")]).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    };
    eventually("the Service answers", SOON, || {
        let text = answer();
        if text.starts_with("one from nginx-") { Ok(()) } else { Err(text) }
    });

    let http = |address: String| Request::Http { address: address.parse().unwrap(), host: "nginx.test".to_owned() };
    let clients = [
        Client::start(cluster.host(1), "the Service from node1", http(format!("{address}:80"))),
        Client::start(cluster.host(0), "the Ingress at node2", http(format!("{}:80", cluster.host(2).address))),
    ];
    let unharmed = |when: &str| {
        for client in &clients {
            client.more(ENOUGH, LATER);
            client.assert_unharmed(when);
        }
    };
    unharmed("before anything changes");
    every_replica_answers(&kubectl, &answer);
    unharmed("while the Deployment was scaled");
    a_new_configuration_reaches_running_pods(&kubectl);
    kubectl.run(&["rollout", "restart", "deployment/nginx"]);
    kubectl.run(&["rollout", "status", "deployment/nginx", "--timeout=120s"]);
    until("only new pods answer", LATER, || {
        let text = answer();
        (text.starts_with("two from nginx-"), text)
    });
    unharmed("while all pods were renewed");
    a_broken_version_stops_nothing(&kubectl);
    unharmed("while a version that does not start was tried");
    drop(clients);
    kubectl.run(&["delete", "deployment,service,ingress,configmap", "nginx"]);
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=nginx", "--timeout=90s"]);
}

/// nginx with its libraries, and busybox for a shell; it ends at once without `daemon off`.
fn push_nginx(cluster: &Cluster) -> String {
    let rootfs = Rootfs::busybox().with_program("/usr/sbin/nginx");
    let config = serde_json::json!({
        "Entrypoint": ["/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf"], "User": "1000", "StopSignal": "SIGQUIT",
    });
    cluster.push(&rootfs, "nginx:test", &config)
}

fn configuration(word: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: nginx}}
data:
  nginx.conf: |
    daemon off;
    worker_processes 1;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {{}}
    http {{
      access_log off;
      client_body_temp_path /tmp/body;
      proxy_temp_path /tmp/proxy;
      fastcgi_temp_path /tmp/fastcgi;
      uwsgi_temp_path /tmp/uwsgi;
      scgi_temp_path /tmp/scgi;
      server {{
        listen 8080;
        location / {{ return 200 "{word} from $hostname\n"; }}
      }}
    }}
"#
    )
}

/// Before it ends, a pod waits until every node has heard of it.
fn nginx(image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: nginx}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: nginx}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: nginx}}}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
      - name: nginx
        image: {image}
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
        livenessProbe: {{tcpSocket: {{port: http}}, periodSeconds: 5}}
        lifecycle: {{preStop: {{sleep: {{seconds: 3}}}}}}
        volumeMounts: [{{name: config, mountPath: /etc/nginx}}]
        resources: {{requests: {{cpu: 10m}}, limits: {{memory: 64Mi}}}}
      volumes: [{{name: config, configMap: {{name: nginx}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: nginx}}
spec:
  selector: {{app: nginx}}
  ports: [{{port: 80, targetPort: http}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: nginx}}
spec:
  rules:
  - host: nginx.test
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: nginx, port: {{number: 80}}}}}}}}]}}
"#
    )
}

/// Four replicas on two nodes: the Service sends requests to each of them, and to none that went away.
fn every_replica_answers(kubectl: &Kubectl, answer: &dyn Fn() -> String) {
    kubectl.run(&["scale", "deployment/nginx", "--replicas=4"]);
    kubectl.wait_for(&["deployment", "nginx"], "{.status.availableReplicas}", "4", LATER);
    let mut seen = BTreeSet::new();
    until("all four answer", LATER, || {
        seen.insert(answer());
        (seen.len() == 4, format!("{seen:?}"))
    });
    let nodes = kubectl.run(&["get", "pods", "-l", "app=nginx", "-o", "jsonpath={.items[*].spec.nodeName}"]);
    assert!(nodes.contains("node1") && nodes.contains("node2"), "replicas are spread: {nodes}");
    kubectl.run(&["scale", "deployment/nginx", "--replicas=2"]);
    kubectl.wait_for(&["deployment", "nginx"], "{.status.replicas}", "2", LATER);
}

fn a_new_configuration_reaches_running_pods(kubectl: &Kubectl) {
    kubectl.apply(&configuration("two"));
    until("the mounted file changes", LATER, || {
        let text = kubectl.run(&["exec", "deployment/nginx", "--", "cat", "/etc/nginx/nginx.conf"]);
        (text.contains("two from"), text)
    });
}

/// An image that is not there: the roll-out waits, the old pods go on, and undo goes back.
fn a_broken_version_stops_nothing(kubectl: &Kubectl) {
    let image =
        kubectl.run(&["get", "deployment", "nginx", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    kubectl.run(&["set", "image", "deployment/nginx", &format!("nginx={}", image.replace(":test", ":absent"))]);
    let reason = "jsonpath={.items[*].status.containerStatuses[0].state.waiting.reason}";
    until("the image is missed", LATER, || {
        let reasons = kubectl.run(&["get", "pods", "-l", "app=nginx", "-o", reason]);
        (reasons.contains("ErrImagePull") || reasons.contains("ImagePullBackOff"), reasons)
    });
    assert!(kubectl.run(&["events"]).contains("nginx:absent"), "an Event names the image");
    kubectl.run(&["rollout", "undo", "deployment/nginx"]);
    kubectl.run(&["rollout", "status", "deployment/nginx", "--timeout=90s"]);
}
