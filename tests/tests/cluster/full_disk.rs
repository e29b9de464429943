// SPDX-License-Identifier: Apache-2.0
//! A server whose disk is full: it says so, goes on reading, loses nothing, and writes again once there is room.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use knarr_tests::cluster::{Folder, SOON, start_server};
use knarr_tests::hosts::Network;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;

/// A small file system over a folder; unmounted when dropped.
pub struct Small(PathBuf);

impl Small {
    pub fn mount(path: PathBuf, options: &str) -> Self {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "small"]).arg(&path).status();
        assert!(mount.unwrap().success());
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn config_map(name: &str, kib: usize) -> String {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(kib << 10).collect();
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{text: {text}}}\n")
}

#[test]
fn a_server_lives_on_with_a_full_disk() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("server");
    let data = folder.path().join("server");
    fs::create_dir(&data).unwrap();
    let small = Small::mount(data.clone(), "size=64m");
    let mut server = start_server(&host, folder.path(), &["--disable-scheduler", "--disable-controllers"]);
    let kubectl = Kubectl::new(&host, &data.join("admin.kubeconfig"));
    let create = |name: &str| kubectl.try_run(&["create", "-f", "-", "--request-timeout=20s"], &config_map(name, 900));
    assert_eq!(create("before").code, 0);

    fill(&data.join("filler"));
    let mut kept = vec!["before".to_owned()];
    let refused = (0..40).find_map(|i| {
        let (name, outcome) = (format!("c{i}"), create(&format!("c{i}")));
        if outcome.code != 0 {
            return Some(outcome);
        }
        kept.push(name);
        None
    });
    let refused = refused.expect("a full disk takes nothing");
    let pid = server.pid();
    eventually("the disk and the remedy are named", SOON, || {
        let outcome = create(&format!("no-{}", fastrand::u32(..)));
        if outcome.err.contains("the disk is full: free some of it") { Ok(()) } else { Err((&refused, outcome)) }
    });
    eventually("reads go on", SOON, || {
        let outcome = kubectl.try_run(&["get", "configmap", "before", "-o", "name"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome) }
    });
    eventually("the log says why", SOON, || {
        let log = server.log();
        if log.contains("No space left on device") { Ok(()) } else { Err(log) }
    });

    fs::remove_file(data.join("filler")).unwrap();
    eventually("there is room: it writes again", SOON, || {
        let outcome = create(&format!("after-{}", fastrand::u32(..)));
        if outcome.code == 0 { Ok(()) } else { Err(outcome) }
    });
    assert_eq!(server.pid(), pid);
    server.kill();
    server.restart();
    eventually("all that was acknowledged is there", SOON, || {
        let outcome = kubectl.try_run(&[&["get", "configmap", "-o", "name"][..], &names(&kept)].concat(), "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome) }
    });
    drop(server);
    drop(small);
}

fn names(kept: &[String]) -> Vec<&str> {
    kept.iter().map(String::as_str).collect()
}

/// Takes what is free, less a little.
fn fill(file: &std::path::Path) {
    let script = format!("dd if=/dev/zero of={0} bs=64k 2>/dev/null; truncate -s -2M {0}", file.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}
