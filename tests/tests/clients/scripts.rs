// SPDX-License-Identifier: Apache-2.0
//! The client libraries of Python and JavaScript: what each does is in the script beside this file.

use knarr_tests::clients::run_script;
use knarr_tests::cluster::Cluster;

fn walk(script: &str) {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let file = knarr_tests::manifest_folder().join("tests/clients").join(script);
    if let Some(said) = run_script(cluster.host(0), &cluster.kubectl, cluster.folder(), &file, &[&image]) {
        println!("{said}");
    }
}

#[test]
fn the_python_client_works() {
    walk("python.py");
}

#[test]
fn the_javascript_client_works() {
    walk("javascript.mjs");
}
