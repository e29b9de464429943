// SPDX-License-Identifier: Apache-2.0
//! Who reaches whom: a node its server by the plain secret, a pod the hosts outside by its node's address, a client a pod
//! over a WebSocket through an Ingress.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use knarr_tests::cluster::{Cluster, Folder, LATER, SOON, start_server};
use knarr_tests::hosts::{Host, Network};
use knarr_tests::knarr::{self, Process};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::running::Running;
use knarr_tests::wait::eventually;

#[test]
fn nodes_join_by_the_plain_secret_and_by_a_token_of_their_own() {
    let mut network = Network::new();
    let folder = Folder::new();
    let (control, host) = (network.add_host("server"), network.add_host("node"));
    let secret = "a-secret-of-our-own";
    let _server = start_server(&control, folder.path(), &["--token", secret]);
    let ca = folder.path().join("server/tls/ca.crt").display().to_string();
    let (url, data) = (format!("https://{}:6443", control.address), folder.path().join("node").display().to_string());
    let kubeconfig = folder.path().join("server/admin.kubeconfig");
    let kubectl = Kubectl::new(&control, &kubeconfig);
    let agent = ["agent", "--server", &url, "--data-dir", &data, "--node-ip", &host.address];
    let joins = |name: &str, more: &[&str], tells: &[&str]| {
        let arguments = [&agent[..], &["--node-name", name], more].concat();
        let mut agent = Process::start(&host, &folder.path().join("node.log"), &arguments);
        kubectl.wait_for(&["node", name], "{.status.conditions[?(@.type==\"Ready\")].status}", "True", LATER);
        eventually("its Events tell", SOON, || {
            let events = kubectl.run(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")]);
            if tells.iter().all(|word| events.contains(word)) { Ok(()) } else { Err(events) }
        });
        agent.end();
        let (code, said) = knarr::run(&host, &["down", "--data-dir", &data, "--delete-data"]);
        assert_eq!(code, Some(0), "{said}");
    };
    joins("plain", &["--token", secret, "--ca-file", &ca, "--disable-edge"], &[]);

    let kubeconfig = kubeconfig.display().to_string();
    let ctl = |words: &[&str]| {
        let (code, said) = knarr::run(&control, &[&["ctl", "--kubeconfig", &kubeconfig, "token"], words].concat());
        assert_eq!(code, Some(0), "{said}");
        said.trim().to_owned()
    };
    let token = ctl(&["create", "--ttl=1h"]);
    let _who = who(&host);
    eventually("its port is taken", SOON, || {
        let output = host.command("curl").args(["-sS", "http://127.0.0.1:8099"]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
    let off = ["IngressOff", "0.0.0.0:8099", "--ingress-http-port"];
    joins("invited", &["--token", &token, "--ingress-http-port", "8099"], &off);
    ctl(&["delete", &token]);
    let (code, said) = knarr::run(&host, &[&agent[..], &["--node-name", "late", "--token", &token]].concat());
    assert!(code == Some(1) && said.contains("does not know the secret of this token"), "{code:?} {said}");
}

/// Answers each connection with the address that it comes from.
const WHO: &str = "
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
http.server.HTTPServer(('', 8099), Answer).serve_forever()
";

fn who(host: &Host) -> Running {
    let mut python = host.command("python3");
    Running(python.args(["-c", WHO]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Reads a request's head, agrees to what it asks for, and sends everything back.
const ECHO: &str = r#"while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
printf 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
exec cat"#;

fn echo(image: &str) -> String {
    let script = serde_json::to_string(ECHO).unwrap();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: echo, labels: {{app: echo}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    command: [sh, -c, 'printf %s "$0" > /tmp/echo.sh; exec nc -ll -p 8080 -e sh /tmp/echo.sh', {script}]
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec: {{selector: {{app: echo}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: echo}}
spec: {{defaultBackend: {{service: {{name: echo, port: {{number: 80}}}}}}}}
"#
    )
}

/// The head of the answer to a request for a WebSocket, and what comes back of `words`.
fn through_websocket(address: &str, words: &str) -> std::io::Result<(String, String)> {
    let mut stream = TcpStream::connect((address, 80))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = "GET /chat HTTP/1.1\r\nHost: echo.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(words.as_bytes())?;
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back)?;
    Ok((String::from_utf8_lossy(&head).into_owned(), String::from_utf8_lossy(&back).into_owned()))
}

#[test]
fn pods_reach_the_world_and_the_world_reaches_pods() {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let kubectl = &cluster.kubectl;
    kubectl.apply(&echo(&image));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/echo", "--timeout=90s"]);

    let _who = who(cluster.host(0));
    let url = format!("http://{}:8099/", cluster.host(0).address);
    eventually("a host outside sees the node's address", SOON, || {
        let seen = kubectl.try_run(&["exec", "echo", "--", "curl", "-sS", "-m", "3", &url], "");
        if seen.out == cluster.host(1).address { Ok(()) } else { Err(seen) }
    });

    let node = &cluster.host(1).address;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // A thread of its own goes there: this one removes the hosts, with nothing left on them.
            cluster.host(0).enter();
            eventually("a WebSocket leads to the pod", SOON, || match through_websocket(node, "words both ways") {
                Ok((head, back)) if head.starts_with("HTTP/1.1 101") && back == "words both ways" => Ok(()),
                other => Err(format!("{other:?}")),
            });
        });
    });
}
