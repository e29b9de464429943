// SPDX-License-Identifier: Apache-2.0
//! What ordinary charts ask of a node: hooks, sidecars, probes, volumes of all kinds, limits.

use std::fs;

use knarr_tests::images::Rootfs;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::{eventually, until};

use knarr_tests::cluster::{Cluster, LATER, SOON};
use serde_json::json;

use crate::confined::containers_are_what_they_are_told_to_be;

/// The whole of it: an init container, a sidecar, and a container with everything.
const FULL: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, other: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: full, labels: {shade: dark}}
spec:
  terminationGracePeriodSeconds: 10
  shareProcessNamespace: true
  hostAliases: [{ip: 192.0.2.7, hostnames: [elsewhere.test]}]
  securityContext: {fsGroup: 2000, sysctls: [{name: net.ipv4.ip_local_port_range, value: "2000 3000"}]}
  initContainers:
  - {name: first, image: IMAGE, command: [sh, -c, 'echo begun > /scratch/order'], volumeMounts: [{name: scratch, mountPath: /scratch}]}
  - name: beside
    image: IMAGE
    restartPolicy: Always
    command: [sh, -c, 'echo beside >> /scratch/order; sleep 1; touch /tmp/up; exec sleep 7777']
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 30}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, 'echo main >> /scratch/order; mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www']
    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 30}
    lifecycle:
      postStart: {exec: {command: [sh, -c, 'echo hooked > /scratch/hook']}}
      preStop: {exec: {command: [sh, -c, 'echo stopped > /host/stopped']}}
    resources: {limits: {memory: 32Mi}}
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /one/color, subPath: color}
    - {name: scratch, mountPath: /mine, subPathExpr: of-$(NAME)}
    - {name: memory, mountPath: /memory}
    - {name: all, mountPath: /all}
    - {name: host, mountPath: /host}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: settings, configMap: {name: settings}}
  - {name: host, hostPath: {path: HOST, type: DirectoryOrCreate}}
  - name: all
    projected:
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 600, audience: vault}
      - configMap: {name: settings, items: [{key: color, path: deep/color}]}
      - secret: {name: hidden}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"#;

#[test]
fn pods_get_what_charts_ask_for() {
    let cluster = Cluster::start(1);
    let image = push_image(&cluster);
    let kubectl = &cluster.kubectl;
    let host = cluster.folder().join("host");
    kubectl.apply(&FULL.replace("IMAGE", &image).replace("HOST", &host.display().to_string()));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/full", "--timeout=90s"]);

    containers_start_in_order(kubectl);
    volumes_show_what_they_should(kubectl);
    volumes_follow_their_objects(kubectl);
    the_pod_is_set_up_as_asked(kubectl);
    a_debugger_looks_into_it(kubectl, &image);
    events_tell_its_story(kubectl);

    kubectl.run(&["delete", "pod", "full", "--wait"]);
    assert_eq!(fs::read_to_string(host.join("stopped")).unwrap(), "stopped\n", "the preStop hook has run");
    last_words_are_kept(kubectl, &image);
    pods_that_take_too_much_are_ended(kubectl, &image);
    failing_probes_restart_a_container(kubectl, &image);
    the_host_is_shared_when_asked_for(kubectl, &image);
    containers_are_what_they_are_told_to_be(kubectl, &image);
}

/// Busybox with a volume and a variable of its own.
fn push_image(cluster: &Cluster) -> String {
    let rootfs = Rootfs::busybox();
    rootfs.make_dir("declared", 0o777);
    let config = json!({"Cmd": ["sh"], "Env": ["DECLARED=by-the-image"], "Volumes": {"/declared": {}}});
    cluster.push(&rootfs, "charts:test", &config)
}

fn shell(kubectl: &Kubectl, script: &str) -> String {
    kubectl.run(&["exec", "full", "-c", "main", "--", "sh", "-c", script])
}

fn containers_start_in_order(kubectl: &Kubectl) {
    assert_eq!(shell(kubectl, "cat /scratch/order"), "begun\nbeside\nmain\n");
    let pod = kubectl.json(&["pod", "full"]);
    let statuses = &pod["status"]["initContainerStatuses"];
    assert_eq!(statuses[0]["state"]["terminated"]["reason"], "Completed", "{statuses}");
    assert_eq!((&statuses[1]["started"], &statuses[1]["ready"]), (&true.into(), &true.into()), "{statuses}");
    assert_eq!(shell(kubectl, "cat /scratch/hook"), "hooked\n");
    let of_ready = r#"{.status.conditions[?(@.type=="Ready")]['status','reason','message']}"#;
    kubectl.wait_for(&["pod", "full"], of_ready, "True", SOON);
}

