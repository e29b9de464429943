// SPDX-License-Identifier: Apache-2.0
//! The whole way through the product: a server, two nodes, kubectl, a registry, real images.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_tests::hosts::{Host, Network};
use knarr_tests::images::{Registry, Rootfs};
use knarr_tests::knarr::{PORT, Process};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::{eventually, until};
use knarr_tests::webhook::Webhook;

const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(90);

/// A server on one host and an agent on each of the others. Fields are dropped in this order.
struct Cluster {
    agents: Vec<Process>,
    server: Process,
    registry: Registry,
    kubectl: Kubectl,
    hosts: Vec<Host>,
    folder: tempfile::TempDir,
    _network: Network,
}

impl Cluster {
    fn start(nodes: usize) -> Self {
        let mut network = Network::new();
        let folder = tempfile::tempdir().unwrap();
        let control = network.add_host("server");
        let server = start_server(&control, folder.path(), &[]);
        let kubectl = Kubectl::new(&control, &folder.path().join("server/admin.kubeconfig"));
        let registry = Registry::start(&control, folder.path());
        let registries = folder.path().join("registries.yaml");
        let mirror = format!("mirrors:\n  \"{0}\":\n    endpoint:\n    - \"http://{0}\"\n", registry.address);
        fs::write(&registries, mirror).unwrap();
        let token = fs::read_to_string(folder.path().join("server/agent-token")).unwrap();
        let url = format!("https://{}:{PORT}", control.address);
        let (mut agents, mut hosts) = (Vec::new(), vec![control]);
        for i in 1..=nodes {
            let name = format!("node{i}");
            let host = network.add_host(&name);
            let data = folder.path().join(&name);
            let log = folder.path().join(format!("{name}.log"));
            let arguments = [
                "agent",
                "--server",
                &url,
                "--token",
                token.trim(),
                "--node-name",
                &name,
                "--data-dir",
                &data.display().to_string(),
                "--private-registry",
                &registries.display().to_string(),
                "--node-ip",
                &host.address,
            ];
            agents.push(Process::start(&host, &log, &arguments));
            hosts.push(host);
        }
        let cluster = Self { agents, server, registry, kubectl, hosts, folder, _network: network };
        for i in 1..=nodes {
            let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
            cluster.kubectl.wait_for(&["node", &format!("node{i}")], ready, "True", LATER);
        }
        cluster
    }

    /// Puts an image with busybox and curl (busybox' own wget cannot resolve names when it is static) into the
    /// registry.
    fn push_busybox(&self) -> String {
        let archive = self.registry.folder().join("busybox.tar");
        Rootfs::busybox().with_program("/usr/bin/curl").pack(
            &archive,
            "busybox:test",
            &serde_json::json!({"Cmd": ["sh"]}),
        );
        self.registry.push(&archive, "busybox:test")
    }

    fn node(&self, number: usize) -> &Host {
        &self.hosts[number]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What an agent made outlives it: take it down as a user would.
        for i in 1..self.hosts.len() {
            if let Some(agent) = self.agents.get_mut(i - 1) {
                agent.terminate(SOON);
            }
            let data = self.folder.path().join(format!("node{i}")).display().to_string();
            let (code, text) = knarr_tests::knarr::run(&self.hosts[i], &["down", "--data-dir", &data]);
            if code != Some(0) && !std::thread::panicking() {
                panic!("knarr down on node{i}: {text}");
            }
        }
    }
}

