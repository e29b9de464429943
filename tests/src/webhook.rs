// SPDX-License-Identifier: Apache-2.0
//! A webhook server over HTTPS, with a certificate of its own.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hosts::Host;
use crate::running::Running;
use crate::wait::eventually;

/// Answers by path: `/label` adds a label, `/deny` refuses what is so labelled, `/hang` never answers, `/slow` late,
/// `/refuse` refuses and says what it was asked, `/tell` refuses and says in which version,
/// `/convert` calls the field `spec.size` of v1 `spec.length` in v2 and refuses what is labelled `broken`.
/// A GET tells how many conversions were asked for, and of how many objects, and how often `/slow` was.
const SCRIPT: &str = r#"
import base64, http.server, json, ssl, sys, threading, time

asked = {"reviews": 0, "objects": 0, "slow": 0}

def convert(request):
    asked["reviews"] += 1
    asked["objects"] += len(request["objects"])
    names = {"v1": "size", "v2": "length"}
    wanted = request["desiredAPIVersion"]
    for object in request["objects"]:
        old, new = names[object["apiVersion"].split("/")[1]], names[wanted.split("/")[1]]
        object["apiVersion"] = wanted
        if old in object["spec"]:
            object["spec"][new] = object["spec"].pop(old)
        if object["metadata"].get("labels", {}).get("broken"):
            return {"uid": request["uid"], "result": {"status": "Failure", "message": "it is broken"}}
    return {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": request["objects"]}

class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        self.answer(asked)
    def answer(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request, path = review["request"], self.path.split("?")[0]
        if path == "/hang":
            threading.Event().wait()
        if path == "/slow":
            asked["slow"] += 1
            time.sleep(0.5)
        if path == "/convert":
            return self.answer({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": convert(request)})
        answer = {"uid": request["uid"], "allowed": True, "warnings": ["seen by " + path]}
        labels = (request["object"] or {}).get("metadata", {}).get("labels", {})
        if path == "/label":
            patch = [] if "metadata" in request["object"] and labels else [{"op": "add", "path": "/metadata/labels", "value": {}}]
            patch.append({"op": "add", "path": "/metadata/labels/seen", "value": request["operation"]})
            answer.update(patchType="JSONPatch", patch=base64.b64encode(json.dumps(patch).encode()).decode())
        if path == "/refuse":
            asked_for = [request["operation"], request["resource"]["resource"], request["subResource"], request["kind"]["kind"]]
            answer.update(allowed=False, status={"code": 403, "message": "/".join(asked_for + [request["object"]["kind"]])})
        if path == "/tell":
            spec = lambda object: (object or {}).get("spec")
            told = {"kind": request["kind"], "resource": request["resource"], "requestKind": request["requestKind"],
                    "below": request.get("subResource"), "type": (request["object"] or {}).get("apiVersion"),
                    "spec": spec(request["object"]), "old": spec(request["oldObject"])}
            answer.update(allowed=False, status={"code": 403, "message": "<<" + json.dumps(told) + ">>"})
        if path == "/deny" and labels.get("bad"):
            answer.update(allowed=False, status={"code": 403, "message": "it is labelled bad"})
        self.answer({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})

address, port, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, int(port)), Hook)
server.daemon_threads = True
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

/// A webhook server on a host; ended when dropped.
#[derive(Debug)]
pub struct Webhook {
    host: Host,
    _running: Running,
    url: String,
    authority: String,
}

impl Webhook {
    /// Starts one.
    ///
    /// # Panics
    /// When python3 is not installed, or it does not answer.
    #[must_use]
    pub fn start(host: &Host, folder: &Path) -> Self {
        let identity = rcgen::generate_simple_self_signed([host.address.clone()]).expect("an address is a name");
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).expect("the test's folder can be written");
            path
        };
        let authority = identity.cert.pem();
        let certificate = file("webhook.crt", &authority);
        let key = file("webhook.key", &identity.signing_key.serialize_pem());
        let script = file("webhook.py", SCRIPT);
        let child = host
            .command("python3")
            .arg(script)
            .args([&host.address, "8443"])
            .args([certificate, key])
            .stdout(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let running = Running(child);
        let url = format!("https://{}:8443", host.address);
        eventually("the webhook answers", Duration::from_secs(20), || {
            let answer = host.command("curl").args(["-skf", &url]).output().expect("curl is installed");
            if answer.status.success() { Ok(()) } else { Err(answer.status) }
        });
        Self { host: host.clone(), _running: running, url, authority }
    }

    /// How to reach it at `path`, as configurations say it.
    #[must_use]
    pub fn client_config(&self, path: &str) -> Value {
        json!({"url": format!("{}{path}", self.url), "caBundle": base64(&self.authority)})
    }

    /// How many reviews of conversions it was sent, and how many objects.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn conversions(&self) -> (u64, u64) {
        (self.count("reviews"), self.count("objects"))
    }

    /// How often it was asked at `/slow`.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn slow_questions(&self) -> u64 {
        self.count("slow")
    }

    fn count(&self, name: &str) -> u64 {
        let answer = self.host.command("curl").args(["-skf", &self.url]).output().expect("curl is installed");
        let counts: Value = serde_json::from_slice(&answer.stdout).expect("the webhook counts");
        counts[name].as_u64().unwrap_or_default()
    }

    /// A configuration of `kind` with one webhook at `path` for new objects of `resource`.
    #[must_use]
    pub fn configuration(&self, kind: &str, path: &str, resource: &str) -> Value {
        let name = path.trim_start_matches('/');
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
            "webhooks": [{
                "name": format!("{name}.knarr.test"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 2, "failurePolicy": "Fail",
                "clientConfig": self.client_config(path),
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource], "operations": ["CREATE"],
                }],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            }],
        })
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
