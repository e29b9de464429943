// SPDX-License-Identifier: Apache-2.0
//! What a container is and may, told by the container itself: who runs, what it can write, how much it gets, how the
//! pod is called.

use knarr_tests::cluster::LATER;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;

/// Each container says one thing a line, and ends.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: confined}
spec:
  restartPolicy: Never
  hostname: host
  subdomain: group
  setHostnameAsFQDN: true
  dnsConfig: {searches: [more.test], options: [{name: ndots, value: "2"}, {name: edns0}]}
  securityContext:
    runAsUser: 1000
    runAsGroup: 3000
    fsGroup: 2000
    supplementalGroups: [4000]
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
  volumes: [{name: scratch, emptyDir: {}}, {name: maybe, configMap: {name: not-there, optional: true}}]
  containers:
  - name: who
    image: IMAGE
    command: [sh, -c, "id -u; id -g; id -G; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; hostname > /dev/stdout"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
  - name: writes
    image: IMAGE
    command: [sh, -c, "touch /x 2>/dev/null || echo no; touch /declared/x /tmp/x && stat -c '%a %u %g' /tmp /tmp/x; ls /maybe"]
    securityContext: {readOnlyRootFilesystem: true}
    volumeMounts: [{name: scratch, mountPath: /tmp, subPath: deep/tmp}, {name: maybe, mountPath: /maybe}]
  - name: gets
    image: IMAGE
    command: [sh, -c, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max; echo $CPU $MEMORY"]
    resources: {requests: {cpu: 50m}, limits: {cpu: 200m, memory: 24Mi}}
    env:
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - name: words
    image: IMAGE
    command: ["$(SHELL_OF)", -c]
    args: ["echo $(GREETING) '$$(GREETING)' '$(NOT_HERE)' '$(DECLARED)' $DECLARED"]
    env: [{name: SHELL_OF, value: sh}, {name: WHO, value: all}, {name: GREETING, value: hello-$(WHO)}]
  - {name: names, image: IMAGE, command: [cat, /etc/resolv.conf]}
---
apiVersion: v1
kind: Pod
metadata: {name: refused}
spec:
  restartPolicy: Never
  containers:
  - {name: rootless, image: IMAGE, command: ["true"], securityContext: {runAsNonRoot: true}}
  - name: nowhere
    image: IMAGE
    command: ["true"]
    volumeMounts: [{name: scratch, mountPath: /tmp, subPathExpr: of-$(NOBODY)}]
  volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: by-rule}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "if [ -e /kept/seen ]; then exit 1; fi; touch /kept/seen; exit 42"]
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: kept, mountPath: /kept}]
  volumes: [{name: kept, emptyDir: {}}]
"#;

/// What the containers of `confined` say.
const SAID: [(&str, &str); 5] = [
    (
        "who",
        "1000\n3000\n3000 2000 4000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n\
         host.group.default.svc.cluster.local\n",
    ),
    ("writes", "no\n2777 0 2000\n644 1000 2000\n"),
    ("gets", "25165824\n20000\n50 24\n"),
    ("words", "hello-all $(GREETING) $(NOT_HERE) $(DECLARED) by-the-image\n"),
    (
        "names",
        "search default.svc.cluster.local svc.cluster.local cluster.local more.test\nnameserver 10.43.0.10\n\
         options ndots:2 edns0\n",
    ),
];

/// The image has a volume `/declared` that everyone may write to, and the variable `DECLARED`.
pub fn containers_are_what_they_are_told_to_be(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&PODS.replace("IMAGE", image));
    kubectl.wait_for(&["pod", "confined"], "{.status.phase}", "Succeeded", LATER);
    for (container, said) in SAID {
        assert_eq!(kubectl.run(&["logs", "confined", "-c", container]), said, "{container}");
    }
    let waiting = "{range .status.containerStatuses[*]}{.state.waiting.reason}: {.state.waiting.message}; {end}";
    let refused = "CreateContainerConfigError: container has runAsNonRoot and image will run as root";
    let nowhere = "CreateContainerConfigError: missing value for \"NOBODY\"";
    eventually("what cannot be done is said", LATER, || {
        let said = kubectl.run(&["get", "pod", "refused", "-o", &format!("jsonpath={waiting}")]);
        if said.contains(refused) && said.contains(nowhere) { Ok(()) } else { Err(said) }
    });
    let by_rule = "{.status.phase} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.terminated.exitCode}";
    kubectl.wait_for(&["pod", "by-rule"], by_rule, "Failed 1 1", LATER);
    kubectl.run(&["delete", "pod", "confined", "refused", "by-rule", "--now"]);
}