fn volumes_show_what_they_should(kubectl: &Kubectl) {
    for (script, shown) in [
        ("cat /settings/color /one/color /all/deep/color", "blueblueblue"),
        ("cat /all/password /all/labels", "s3cretshade=\"dark\""),
        ("touch /mine/file; ls /scratch/of-full", "file\n"),
        ("dd if=/dev/zero of=/memory/file bs=1M count=2 2>/dev/null; stat -c %s /memory/file", "1048576\n"),
        ("stat -c %a-%g /all/..data/token /scratch", "640-2000\n2777-2000\n"),
        (
            "cut -d. -f2 /all/token | tr _- /+ | base64 -d 2>/dev/null | grep -o '\"aud\":\\[\"vault\"\\]'",
            "\"aud\":[\"vault\"]\n",
        ),
    ] {
        assert_eq!(shell(kubectl, script), shown, "{script}");
    }
}

fn volumes_follow_their_objects(kubectl: &Kubectl) {
    kubectl.run(&["patch", "configmap", "settings", "-p", r#"{"data":{"color":"red"}}"#]);
    kubectl.run(&["label", "pod", "full", "shade=light", "--overwrite"]);
    until("the volumes follow", SOON, || {
        let shown = shell(kubectl, "cat /settings/color /all/deep/color /all/labels");
        (shown == "redredshade=\"light\"", shown)
    });
    assert_eq!(shell(kubectl, "cat /one/color"), "blue", "a subPath stays what it was");
}

fn the_pod_is_set_up_as_asked(kubectl: &Kubectl) {
    let hosts = shell(kubectl, "cat /etc/hosts");
    assert!(hosts.lines().any(|line| line.split_whitespace().eq(["192.0.2.7", "elsewhere.test"])), "{hosts}");
    assert_eq!(shell(kubectl, "cat /proc/sys/net/ipv4/ip_local_port_range"), "2000\t3000\n");
    let processes = shell(kubectl, "ps");
    assert!(processes.contains("sleep 7777") && processes.contains("httpd"), "{processes}");
}

fn a_debugger_looks_into_it(kubectl: &Kubectl, image: &str) {
    let look = ["--", "sh", "-c", "ps; id -u"];
    let debug = ["debug", "full", "--image", image, "--target=main", "-c", "debugger", "-q"];
    kubectl.run(&[&debug[..], &look].concat());
    let ended = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}";
    kubectl.wait_for(&["pod", "full"], ended, "0", SOON);
    let log = kubectl.run(&["logs", "full", "-c", "debugger"]);
    assert!(log.contains("httpd -f"), "{log}");
    kubectl.wait_for(&["pod", "full"], "{.status.phase}", "Running", SOON);
}

fn events_tell_its_story(kubectl: &Kubectl) {
    eventually("the pod's events are written", SOON, || {
        let events = kubectl.run(&["get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.involvedObject.kind}/{.involvedObject.name} {.involvedObject.fieldPath}{\"\\n\"}{end}"]);
        let wanted = [
            "Scheduled Pod/full",
            "Pulling Pod/full spec.initContainers{first}",
            "Pulled Pod/full spec.containers{main}",
            "Created Pod/full spec.initContainers{beside}",
            "Started Pod/full spec.containers{main}",
            "Started Pod/full spec.ephemeralContainers{debugger}",
            "Starting Node/node1",
            "NodeReady Node/node1",
        ];
        let missing: Vec<_> = wanted.iter().filter(|line| !events.contains(**line)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} missing in\n{events}")) }
    });
}

fn last_words_are_kept(kubectl: &Kubectl, image: &str) {
    kubectl.apply(
        &r#"
apiVersion: v1
kind: Pod
metadata: {name: words}
spec:
  restartPolicy: Never
  activeDeadlineSeconds: 600
  containers:
  - {name: file, image: IMAGE, command: [sh, -c, 'echo -n my words > /tmp/words'], terminationMessagePath: /tmp/words}
  - {name: log, image: IMAGE, command: [sh, -c, 'echo said; exit 3'], terminationMessagePolicy: FallbackToLogsOnError}
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  activeDeadlineSeconds: 1
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sleep, "3600"]}]
"#
        .replace("IMAGE", image),
    );
    kubectl.wait_for(&["pod", "words"], "{.status.phase}", "Failed", LATER);
    let path = "{range .status.containerStatuses[*]}{.state.terminated.exitCode}:{.state.terminated.message};{end}";
    let words = kubectl.run(&["get", "pod", "words", "-o", &format!("jsonpath={path}")]);
    assert_eq!(words, "0:my words;3:said\n;");
    kubectl.wait_for(&["pod", "late"], "{.status.phase}/{.status.reason}", "Failed/DeadlineExceeded", LATER);
}

