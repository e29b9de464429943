// SPDX-License-Identifier: Apache-2.0
//! `knarr ctl` beside kubectl: the same words typed, the same text printed, the same exit code.

use std::fs;

use knarr_tests::cluster::Bare;
use serde_json::json;

use crate::beside::Both;

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
const SAME: [&str; 116] = [
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
    "get -f FILE,FILE -o name",
    "get nosuch",
    "get all",
    "get rs -o wide",
    "get ns",
    "rollout history deploy/web",
    "rollout status deploy/web --watch=false",
    "cluster-info",
    "delete cm nope",
    "delete cm nope --ignore-not-found",
    "get cm,secret -l app=web -o name",
    "get cm settings -oyaml",
    "get deploy,svc web",
    "get cm -o=json",
    "get cm -l app -o jsonpath={.items[*].metadata.labels.tier}",
    "get svc -o jsonpath={range.items[*]}{.metadata.name}={.spec.ports[*].port};{end}",
    "get cm settings -o jsonpath={.metadata.annotations.note}",
    "get cm settings -o jsonpath={.data}",
    "get cm settings -o jsonpath={.nothing.here}",
    "get svc -A -o wide",
    "get cm --namespace=kube-system -o name",
    "get cm settings -A",
    "get deploy.apps/web -o name",
    "get deployments.v1.apps web -o name",
    "get configmaps settings --show-labels --no-headers",
    "get -f FILE -o jsonpath={.items[*].kind}",
    "get -R -f FOLDER -o name",
    "describe svc/web",
    "get cm settings -o jsonpath={.metadata.managedFields[*].manager}",
    "get cm -o jsonpath-as-json={.items[*].metadata.name}",
    "get cm,svc -o custom-columns=NAME:.metadata.name,KIND:kind,NONE:.no.pe",
    "get deploy web -o custom-columns=R:.spec.replicas,L:{.metadata.labels},C:.spec.template.spec.containers[0].ports --no-headers",
    "get cm -n none -o custom-columns=NAME:.metadata.name",
    "get cm -o custom-columns=NAME",
    "get cm -o custom-columns=",
    "get cm -o custom-columns=A:{.x",
    "get deploy web -o go-template={{.spec.replicas}}{{.no.pe}}{{.metadata.labels}}{{.spec.template.spec.containers}}",
    "get deploy,svc -o go-template={{range~.items}}{{.kind}}/{{.metadata.name}};{{end}}",
    "get deploy web -o template={{if~eq~.spec.replicas~2}}{{printf~\"%s:%5d\"~.metadata.name~.spec.replicas}}{{end}}",
    "get secret hidden -o go-template={{range~$k,$v:=.data}}{{$k}}={{base64decode~$v}}{{end}}",
    "get cm -o go-template",
    "get cm -o go-template-file=/none",
    "get cm -o custom-columns-file=/none",
    "get cm --sort-by=.metadata.name",
    "get cm --sort-by={.data.number} -o name",
    "get cm,svc --sort-by=.metadata.name",
    "get cm -o yaml --sort-by=.metadata.name",
    "get cm -o custom-columns=N:.metadata.name --sort-by=.metadata.name",
    "get cm -L app,tier --show-labels",
    "get cm -A -L app -L tier -o wide",
    "get cm settings --show-kind --no-headers=true",
    "get cm -A --chunk-size=2",
    "get cm --chunk-size=1 -o name",
    "get cm settings -o yaml --show-managed-fields",
    "get cm settings --template={{.data.number}}",
    "get cm settings -o yaml -o json --watch=false",
    "get --raw /readyz",
    "get --raw /apis/apps/v1/namespaces/default/deployments/nope",
    "get deploy web --subresource=status -o name",
    "get cm settings -l app=web",
    "get cm -f FILE",
    "get pods --output-watch-events",
    "get cm -n kube-system --as=nobody",
    "get cm --as=nobody --as-group=system:masters -o name",
    "get cm --cluster nope",
    "get cm --user nope",
    "get cm --request-timeout=5s -o name",
    "logs -l app=nope",
    "logs nope",
    "version -o nope",
    "rollout status deploy/web --revision=7",
    "rollout history deploy/web --revision=9",
    "rollout history deploy",
    "delete cm",
    "delete cm --all -l app=web",
    "delete cm settings --dry-run=client",
    "delete cm settings --dry-run=server -o name",
    "delete cm settings --force --grace-period=3",
    "delete cm settings --now --grace-period=3",
    "delete cm settings --force --dry-run=server",
    "scale deploy/web --replicas=2 --dry-run=server",
    "scale deploy web --replicas=2 -o name",
    "scale deploy -l app=web --replicas=2",
    "scale cm/settings --replicas=2",
    "scale deploy/web --replicas=-1",
    "apply -f FILE --dry-run=server -o name",
    "cp /nope pod:/tmp",
    "cp pod:/a pod:/b",
];