fn start_server(host: &Host, folder: &Path, more: &[&str]) -> Process {
    let data = folder.join("server").display().to_string();
    let port = PORT.to_string();
    let mut arguments = vec!["server", "--data-dir", &data, "--bind-address", &host.address, "--port", &port];
    arguments.extend(more);
    let server = Process::start(host, &folder.join("server.log"), &arguments);
    let kubeconfig: PathBuf = folder.join("server/admin.kubeconfig");
    let kubectl = Kubectl::new(host, &kubeconfig);
    eventually("the server is ready", SOON, || {
        let outcome = kubectl.try_run(&["get", "--raw", "/readyz"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });
    server
}

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";

#[test]
fn kubectl_works_against_a_bare_server_that_restarts() {
    let mut network = Network::new();
    let folder = tempfile::tempdir().unwrap();
    let host = network.add_host("server");
    let mut server = start_server(&host, folder.path(), &["--disable-scheduler", "--disable-controllers"]);
    let kubectl = Kubectl::new(&host, &folder.path().join("server/admin.kubeconfig"));

    assert!(kubectl.apply(CONFIG_MAP).contains("configmap/settings created"));
    assert!(kubectl.apply(CONFIG_MAP).contains("unchanged"));
    assert!(kubectl.apply(&CONFIG_MAP.replace("blue", "red")).contains("configured"));
    assert_eq!(kubectl.json(&["configmap", "settings"])["data"]["color"], "red");
    assert!(kubectl.run(&["get", "configmap", "settings"]).contains("settings   1"));
    assert!(kubectl.run(&["explain", "pod.spec.containers.image"]).contains("FIELD: image"));
    assert!(kubectl.run(&["api-resources"]).contains("deployments"));
    kubectl.run(&["label", "configmap", "settings", "team=blue"]);
    kubectl.run(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"size":"5"}}"#]);
    assert_eq!(kubectl.run(&["get", "cm", "-l", "team=blue", "-o", "name"]).trim(), "configmap/settings");

    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: typo}\ndta: {a: b}\n";
    let refused = kubectl.try_run(&["apply", "-f", "-"], typo);
    assert!(refused.code != 0 && refused.err.contains("dta"), "{refused:?}");
    let missing = kubectl.try_run(&["get", "pod", "none"], "");
    assert!(missing.err.contains("pods \"none\" not found"), "{missing:?}");

    // What was acknowledged is there after a power cut.
    let before = kubectl.json(&["configmap", "settings"]);
    server.kill();
    server.restart();
    eventually("the server is ready again", SOON, || {
        let outcome = kubectl.try_run(&["get", "--raw", "/readyz"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });
    assert_eq!(kubectl.json(&["configmap", "settings"]), before);

    // A second server on the same data is refused, and says why.
    let data = folder.path().join("server").display().to_string();
    let (code, text) = knarr_tests::knarr::run(&host, &["server", "--data-dir", &data, "--port", "7443"]);
    assert!(code != Some(0) && text.contains("in use"), "{text}");

    kubectl.run(&["delete", "configmap", "settings"]);
    assert!(kubectl.try_run(&["get", "configmap", "settings"], "").code != 0);
    assert!(server.terminate(Duration::from_secs(5)).success());
}

#[test]
fn webhooks_change_refuse_and_hang_alone() {
    let mut network = Network::new();
    let folder = tempfile::tempdir().unwrap();
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

#[test]
fn wrong_configuration_is_refused_by_name() {
    let mut network = Network::new();
    let folder = tempfile::tempdir().unwrap();
    let host = network.add_host("server");
    let file = folder.path().join("config.yaml");
    let data = folder.path().join("server").display().to_string();
    for (text, want) in [("prot: 1\n", "unknown key \"prot\""), ("port: [\n", "not valid YAML"), ("port: x\n", "port")]
    {
        fs::write(&file, text).unwrap();
        let arguments = ["server", "--data-dir", &data, "--config", &file.display().to_string()];
        let (code, said) = knarr_tests::knarr::run(&host, &arguments);
        assert!(code != Some(0) && said.contains(want), "{text}: {said}");
        assert!(!Path::new(&data).exists(), "nothing is done before a configuration is understood");
    }
}

fn web(image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {image}
        command: [sh, -c, "mkdir -p /www && hostname > /www/index.html && echo started && exec httpd -f -p 8080 -h /www"]
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{port: http}}, periodSeconds: 1}}
        resources: {{requests: {{cpu: 10m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: web.test
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{name: http}}}}}}}}]}}
"#
    )
}

#[test]
fn a_deployment_runs_serves_and_survives() {
    let mut cluster = Cluster::start(2);
    let image = cluster.push_busybox();
    let kubectl = cluster.kubectl.clone();
    kubectl.apply(&web(&image));
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    kubectl.wait_for(&["deployment", "web"], "{.status.availableReplicas}", "2", LATER);

    pods_answer_kubectl(&kubectl);
    services_and_names_resolve(&cluster, &kubectl, &image);
    rollouts_go_and_come_back(&kubectl);
    nothing_restarts_when_processes_die(&mut cluster, &kubectl);

    kubectl.run(&["delete", "deployment,service,ingress", "web", "--wait"]);
    until("the pods are gone", LATER, || {
        let left = kubectl.run(&["get", "pods", "-l", "app=web", "-o", "name"]);
        (left.is_empty(), left)
    });
}

fn first_pod(kubectl: &Kubectl) -> String {
    kubectl.run(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])
}

