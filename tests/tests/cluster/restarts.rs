// SPDX-License-Identifier: Apache-2.0
//! A container that ends so that all of its pod's containers start again.

use knarr_tests::cluster::LATER;
use knarr_tests::kubectl::Kubectl;

/// The init container counts its runs in a volume that stays; the first run of `asks` ends with 42, the second lives.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 30
  volumes: [{name: kept, emptyDir: {}}]
  initContainers:
  - {name: counts, image: IMAGE, command: [sh, -c, "echo run >> /kept/runs"], volumeMounts: [{name: kept, mountPath: /kept}]}
  - {name: beside, image: IMAGE, command: [sleep, "3600"], restartPolicy: Always}
  containers:
  - name: asks
    image: IMAGE
    command: [sh, -c, "if [ $(wc -l < /kept/runs) = 2 ]; then sleep 3600; fi; until [ -e /kept/go ]; do sleep 0.1; done; exit 42"]
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    volumeMounts: [{name: kept, mountPath: /kept}]
  - name: waits
    image: IMAGE
    # Neither the signal nor the hook may hold the others up.
    command: [sh, -c, "trap '' TERM; sleep 3600"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "touch /kept/hook; sleep 30"]}}}
    volumeMounts: [{name: kept, mountPath: /kept}]
  - {name: done, image: IMAGE, command: ["true"]}
"#;

/// Names, restarts and how the run before ended, of all containers.
const TOLD: &str = "{range .status['initContainerStatuses','containerStatuses'][*]}\
                    {.name} {.restartCount} {.lastState.terminated.exitCode} {.lastState.terminated.reason};{end}";

pub fn one_container_may_start_all_again(kubectl: &Kubectl, image: &str) {
    kubectl.apply(&POD.replace("IMAGE", image));
    let done = "{.status.containerStatuses[?(@.name=='done')].state.terminated.exitCode}";
    kubectl.wait_for(&["pod", "again"], done, "0", LATER);
    let (uid, address) = (kubectl.json(&["pod", "again"])["metadata"]["uid"].clone(), "{.status.podIP}");
    let ip = kubectl.run(&["get", "pod", "again", "-o", &format!("jsonpath={address}")]);
    kubectl.run(&["exec", "again", "-c", "waits", "--", "touch", "/kept/go"]);

    let told = "asks 1 42 Error;done 1 0 Completed;waits 1 137 RestartingAllContainers;";
    let running = "{.status.containerStatuses[?(@.name=='asks')].restartCount}{.status.phase}";
    kubectl.wait_for(&["pod", "again"], running, "1Running", LATER);
    kubectl.wait_for(&["pod", "again"], done, "0", LATER);
    let found = kubectl.run(&["get", "pod", "again", "-o", &format!("jsonpath={TOLD}")]);
    let mut found: Vec<&str> = found.split_inclusive(';').collect();
    assert_eq!(found.remove(0), "counts 1 0 Completed;");
    assert_eq!(found.remove(0), "beside 1 137 RestartingAllContainers;");
    found.sort_unstable();
    assert_eq!(found.concat(), told);
    assert_eq!(kubectl.run(&["exec", "again", "-c", "waits", "--", "cat", "/kept/runs"]), "run\nrun\n");
    let hook = kubectl.try_run(&["exec", "again", "-c", "waits", "--", "test", "-e", "/kept/hook"], "");
    assert_ne!(hook.code, 0, "the hook has not run");
    assert_eq!(kubectl.json(&["pod", "again"])["metadata"]["uid"], uid);
    assert_eq!(kubectl.run(&["get", "pod", "again", "-o", &format!("jsonpath={address}")]), ip);
    let condition = r#"{.status.conditions[?(@.type=="AllContainersRestarting")].status}"#;
    kubectl.wait_for(&["pod", "again"], condition, "False", LATER);
    kubectl.run(&["delete", "pod", "again", "--now"]);
}
