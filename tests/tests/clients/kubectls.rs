// SPDX-License-Identifier: Apache-2.0
//! kubectl of every minor version that can be installed: the same walk by each, in a namespace of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use knarr_tests::clients::versions;
use knarr_tests::cluster::{Cluster, SOON};
use knarr_tests::kubectl::{Kubectl, Outcome};
use knarr_tests::wait::eventually;

/// As many walk at a time as an ordinary machine has cores.
const AT_ONCE: usize = 2;

const WEB: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, "size": "5"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: IMAGE, command: [sh, -c, "echo started; trap 'exit 0' TERM; while true; do sleep 0.1; done"]}
"#;

#[test]
fn every_kubectl_works() {
    let kubectls = versions("kubectl");
    if kubectls.is_empty() {
        return;
    }
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    for some in kubectls.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for (version, program) in some {
                let (cluster, image) = (&cluster, &image);
                scope.spawn(move || walk(&Walk::new(cluster, version, program), image));
            }
        });
    }
}

/// One version at work in its namespace.
struct Walk {
    kubectl: Kubectl,
    version: String,
    namespace: String,
}

impl Walk {
    fn new(cluster: &Cluster, version: &str, program: &Path) -> Self {
        let namespace = format!("v{}", version.replace('.', "-"));
        Self { kubectl: cluster.kubectl.with_program(program), version: version.to_owned(), namespace }
    }

    fn try_run(&self, arguments: &[&str], input: &str) -> Outcome {
        self.kubectl.try_run(&[&["--namespace", &self.namespace], arguments].concat(), input)
    }

    fn run(&self, arguments: &[&str], input: &str) -> String {
        let outcome = self.try_run(arguments, input);
        assert!(outcome.code == 0, "kubectl {} {arguments:?}: {}", self.version, outcome.err);
        outcome.out
    }

    /// Runs it; it must print this.
    fn says(&self, arguments: &[&str], input: &str, wanted: &str) {
        let said = self.run(arguments, input);
        assert!(said.contains(wanted), "kubectl {} {arguments:?} says not {wanted:?} but {said}", self.version);
    }
}

fn walk(walk: &Walk, image: &str) {
    walk.says(&["version", "--client"], "", &format!("v{}", walk.version));
    walk.run(&["create", "namespace", &walk.namespace], "");
    let manifest = WEB.replace("IMAGE", image);
    objects_change(walk, &manifest);
    objects_are_shown(walk);
    rollouts_are_made(walk);
    pods_are_entered(walk);
    // What else was begun ends with the namespace.
    walk.says(&["delete", "deployment", "web", "--wait"], "", "deleted");
    walk.says(&["delete", "namespace", &walk.namespace, "--timeout=60s"], "", "deleted");
}