fn newest_pod(kubectl: &Kubectl) -> String {
    let path = "jsonpath={.items[-1:].metadata.name}";
    kubectl.run(&["get", "pods", "-l", "app=web", "--sort-by=.metadata.creationTimestamp", "-o", path])
}

fn pods_answer_kubectl(kubectl: &Kubectl) {
    let pod = first_pod(kubectl);
    assert_eq!(kubectl.run(&["logs", &pod]).trim(), "started");
    assert_eq!(kubectl.run(&["exec", &pod, "--", "hostname"]).trim(), pod);
    assert_eq!(kubectl.run_with(&["exec", "-i", &pod, "--", "cat"], "through stdin"), "through stdin");
    let failed = kubectl.try_run(&["exec", &pod, "--", "sh", "-c", "echo oops >&2; exit 7"], "");
    assert_eq!((failed.code, failed.err.contains("oops")), (7, true), "{failed:?}");
    assert!(kubectl.run(&["describe", "pod", &pod]).contains("Started"));
    assert!(kubectl.run(&["get", "pods", "-o", "wide"]).contains("node"));
}

fn services_and_names_resolve(cluster: &Cluster, kubectl: &Kubectl, image: &str) {
    let client = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: client}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {{name: c, image: {image}, command: [sleep, \"3600\"]}}\n"
    );
    kubectl.apply(&client);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    eventually("a pod reaches the Service by its name", SOON, || {
        let outcome = kubectl.try_run(&["exec", "client", "--", "curl", "-s", "-m", "2", "http://web/"], "");
        if outcome.out.starts_with("web-") { Ok(()) } else { Err(outcome) }
    });
    for node in 1..=2 {
        eventually("an Ingress answers on every node", SOON, || {
            let host = cluster.node(node);
            let url = format!("http://{}/", host.address);
            let output = host.command("curl").args(["-s", "-m", "2", "-H", "Host: web.test", &url]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if text.starts_with("web-") { Ok(()) } else { Err(text) }
        });
    }
    kubectl.run(&["delete", "pod", "client", "--wait"]);
}

fn rollouts_go_and_come_back(kubectl: &Kubectl) {
    kubectl.run(&["scale", "deployment/web", "--replicas=3"]);
    kubectl.wait_for(&["deployment", "web"], "{.status.availableReplicas}", "3", LATER);
    kubectl.run(&["set", "env", "deployment/web", "COLOR=red"]);
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    // Old pods end after the roll-out is done: kubectl's view of the Deployment may still pick one.
    eventually("a pod of the new template answers", SOON, || {
        let answer = kubectl.try_run(&["exec", &newest_pod(kubectl), "--", "sh", "-c", "echo $COLOR"], "");
        if answer.out.trim() == "red" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    kubectl.run(&["rollout", "undo", "deployment/web"]);
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    kubectl.run(&["scale", "deployment/web", "--replicas=2"]);
    kubectl.wait_for(&["deployment", "web"], "{.status.replicas}", "2", LATER);
}

/// The container ids and restart counts of the web pods.
fn containers(kubectl: &Kubectl) -> String {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
    let text = kubectl.run(&["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", path]);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn nothing_restarts_when_processes_die(cluster: &mut Cluster, kubectl: &Kubectl) {
    until("two pods are left", LATER, || {
        let pods = kubectl.run(&["get", "pods", "-l", "app=web", "-o", "name"]);
        (pods.lines().count() == 2, pods)
    });
    let before = containers(kubectl);
    let address = kubectl.run(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let reachable = |cluster: &Cluster| {
        for node in 1..=2 {
            for _ in 0..10 {
                let url = format!("http://{address}/");
                let output = cluster.node(node).command("curl").args(["-sf", "-m", "2", &url]).output().unwrap();
                assert!(output.status.success(), "the Service answers from node{node} whatever died");
            }
        }
    };
    reachable(cluster);
    cluster.server.kill();
    reachable(cluster);
    cluster.agents.iter_mut().for_each(Process::kill);
    reachable(cluster);
    cluster.server.restart();
    cluster.agents.iter_mut().for_each(Process::restart);
    eventually("the server is ready again", SOON, || {
        let outcome = kubectl.try_run(&["get", "--raw", "/readyz"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });
    // An agent that adopted its pods can be asked about them.
    let pod = first_pod(kubectl);
    eventually("exec works again", LATER, || {
        let outcome = kubectl.try_run(&["exec", &pod, "--", "true"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });
    reachable(cluster);
    assert_eq!(containers(kubectl), before, "no container was restarted");
}