/// Typed with a manifest on standard input: several documents, JSON, a list.
const FROM_INPUT: [(&str, &str, &str); 5] = [
    ("apply -f -", TWO, "delete cm one two --ignore-not-found"),
    ("apply -f - --dry-run=server", TWO, ""),
    ("apply -f -", LIST, "delete cm one two --ignore-not-found"),
    (
        "get -f - -o name",
        "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"settings\"}}",
        "",
    ),
    ("delete -f - --ignore-not-found", TWO, ""),
];

const TWO: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n";

const LIST: &str = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}\n";

/// Typed to one after the other, so that each finds the same.
const CHANGES: [(&str, &str); 8] = [
    ("scale deploy/web --replicas=2", "scale deploy/web --replicas=3"),
    ("scale deploy web --replicas=1 --current-replicas=9", ""),
    ("rollout pause deploy/web", "rollout resume deploy/web"),
    ("rollout restart deploy/web", ""),
    ("apply -f /nonexistent", ""),
    ("delete -f FILE", "apply -f FILE"),
    ("delete cm settings -o name", "apply -f FILE"),
    ("rollout restart deploy -l app=web", ""),
];

#[test]
fn ctl_answers_as_kubectl_does() {
    let bare = Bare::start_with(&["--disable-controllers"]);
    let Bare { kubectl, host, folder, .. } = &bare;
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("objects.yaml"), OBJECTS).unwrap();
    kubectl.run(&["apply", "-f", &manifests.display().to_string()]);
    let both = Both::new(kubectl.clone(), host, &manifests);
    let mut differences: Vec<String> = SAME.iter().filter_map(|words| both.difference(words, "", "")).collect();
    differences.extend(FROM_INPUT.iter().filter_map(|(words, input, back)| both.difference(words, input, back)));
    differences.extend(CHANGES.iter().filter_map(|(words, back)| both.difference(words, "", back)));
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn what_kubectl_applied_is_applied_on_by_ctl() {
    let bare = Bare::start(&[]);
    let both = Both::new(bare.kubectl.clone(), &bare.host, bare.folder.path());
    let map = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{{data}}}\n");
    bare.kubectl.apply(&map("one: '1', two: '2'"));
    let applied = both.ctl(&["apply", "--server-side", "-f", "-"], &map("one: '9'"));
    assert_eq!((applied.code, applied.out.as_str()), (0, "configmap/settings configured\n"), "{applied:?}");
    let data = || bare.kubectl.json(&["configmap", "settings"])["data"].clone();
    assert_eq!(data(), json!({"one": "9"}), "what kubectl had put there, and the manifest has no more, is gone");
    bare.kubectl.run(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"one":"5"}}"#]);
    let refused = both.ctl(&["apply", "-f", "-"], &map("one: '9'"));
    assert!(refused.code == 1 && refused.err.contains("conflict with \"kubectl-patch\""), "{refused:?}");
    let forced = both.ctl(&["apply", "--force-conflicts", "-f", "-"], &map("one: '9'"));
    assert!(forced.code == 0 && data() == json!({"one": "9"}), "{forced:?}");
}