fn objects_change(walk: &Walk, manifest: &str) {
    walk.says(&["apply", "--dry-run=server", "-f", "-"], manifest, "configmap/settings created (server dry run)");
    let differs = walk.try_run(&["diff", "-f", "-"], manifest);
    assert!(differs.code == 1 && differs.out.contains("+  color: blue"), "{differs:?}");
    walk.says(&["apply", "-f", "-"], manifest, "configmap/settings created");
    walk.says(&["apply", "-f", "-"], manifest, "configmap/settings unchanged");
    walk.says(&["diff", "-f", "-"], manifest, "");
    let changed = manifest.replace("blue", "red").replace(", \"size\": \"5\"", "");
    walk.says(&["apply", "-f", "-"], &changed, "configmap/settings configured");
    walk.says(&["get", "configmap", "settings", "-o", "jsonpath={.data}"], "", "{\"color\":\"red\"}");
    let mine = ["apply", "--server-side", "--field-manager=mine", "-f", "-"];
    let conflict = walk.try_run(&mine, manifest);
    assert!(conflict.code != 0 && conflict.err.contains(".data.color"), "{conflict:?}");
    walk.says(&[&mine[..], &["--force-conflicts"]].concat(), manifest, "configmap/settings serverside-applied");
    for (form, patch) in [
        ("merge", r#"{"data":{"size":"6"}}"#),
        ("json", r#"[{"op":"replace","path":"/data/size","value":"7"}]"#),
        ("strategic", r#"{"data":{"size":"8"}}"#),
    ] {
        walk.says(&["patch", "configmap", "settings", "--type", form, "-p", patch], "", "patched");
    }
    walk.says(&["get", "configmap", "settings", "-o", "go-template={{.data.size}}"], "", "8");
    walk.says(&["label", "configmap", "settings", "team=blue"], "", "labeled");
    walk.says(&["annotate", "configmap", "settings", "note=hello"], "", "annotated");
    let typo = walk.try_run(&["create", "-f", "-"], &manifest.replace("replicas: 1", "replcas: 1"));
    assert!(typo.code != 0 && typo.err.contains("unknown field \"spec.replcas\""), "{typo:?}");
}

fn objects_are_shown(walk: &Walk) {
    walk.says(&["get", "configmap", "-l", "team=blue"], "", "settings   2");
    walk.says(&["get", "configmap,deployment", "-o", "name"], "", "deployment.apps/web");
    walk.says(&["get", "configmap", "settings", "-o", "yaml"], "", "note: hello");
    walk.says(&["get", "deployment", "-o", "wide"], "", "CONTAINERS");
    walk.says(&["describe", "deployment", "web"], "", "1 desired");
    walk.says(&["explain", "deployment.spec.strategy.rollingUpdate"], "", "maxSurge");
    walk.says(&["explain", "pod", "--recursive"], "", "ephemeralContainers");
    walk.says(&["api-resources", "--api-group=apps"], "", "statefulsets");
    walk.says(&["auth", "can-i", "create", "pods"], "", "yes");
    walk.says(&["auth", "whoami"], "", "system:masters");
    walk.says(&["create", "token", "default", "--duration=10m"], "", "ey");
    let missing = walk.try_run(&["get", "configmap", "none"], "");
    assert!(missing.code == 1 && missing.err.contains("(NotFound): configmaps \"none\" not found"), "{missing:?}");
}

fn rollouts_are_made(walk: &Walk) {
    let status = ["rollout", "status", "deployment/web", "--timeout=60s"];
    walk.says(&status, "", "successfully rolled out");
    walk.says(&["set", "env", "deployment/web", "A=b"], "", "updated");
    walk.says(&status, "", "successfully rolled out");
    walk.says(&["rollout", "history", "deployment/web"], "", "2");
    walk.says(&["rollout", "undo", "deployment/web"], "", "rolled back");
    walk.says(&["rollout", "restart", "deployment/web"], "", "restarted");
    walk.says(&status, "", "successfully rolled out");
    walk.says(&["scale", "deployment/web", "--replicas=2"], "", "scaled");
    walk.says(&["wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s"], "", "met");
    walk.says(&["scale", "deployment/web", "--replicas=1"], "", "scaled");
    walk.says(&["wait", "deployment/web", "--for=jsonpath={.status.replicas}=1", "--timeout=60s"], "", "met");
}

fn pods_are_entered(walk: &Walk) {
    walk.says(&["logs", "deployment/web"], "", "started");
    walk.says(&["exec", "deployment/web", "--", "echo", "inside"], "", "inside");
    walk.says(&["exec", "-i", "deployment/web", "--", "cat"], "through stdin", "through stdin");
    let failed = walk.try_run(&["exec", "deployment/web", "--", "sh", "-c", "exit 7"], "");
    assert_eq!(failed.code, 7, "{failed:?}");
    watched_pods_are_seen(walk);
}

/// `get -w` shows what is there and what comes.
fn watched_pods_are_seen(walk: &Walk) {
    let mut command: Command = walk.kubectl.command(&["-n", &walk.namespace, "get", "configmaps", "-w", "-o", "name"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut child = command.stdout(file.reopen().unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let sees = |name: &str, within: Duration| {
        eventually(&format!("kubectl {} sees {name}", walk.version), within, || {
            let text = std::fs::read_to_string(file.path()).unwrap();
            if text.contains(name) { Ok(()) } else { Err(text) }
        });
    };
    sees("settings", SOON);
    walk.run(&["create", "configmap", "later"], "");
    sees("later", SOON);
    child.kill().unwrap();
    child.wait().unwrap();
}
