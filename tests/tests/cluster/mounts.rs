// SPDX-License-Identifier: Apache-2.0
//! Mounts that are made after a container has started: which reach it, and which of its own reach the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use knarr_tests::cluster::{LATER, SOON};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::until;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: travel}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: host, hostPath: {path: HOST}}]
  containers:
  - name: gives
    image: IMAGE
    command: [sleep, "3600"]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: host, mountPath: /both, mountPropagation: Bidirectional}
    - {name: host, mountPath: /alone}
  - name: takes
    image: IMAGE
    command: [sleep, "3600"]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: host, mountPath: /in, mountPropagation: HostToContainer}
    - {name: host, mountPath: /alone}
    - {name: host, mountPath: /part, mountPropagation: HostToContainer, subPath: part}
"#;

/// A mount of memory on the host, which goes with the test.
struct Mounted(String);

impl Mounted {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let path = path.display().to_string();
        assert!(Command::new("mount").args(["-t", "tmpfs", "test", &path]).status().unwrap().success());
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).output();
    }
}

/// `host` is a folder that the test may use.
pub fn mounts_travel_as_they_are_told_to(kubectl: &Kubectl, image: &str, host: &Path) {
    fs::create_dir_all(host.join("part")).unwrap();
    kubectl.apply(&POD.replace("IMAGE", image).replace("HOST", &host.display().to_string()));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/travel", "--timeout=90s"]);
    let inside = |container: &str, script: &str| {
        kubectl.run(&["exec", "travel", "-c", container, "--", "sh", "-c", script]).trim_end().to_owned()
    };
    let sees = |container: &str, path: &str| inside(container, &format!("cat {path} 2>/dev/null || echo nothing"));

    let by_host = Mounted::new(&host.join("by-host"));
    fs::write(host.join("by-host/word"), "host").unwrap();
    for (container, folder, said) in [
        ("gives", "/both", "host"),
        ("gives", "/alone", "nothing"),
        ("takes", "/in", "host"),
        ("takes", "/alone", "nothing"),
    ] {
        assert_eq!(sees(container, &format!("{folder}/by-host/word")), said, "{container} {folder}");
    }
    let in_part = Mounted::new(&host.join("part/by-host"));
    fs::write(host.join("part/by-host/word"), "part").unwrap();
    assert_eq!(sees("takes", "/part/by-host/word"), "part");

    let mount = |folder: &str| format!("mkdir {folder} && mount -t tmpfs c {folder} && echo mine > {folder}/word");
    inside("gives", &mount("/both/given"));
    let given = host.join("given/word");
    assert_eq!(fs::read_to_string(&given).unwrap(), "mine\n", "what is mounted in the container is there on the host");
    assert_eq!(sees("takes", "/in/given/word"), "mine");
    assert_eq!(sees("takes", "/alone/given/word"), "nothing");
    for (container, path) in [("gives", "/alone/kept"), ("takes", "/in/kept-too"), ("takes", "/alone/kept-as-well")] {
        inside(container, &mount(path));
        assert_eq!(sees(container, &format!("{path}/word")), "mine");
        let name = Path::new(path).file_name().unwrap();
        assert!(!host.join(name).join("word").exists(), "{container} {path} stays in the container");
    }
    inside("gives", "umount /both/given");
    assert!(!given.exists(), "and it goes again");

    inside("gives", &mount("/both/left"));
    kubectl.run(&["delete", "pod", "travel", "--wait"]);
    let left = host.join("left");
    assert_eq!(fs::read_to_string(left.join("word")).unwrap(), "mine\n", "the host keeps what it was given");
    assert!(Command::new("umount").arg(&left).status().unwrap().success());
    drop((by_host, in_part));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&host.display().to_string()), "nothing else of it is left: {table}");
    what_the_host_keeps_to_itself_is_refused(kubectl, image, host);
}

/// A mount that the host does not share cannot be shared on.
fn what_the_host_keeps_to_itself_is_refused(kubectl: &Kubectl, image: &str, host: &Path) {
    let private = Mounted::new(&host.join("private"));
    assert!(Command::new("mount").args(["--make-private", &private.0]).status().unwrap().success());
    kubectl.apply(&POD.replace("IMAGE", image).replace("HOST", &private.0).replace("name: travel", "name: stays"));
    let waiting = "{.status.containerStatuses[*].state}";
    until("it is said", LATER, || {
        let said = kubectl.run(&["get", "pod", "stays", "-o", &format!("jsonpath={waiting}")]);
        (said.contains("is not on a shared mount") && said.contains("is not on a shared or slave mount"), said)
    });
    kubectl.run(&["delete", "pod", "stays", "--wait"]);
    until("the mount is free", SOON, || {
        let done = Command::new("umount").arg(&private.0).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    });
}
