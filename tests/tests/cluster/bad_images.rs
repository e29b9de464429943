// SPDX-License-Identifier: Apache-2.0
//! Images that are missing, damaged, hostile or too large: each is named in the pod's status and Events,
//! leaves nothing, and stops nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_tests::images::{Rootfs, pack_layers};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;
use serde_json::json;

use knarr_tests::cluster::{Cluster, LATER};

use crate::full_disk::Small;

#[test]
fn images_that_cannot_be_had_are_named() {
    let cluster = Cluster::start(1);
    let good = cluster.push_busybox();
    let kubectl = &cluster.kubectl;
    names_that_lead_nowhere(&cluster, &good);
    content_that_is_damaged(&cluster);
    layers_that_lead_out(&cluster);
    a_full_disk(&cluster);
    kubectl.apply(&pod("last", &good, ""));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/last", "--timeout=90s"]);
}

fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        r"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: c, image: '{image}', command: [sleep, '3600']{more}}}]
---
"
    )
}

/// Waits until the container waits for `reason`, with `words` in its message, and until a Warning says so too.
fn waits(kubectl: &Kubectl, pod: &str, reason: &str, words: &str) {
    eventually(&format!("{pod} waits for {reason}: {words}"), LATER, || {
        let waiting = kubectl.json(&["pod", pod])["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        let message = waiting["message"].as_str().unwrap_or_default();
        if waiting["reason"] == reason && message.contains(words) { Ok(()) } else { Err(waiting) }
    });
    eventually(&format!("an Event of {pod} says {words}"), LATER, || {
        let about = format!("involvedObject.name={pod},type=Warning");
        let events = kubectl.run(&["get", "events", "--field-selector", &about, "-o", "jsonpath={.items[*].message}"]);
        if events.contains(words) { Ok(()) } else { Err(events) }
    });
}

fn names_that_lead_nowhere(cluster: &Cluster, good: &str) {
    let kubectl = &cluster.kubectl;
    let missing = format!("{}/nothing:here", cluster.registry.address);
    let never = format!("{}/never:seen", cluster.registry.address);
    let away = "192.0.2.1:5000/x:1";
    kubectl.apply(
        &[
            pod("missing", &missing, ""),
            pod("odd", "not a name", ""),
            pod("never", &never, ", imagePullPolicy: Never"),
            pod("away", away, ""),
            pod("unset", good, ", env: [{name: A, valueFrom: {secretKeyRef: {name: no-secret, key: k}}}]"),
            pod("no-program", good, "").replace("sleep", "no-such-program"),
        ]
        .concat(),
    );
    waits(kubectl, "missing", "ImagePullBackOff", &format!("image {missing} not found: check its name and tag"));
    waits(kubectl, "odd", "InvalidImageName", "couldn't parse image name \"not a name\": invalid reference format");
    waits(kubectl, "never", "ErrImageNeverPull", "is not present with pull policy of Never");
    waits(kubectl, "away", "ImagePullBackOff", &format!("cannot pull {away}"));
    waits(kubectl, "unset", "CreateContainerConfigError", "secret \"no-secret\" not found");
    eventually("the missing program is named", LATER, || {
        let status = kubectl.json(&["pod", "no-program"])["status"]["containerStatuses"][0].clone();
        let text = status.to_string();
        if text.contains("StartError") && text.contains("no-such-program") { Ok(()) } else { Err(text) }
    });
    // What was missing is found once it is there: the node goes on asking.
    let rootfs = Rootfs::busybox();
    let _ = cluster.push(&rootfs, "nothing:here", &json!({"Cmd": ["sh"]}));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/missing", "--timeout=120s"]);
    // Another image is taken at once, by a pod that could not have its own and by one that runs.
    kubectl.run(&["set", "image", "pod/odd", &format!("c={good}")]);
    kubectl.run(&["set", "image", "pod/missing", &format!("c={good}")]);
    let image = "{.status.containerStatuses[0].image} {.status.containerStatuses[0].restartCount}";
    kubectl.wait_for(&["pod", "odd"], image, &format!("{good} 0"), LATER);
    kubectl.wait_for(&["pod", "missing"], image, &format!("{good} 1"), LATER);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/odd", "pod/missing", "--timeout=60s"]);
    kubectl.run(&["delete", "pod", "--all", "--wait"]);
}

/// Changes a byte of the largest blob that the registry has got since `before`.
fn damage(cluster: &Cluster, before: &[PathBuf]) {
    let fresh = blobs(cluster).into_iter().filter(|path| !before.contains(path));
    let largest = fresh.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() - 20;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
}

fn blobs(cluster: &Cluster) -> Vec<PathBuf> {
    let root = cluster.registry.folder().join("data/docker/registry/v2/blobs");
    let found = Command::new("find").arg(root).args(["-name", "data", "-type", "f"]).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(PathBuf::from).collect()
}

/// The layers and the work in progress of the node's image store.
fn kept(cluster: &Cluster) -> Vec<String> {
    let images = cluster.folder().join("node1/images");
    let names = |folder: &str| fs::read_dir(images.join(folder)).unwrap().flatten().map(|e| e.path());
    names("layers").chain(names("tmp")).map(|path| path.display().to_string()).collect()
}

fn content_that_is_damaged(cluster: &Cluster) {
    let before = blobs(cluster);
    let rootfs = Rootfs::new();
    rootfs.write("unique", "a layer of its own, and of some length");
    let image = cluster.push(&rootfs, "damaged:1", &json!({"Cmd": ["sh"]}));
    damage(cluster, &before);
    let layers = kept(cluster);
    cluster.kubectl.apply(&pod("damaged", &image, ""));
    eventually("the damage is named", LATER, || {
        let status = cluster.kubectl.json(&["pod", "damaged"])["status"]["containerStatuses"][0].clone();
        let text = status["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned();
        if text.contains("digest") || text.contains("malformed") { Ok(()) } else { Err(status) }
    });
    cluster.kubectl.run(&["delete", "pod", "damaged", "--wait"]);
    assert_eq!(kept(cluster), layers, "nothing of it is kept");
}

/// Pushes an image of one layer that holds `from` under the name `entry`.
fn hostile(cluster: &Cluster, name: &str, files: &[(&str, &str)]) -> String {
    let work = tempfile::tempdir().unwrap();
    let layer = work.path().join("layer.tar");
    fs::write(work.path().join("evil"), "evil").unwrap();
    for (entry, link) in files {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(work.path()).args(["--absolute-names", "-rf"]).arg(&layer);
        if link.is_empty() {
            tar.arg(format!("--transform=s,^evil$,{entry},")).arg("evil");
        } else {
            std::os::unix::fs::symlink(link, work.path().join(entry)).unwrap();
            tar.arg(entry);
        }
        assert!(tar.status().unwrap().success());
    }
    let archive = work.path().join("image.tar");
    pack_layers(&[layer], &archive, name, &json!({"Cmd": ["sh"]}));
    cluster.registry.push(&archive, name)
}

fn layers_that_lead_out(cluster: &Cluster) {
    let mark = format!("knarr-evil-{}", std::process::id());
    let up = format!("../../../../../../../../{mark}");
    let dotted = hostile(cluster, "dotted:1", &[(&up, "")]);
    cluster.kubectl.apply(&pod("dotted", &dotted, ""));
    waits(&cluster.kubectl, "dotted", "ImagePullBackOff", &format!("bad entry {up:?}"));
    // A link that leads out, then a file through it: whatever is made of it lies in the layer.
    let through = format!("out/{mark}");
    let linked = hostile(cluster, "linked:1", &[("out", "/"), (&through, "")]);
    cluster.kubectl.apply(&pod("linked", &linked, ""));
    eventually("the linked image is dealt with", LATER, || {
        let status = cluster.kubectl.json(&["pod", "linked"])["status"]["containerStatuses"][0].clone();
        let text = status.to_string();
        if text.contains("bad entry") || text.contains("StartError") { Ok(()) } else { Err(text) }
    });
    cluster.kubectl.run(&["delete", "pod", "dotted", "linked", "--wait"]);
    let above = cluster.folder().ancestors();
    let found: Vec<_> = above.chain([Path::new("/")]).map(|folder| folder.join(&mark)).filter(|p| p.exists()).collect();
    assert!(found.is_empty(), "{found:?}");
}

fn a_full_disk(cluster: &Cluster) {
    let rootfs = Rootfs::busybox();
    let mut noise = vec![0; 12 << 20];
    fastrand::Rng::new().fill(&mut noise);
    let text: String = noise.iter().map(|byte| char::from(b' ' + byte % 64)).collect();
    rootfs.write("large", &text);
    let image = cluster.push(&rootfs, "large:1", &json!({"Cmd": ["sh"]}));
    let images = cluster.folder().join("node1/images");
    let small = Small::mount(images.join("tmp"), "size=4m");
    cluster.kubectl.apply(&pod("large", &image, ""));
    waits(&cluster.kubectl, "large", "ImagePullBackOff", "not enough disk space for images in");
    assert_eq!(fs::read_dir(images.join("tmp")).unwrap().count(), 0, "what was begun is removed");
    drop(small);
    cluster.kubectl.run(&["wait", "--for=condition=Ready", "pod/large", "--timeout=120s"]);
}
