// SPDX-License-Identifier: Apache-2.0
//! `knarr ctl describe` beside kubectl's, for kinds with a page of their own and for one without.

use std::fs;

use knarr_tests::clients::versions;
use knarr_tests::cluster::{Bare, Cluster, LATER, SOON};

use crate::beside::Both;
use crate::manifests::{shell_pod, web};

/// The version of kubectl whose layout is ours.
const KUBECTL: &str = "1.36";

/// How often a page is looked at with both before they count as different.
const LOOKS: usize = 3;

/// What of it an object can have that `web` has not.
const OBJECTS: &str = r##"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web, tier: "1"}, annotations: {note: "a: b # c", lines: "one\ntwo\n"}}
data: {one: "1", script: "#!/bin/sh\necho x\n"}
binaryData: {bytes: AAEC}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden, namespace: default}
stringData: {password: secret, user: me}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
imagePullSecrets: [{name: one}, {name: two}]
---
apiVersion: v1
kind: Namespace
metadata: {name: bounded}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, namespace: bounded}
spec: {hard: {pods: "5", requests.cpu: "2"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: range, namespace: bounded}
spec: {limits: [{type: Pod, max: {cpu: "1"}}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web, tier: front}, ports: [{name: http, port: 80}, {name: https, port: 443, targetPort: tls, appProtocol: https}]}
---
apiVersion: v1
kind: Service
metadata: {name: away}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: more, annotations: {a: b}}
spec:
  ingressClassName: other
  defaultBackend: {service: {name: web, port: {number: 80}}}
  tls: [{hosts: [a.test, b.test], secretName: certificate}, {hosts: [c.test]}]
  rules:
  - host: a.test
    http:
      paths:
      - {path: /x, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
      - {path: /none, pathType: Exact, backend: {service: {name: nobody, port: {number: 80}}}}
  - http: {paths: [{pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: plain}
spec: {defaultBackend: {resource: {apiGroup: example.org, kind: Bucket, name: b}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stuck, labels: {app: stuck}}
spec:
  replicas: 1
  minReadySeconds: 3
  strategy: {type: Recreate}
  selector: {matchLabels: {app: stuck}, matchExpressions: [{key: tier, operator: In, values: [b, a]}]}
  template:
    metadata: {labels: {app: stuck, tier: a}, annotations: {seen: "yes"}}
    spec:
      nodeSelector: {nowhere: "true"}
      tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}, {key: a, operator: Equal, value: b}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: stuck}}}]
      initContainers: [{name: first, image: IMAGE, command: [sh, -c, "true\ntrue"]}]
      containers:
      - name: c
        image: IMAGE
        args: [a, b]
        ports: [{containerPort: 80, name: web, hostPort: 8080}, {containerPort: 53, protocol: UDP}]
        envFrom: [{configMapRef: {name: settings}, prefix: P_}, {secretRef: {name: hidden, optional: true}}]
        env:
        - {name: A, value: "1"}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
        - {name: KEY, valueFrom: {secretKeyRef: {name: hidden, key: user}}}
        - {name: ONE, valueFrom: {configMapKeyRef: {name: settings, key: one, optional: true}}}
        resources: {requests: {cpu: 100m}, limits: {memory: 64Mi, cpu: "1"}}
        livenessProbe: {exec: {command: [cat, /x]}}
        startupProbe: {tcpSocket: {port: 80}, failureThreshold: 30}
        readinessProbe: {httpGet: {path: "/ready?x=1", port: web}}
        volumeMounts: [{name: empty, mountPath: /e, subPath: sub}, {name: secret, mountPath: /a, readOnly: true}]
      volumes:
      - {name: empty, emptyDir: {sizeLimit: 1Gi, medium: Memory}}
      - {name: secret, secret: {secretName: hidden}}
      - {name: map, configMap: {name: settings, optional: true}}
      - {name: host, hostPath: {path: /tmp, type: Directory}}
      - {name: claim, persistentVolumeClaim: {claimName: data}}
      - {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
      - {name: all, projected: {sources: [{configMap: {name: settings}}, {secret: {name: hidden}}, {downwardAPI: {items: []}}]}}
"##;

/// Typed to both, after `describe`.
const SAME: [&str; 28] = [
    "pod PENDING",
    "pod RUNNING",
    "pod/crasher",
    "pod cras",
    "pods",
    "pods -l app=crasher --show-events=true",
    "pod/crasher --show-events=false",
    "node node1",
    "deploy web",
    "deploy stuck",
    "rs -l app=stuck",
    "rs -l app=web",
    "svc web",
    "svc headless",
    "svc away",
    "svc kubernetes",
    "endpoints web",
    "ingress web",
    "ingress more",
    "ingress plain",
    "cm settings",
    "secret hidden",
    "sa robot",
    "ns bounded",
    "ns default",
    "pod nothing",
    "-f FILE",
    "lease -n none",
];

#[test]
fn pages_read_as_kubectls() {
    let Some((_, program)) = versions("kubectl").into_iter().find(|(version, _)| version == KUBECTL) else {
        println!("left out: needs kubectl {KUBECTL}");
        return;
    };
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let kubectl = cluster.kubectl.with_program(&program);
    kubectl.apply(&web(&image));
    kubectl.apply(&OBJECTS.replace("IMAGE", &image));
    let crash =
        "if [ -e /kept/seen ]; then exec sleep 3600; fi; touch /kept/seen; echo broken > /dev/termination-log; exit 3";
    let kept = "volumeMounts: [{name: kept, mountPath: /kept}]\n  volumes: [{name: kept, emptyDir: {}}]";
    kubectl.apply(&shell_pod("crasher", &image, crash, kept));
    kubectl.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    kubectl.wait_for(&["pod", "crasher"], "{.status.containerStatuses[0].restartCount}", "1", LATER);
    kubectl.wait_for(&["pod", "crasher"], "{.status.containerStatuses[0].ready}", "true", LATER);
    kubectl.wait_for(&["pod", "-l", "app=stuck"], "{.items[0].status.conditions[0].reason}", "Unschedulable", SOON);
    kubectl.wait_for(&["quota", "quota", "-n", "bounded"], "{.status.hard.pods}", "5", SOON);
    let first = |label: &str| kubectl.run(&["get", "pods", "-l", label, "-o", "jsonpath={.items[0].metadata.name}"]);
    let (pending, running) = (first("app=stuck"), first("app=web"));
    let two = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: hidden}\n";
    fs::write(cluster.folder().join("objects.yaml"), two).unwrap();
    let both = Both::new(kubectl.clone(), cluster.host(0), cluster.folder());
    let mut differences = Vec::new();
    for words in SAME {
        let words = format!("describe {}", words.replace("PENDING", &pending).replace("RUNNING", &running));
        // Something may happen between the two looks; not each time.
        let mut looks = (0..LOOKS).map(|_| both.difference(&words, "", ""));
        if looks.all(|look| look.is_some()) {
            differences.extend(both.difference(&words, "", ""));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// The other kinds that have pages, none of which needs a node; typed after `describe`.
const RULES: [&str; 23] = [
    "ds/agents",
    "sts/base",
    "role/reader",
    "clusterrole/looker",
    "clusterrole/edit",
    "rolebinding/readers",
    "clusterrolebinding/lookers",
    "quota/quota",
    "limits/range",
    "sc/fast",
    "pc/high",
    "endpointslice/slice",
    "netpol/policy",
    "netpol/all",
    "pdb/budget",
    "ingressclass/other",
    "job/once",
    "cronjob/nightly",
    "pv/disk",
    "pv/driven",
    "pvc/data",
    "hpa/web",
    "roles",
];

#[test]
fn pages_of_rules_and_sets_read_as_kubectls() {
    let Some((_, program)) = versions("kubectl").into_iter().find(|(version, _)| version == KUBECTL) else {
        println!("left out: needs kubectl {KUBECTL}");
        return;
    };
    let bare = Bare::start(&[]);
    let kubectl = bare.kubectl.with_program(&program);
    kubectl.apply(include_str!("described.yaml"));
    let status = r#"{"status":{"hard":{"pods":"5","requests.cpu":"2"},"used":{"pods":"1"}}}"#;
    kubectl.run(&["patch", "quota", "quota", "--subresource=status", "--type=merge", "-p", status]);
    let both = Both::new(kubectl, &bare.host, bare.folder.path());
    let of = |words: &&str| both.difference(&format!("describe {words}"), "", "");
    let differences: Vec<_> = RULES.iter().filter_map(of).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
