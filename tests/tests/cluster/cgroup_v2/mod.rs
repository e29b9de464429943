// SPDX-License-Identifier: Apache-2.0
//! A host that has cgroup v2 alone, as today's distributions do: a virtual machine, whatever this one has.

use std::fs;

use knarr_tests::cluster::Folder;
use knarr_tests::images::Rootfs;
use knarr_tests::machine;
use serde_json::json;

#[test]
fn limits_hold_on_cgroup_v2_alone() {
    let folder = Folder::new();
    let files = folder.path().join("files");
    fs::create_dir(&files).unwrap();
    Rootfs::busybox().pack(&files.join("busybox.tar"), "test/busybox:1", &json!({"Cmd": ["sh"]}));
    let Some(said) = machine::run(folder.path(), &files, include_str!("run.sh")) else { return };
    let says = |want: &str| assert!(said.lines().any(|line| line == want), "no {want:?}: {said}");
    says("hungry: OOMKilled");
    says("curious: 1 head: /tmp/memory: Operation not permitted ");
    for want in [
        "container cpu.weight: 20",
        "container cpu.max: 100000 100000",
        "container memory.max: 100663296",
        "pod cpu.weight: 20",
        "pod cpu.max: 100000 100000",
        "pod memory.max: 134217728",
        "restarts: 0",
    ] {
        says(&format!("resized {want}"));
    }
    for place in ["machine", "box"] {
        for want in [
            // 250m of 1000m is 256 shares of 1024, the 10th weight.
            "container cpu.weight: 10",
            "pod cpu.weight: 10",
            "container cpu.max: 50000 100000",
            "pod cpu.max: 50000 100000",
            "container memory.max: 67108864",
            // The shim has 32 MiB beside it.
            "pod memory.max: 100663296",
            "inside: 0::/ 67108864 ",
            "up ends: 0",
            "left: ",
        ] {
            says(&format!("{place} {want}"));
        }
    }
}
