// SPDX-License-Identifier: Apache-2.0
//! Rude clients: memory stays bounded, and others are served. The same program gives the figures of
//! `docs/benchmarks.md`, with more of everything.

use knarr_tests::cluster::Folder;
use knarr_tests::hosts::Network;
use knarr_tests::knarr::binary;

#[test]
fn rude_clients_are_bounded_and_others_served() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("server");
    let program = knarr_tests::manifest_folder().join("bench/abuse.py");
    let mut command = host.command("timeout");
    command.args(["--kill-after=5", "200", "python3"]).arg(program).arg(binary()).arg("--small");
    let output = command.env("TMPDIR", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    println!("{said}");
}
