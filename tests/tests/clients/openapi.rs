// SPDX-License-Identifier: Apache-2.0
//! Requests made up from our own OpenAPI: no panic, and no failure that is not meant.

use knarr_tests::clients::run_script;
use knarr_tests::cluster::Bare;

/// Each operation is tried so often: about 12,000 requests.
const REQUESTS: &str = "20";

#[test]
fn no_request_by_the_documents_makes_the_server_fail() {
    let bare = Bare::start(&[]);
    let file = knarr_tests::manifest_folder().join("tests/clients/openapi.py");
    let seed = std::env::var("KNARR_SEED").unwrap_or_else(|_| "1".into());
    let Some(said) = run_script(&bare.host, &bare.kubectl, bare.folder.path(), &file, &[&seed, REQUESTS]) else {
        return;
    };
    println!("{said}");
    let log = bare.server.log();
    assert!(!log.contains("panicked"), "{said}");
    bare.kubectl.run(&["get", "--raw", "/readyz"]);
}