fn pods_that_take_too_much_are_ended(kubectl: &Kubectl, image: &str) {
    let write = "dd if=/dev/zero of=/DIR/file bs=1M count=20; exec sleep 3600";
    kubectl.apply(
        &r#"
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, 'WRITE'], volumeMounts: [{name: v, mountPath: /DIR}]}]
  volumes: [{name: v, emptyDir: {sizeLimit: 5Mi}}]
---
apiVersion: v1
kind: Pod
metadata: {name: root}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: IMAGE, command: [sh, -c, 'mkdir /DIR; WRITE'], resources: {limits: {ephemeral-storage: 5Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: memory}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: IMAGE, command: [sh, -c, 'tail /dev/zero'], resources: {limits: {memory: 8Mi}}}
"#
        .replace("WRITE", write)
        .replace("DIR", "data")
        .replace("IMAGE", image),
    );
    for (pod, words) in [("volume", "Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". "), ("root", "5Mi. ")] {
        kubectl.wait_for(&["pod", pod], "{.status.phase}/{.status.reason}", "Failed/Evicted", LATER);
        let message = kubectl.json(&["pod", pod])["status"]["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with(words), "{message}");
    }
    let reason = "{.status.containerStatuses[0].state.terminated.reason}";
    kubectl.wait_for(&["pod", "memory"], reason, "OOMKilled", LATER);
}

fn failing_probes_restart_a_container(kubectl: &Kubectl, image: &str) {
    let script = "touch /tmp/well; sleep 2; rm /tmp/well; exec sleep 3600";
    kubectl.apply(
        &r#"
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, 'SCRIPT']
    livenessProbe: {exec: {command: [cat, /tmp/well]}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 1}
"#
        .replace("SCRIPT", script)
        .replace("IMAGE", image),
    );
    until("the container is restarted", LATER, || {
        let count = kubectl.run(&["get", "pod", "sick", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"]);
        (count.parse::<u32>().unwrap_or(0) > 0, count)
    });
    eventually("its events say why", SOON, || {
        let events = kubectl.run(&["get", "events", "--field-selector=involvedObject.name=sick", "-o", "wide"]);
        let unhealthy = "Liveness probe failed: cat: can't open '/tmp/well'";
        let killing = "Container c failed liveness probe, will be restarted";
        if events.contains(unhealthy) && events.contains(killing) { Ok(()) } else { Err(events) }
    });
    kubectl.run(&["delete", "pod", "sick", "--wait"]);
}

fn the_host_is_shared_when_asked_for(kubectl: &Kubectl, image: &str) {
    kubectl.apply(
        &r#"
apiVersion: v1
kind: Pod
metadata: {name: hosty}
spec:
  hostNetwork: true
  hostPID: true
  hostIPC: true
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sleep, "3600"]}]
"#
        .replace("IMAGE", image),
    );
    kubectl.run(&["wait", "--for=condition=Ready", "pod/hosty", "--timeout=60s"]);
    let pod = kubectl.json(&["pod", "hosty"]);
    assert_eq!(pod["status"]["podIP"], pod["status"]["hostIP"]);
    let inside = |script: &str| kubectl.run(&["exec", "hosty", "--", "sh", "-c", script]);
    let ipc = fs::read_link("/proc/self/ns/ipc").unwrap();
    assert_eq!(inside("readlink /proc/self/ns/ipc").trim_end(), ipc.to_string_lossy());
    let name = std::env::current_exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let command = inside(&format!("tr '\\0' ' ' < /proc/{}/cmdline", std::process::id()));
    assert!(command.contains(&name), "{command}");
}
