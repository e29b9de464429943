// SPDX-License-Identifier: Apache-2.0
//! `knarr ctl` beside kubectl: the same words typed, the same text printed, the same exit code.

use std::fs;
use std::path::Path;

use knarr_tests::hosts::{Host, Network};
use knarr_tests::knarr::binary;
use knarr_tests::kubectl::{Kubectl, Outcome};

use knarr_tests::cluster::{Folder, start_server};

const OBJECTS: &str = r##"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web, tier: "1"}, annotations: {note: "a: b # c"}}
data: {number: "1", truth: "yes", script: "#!/bin/sh\necho 'x'\n", odd: " lead", empty: ""}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: x}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, clusterIP: 10.43.7.7, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}, annotations: {kubernetes.io/change-cause: first}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 8080}], command: [sh, -c, "echo a long line of words that is longer than eighty columns and so is folded by who writes it"]}]}
"##;

/// Typed to both; what they print must agree.
const SAME: [&str; 37] = [
    "get cm",
    "get cm -o wide",
    "get cm -o name",
    "get cm -o yaml",
    "get cm settings -o yaml",
    "get cm settings -o json",
    "get deploy,svc -o yaml",
    "get deploy web -o yaml",
    "get secret hidden -o json",
    "get cm settings -o jsonpath={.data.number}",
    "get cm -o jsonpath={range.items[*]}{.metadata.name},{end}",
    "get svc web -o jsonpath={.spec.ports[?(@.name==\"http\")].port}",
    "get deploy,svc",
    "get deploy/web svc/web",
    "get svc web kubernetes",
    "get cm settings nope",
    "get cm nope",
    "get cm nope --ignore-not-found",
    "get cm -n none",
    "get pods -A",
    "get cm -A",
    "get cm -l app=web --show-labels",
    "get cm -l app!=web -o name",
    "get cm --field-selector metadata.name=settings",
    "get cm --no-headers",
    "get svc --no-headers -o wide",
    "get -f FILE",
    "get -f FOLDER -o name",
    "get nosuch",
    "get all",
    "get rs -o wide",
    "get ns",
    "rollout history deploy/web",
    "rollout status deploy/web --watch=false",
    "cluster-info",
    "delete cm nope",
    "delete cm nope --ignore-not-found",
];

/// Typed to one after the other, so that each finds the same.
const CHANGES: [(&str, &str); 6] = [
    ("scale deploy/web --replicas=2", "scale deploy/web --replicas=3"),
    ("scale deploy web --replicas=1 --current-replicas=9", ""),
    ("rollout pause deploy/web", "rollout resume deploy/web"),
    ("rollout restart deploy/web", ""),
    ("apply -f /nonexistent", ""),
    ("delete -f FILE", "apply -f FILE"),
];

#[test]
fn ctl_answers_as_kubectl_does() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("server");
    let _server = start_server(&host, folder.path(), &["--disable-controllers"]);
    let kubectl = Kubectl::new(&host, &folder.path().join("server/admin.kubeconfig"));
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("objects.yaml"), OBJECTS).unwrap();
    kubectl.run(&["apply", "-f", &manifests.display().to_string()]);
    let both = Both { kubectl, host: &host, folder: folder.path() };
    let mut differences: Vec<String> = SAME.iter().filter_map(|words| both.difference(words, "")).collect();
    differences.extend(CHANGES.iter().filter_map(|(words, back)| both.difference(words, back)));
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

struct Both<'a> {
    kubectl: Kubectl,
    host: &'a Host,
    folder: &'a Path,
}

impl Both<'_> {
    fn arguments(&self, words: &str) -> Vec<String> {
        let manifests = self.folder.join("manifests").display().to_string();
        let file = format!("{manifests}/objects.yaml");
        let words = words.split_whitespace().map(|word| word.replace("FILE", &file).replace("FOLDER", &manifests));
        words.map(|word| word.replace("range.", "range .")).collect()
    }

    fn ctl(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.host.command(binary());
        command.arg("ctl").args(arguments).env("KUBECONFIG", self.folder.join("server/admin.kubeconfig"));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Outcome { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// How the two differ; between them kubectl undoes what the first has changed, by `back`.
    fn difference(&self, words: &str, back: &str) -> Option<String> {
        let arguments = self.arguments(words);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let theirs = self.kubectl.try_run(&arguments, "");
        if !back.is_empty() {
            let back = self.arguments(back);
            self.kubectl.run(&back.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let ours = self.ctl(&arguments);
        if !back.is_empty() && words.starts_with("delete") {
            self.kubectl.run(&["apply", "-f", &self.folder.join("manifests").display().to_string()]);
        }
        let all = |outcome: &Outcome| (outcome.code, ageless(&outcome.out), ageless(&outcome.err));
        (all(&theirs) != all(&ours)).then(|| format!("`{words}`\nkubectl: {theirs:#?}\nctl: {ours:#?}"))
    }
}

/// The text without how old things are: the two look one after the other.
fn ageless(text: &str) -> String {
    let is_age = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd'])
            && word.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
    };
    let line = |line: &str| {
        let mut kept = String::new();
        let mut after_age = false;
        for word in line.split(' ') {
            if after_age && word.is_empty() {
                continue;
            }
            after_age = is_age(word);
            kept.push_str(if after_age { "AGE" } else { word });
            kept.push(' ');
        }
        kept
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}
