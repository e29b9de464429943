// SPDX-License-Identifier: Apache-2.0
//! Where images come from: registries that want a password, of the pod or of its account, and mirrors.

use knarr_tests::cluster::{Cluster, LATER, MIRRORED};
use knarr_tests::images::{PASSWORD, Registry, Rootfs};
use knarr_tests::wait::eventually;
use serde_json::json;

const PODS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
imagePullSecrets: [{name: login}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec: {containers: [{name: c, image: GUARDED}]}
---
apiVersion: v1
kind: Pod
metadata: {name: wrong}
spec: {containers: [{name: c, image: GUARDED}], imagePullSecrets: [{name: wrong}]}
---
apiVersion: v1
kind: Pod
metadata: {name: friend}
spec: {containers: [{name: c, image: GUARDED}], imagePullSecrets: [{name: wrong}, {name: login}]}
---
apiVersion: v1
kind: Pod
metadata: {name: account}
spec: {containers: [{name: c, image: GUARDED, imagePullPolicy: Always}], serviceAccountName: robot}
---
apiVersion: v1
kind: Pod
metadata: {name: mirrored}
spec: {containers: [{name: c, image: MIRRORED}]}
";

/// An image whose upper layer deletes a file and a folder of the lower one, and hides what another folder had.
fn push_layers(cluster: &Cluster) -> String {
    let (lower, upper) = (Rootfs::busybox(), Rootfs::empty());
    for path in ["kept/old", "hidden/old", "gone/old", "part/old", "part/stays"] {
        lower.write(path, "");
    }
    for path in ["kept/new", "hidden/new", "hidden/.wh..wh..opq", ".wh.gone", "part/.wh.old"] {
        upper.write(path, "");
    }
    let archive = cluster.folder().join("layers.tar");
    lower.pack_below(&upper, &archive, "layers:1", &json!({"Cmd": ["sh", "-c", "ls -d /*/old /*/new /*/stays /gone"]}));
    cluster.registry.push(&archive, "layers:1")
}

fn layers_show_as_one(cluster: &Cluster) {
    let image = push_layers(cluster);
    cluster.kubectl.run(&["run", "layers", "--restart=Never", &format!("--image={image}")]);
    cluster.kubectl.wait_for(&["pod", "layers"], "{.status.phase}", "Failed", LATER);
    let said = cluster.kubectl.run(&["logs", "layers"]);
    let paths: std::collections::BTreeSet<_> = said.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(
        paths.into_iter().collect::<Vec<_>>(),
        ["/hidden/new", "/kept/new", "/kept/old", "/part/stays"],
        "{said}"
    );
}

#[test]
fn images_come_with_passwords_and_from_mirrors() {
    let cluster = Cluster::start(1);
    let kubectl = &cluster.kubectl;
    let guarded = Registry::start_guarded(cluster.host(0), cluster.folder());
    let archive = cluster.folder().join("image.tar");
    Rootfs::busybox().pack(&archive, "busybox:1", &json!({"Cmd": ["sleep", "3600"]}));
    let image = guarded.push(&archive, "busybox:1");
    cluster.registry.push(&archive, "busybox:1");
    for (name, password) in [("login", PASSWORD), ("wrong", "guessed")] {
        let server = format!("--docker-server={}", guarded.address);
        let password = format!("--docker-password={password}");
        kubectl.run(&["create", "secret", "docker-registry", name, &server, "--docker-username=robot", &password]);
    }
    kubectl.apply(&PODS.replace("GUARDED", &image).replace("MIRRORED", &format!("{MIRRORED}/busybox:1")));
    let not_let_in = |pods: &[&str]| {
        for pod in pods {
            eventually(&format!("{pod} is not let in"), LATER, || {
                let status = kubectl.json(&["pod", pod])["status"]["containerStatuses"][0].clone();
                let waiting = &status["state"]["waiting"];
                let message = waiting["message"].as_str().unwrap_or_default();
                let says = ["registry refuses", &image, "imagePullSecrets"].iter().all(|word| message.contains(word));
                if says && waiting["reason"] == "ImagePullBackOff" { Ok(()) } else { Err(status) }
            });
        }
    };
    not_let_in(&["stranger", "wrong"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/friend", "pod/account", "pod/mirrored", "--timeout=90s"]);
    // The image is here now: for those who know the password, which nobody is asked for again.
    kubectl.run(&["delete", "pod", "stranger", "wrong", "--now"]);
    let (of_image, with_login) = (format!("--image={image}"), r#"{"spec": {"imagePullSecrets": [{"name": "login"}]}}"#);
    kubectl.run(&["run", "stranger", &of_image]);
    kubectl.run(&["run", "late", &of_image, "--overrides", with_login]);
    not_let_in(&["stranger"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/late", "--timeout=90s"]);
    eventually("the image is said to be here", LATER, || {
        let events = kubectl.run(&["events", "--for", "pod/late"]);
        let says = "already present on machine and can be accessed by the pod";
        if events.contains(says) { Ok(()) } else { Err(events) }
    });
    kubectl.run(&["delete", "pod", "stranger", "--now"]);
    layers_show_as_one(&cluster);
}
