// SPDX-License-Identifier: Apache-2.0
//! Names of the rest of the world, as pods find them: by the host's resolver, remembered, over TCP where they are long.

use knarr_tests::cluster::{Cluster, SOON};
use knarr_tests::images::Rootfs;
use knarr_tests::resolver::{LARGE, LARGE_ADDRESS, Resolver, SMALL, SMALL_ADDRESS};
use knarr_tests::wait::eventually;
use serde_json::json;

/// Asks the C library, which asks again over TCP when it is told to.
const BY_NAME: &str = r#"print join(".", unpack("C4", scalar gethostbyname($ARGV[0])))"#;

#[test]
fn names_outside_the_cluster_are_asked_of_the_hosts_resolver() {
    let cluster = Cluster::start(1);
    let resolver = Resolver::start(cluster.host(0));
    let rootfs = Rootfs::busybox().with_program("/usr/bin/perl");
    rootfs.write("by-name.pl", BY_NAME);
    let image = cluster.push(&rootfs, "asker:1", &json!({"Cmd": ["sleep", "3600"]}));
    let kubectl = &cluster.kubectl;
    kubectl.run(&["run", "asker", "--image", &image]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/asker", "--timeout=90s"]);
    let inside = |script: &str| kubectl.try_run(&["exec", "asker", "--", "sh", "-c", script], "").out;

    for (name, address) in [(SMALL, SMALL_ADDRESS), (LARGE, LARGE_ADDRESS)] {
        eventually(&format!("{name} is found"), SOON, || {
            let found = inside(&format!("perl /by-name.pl {name}"));
            if found == address.to_string() { Ok(()) } else { Err(found) }
        });
    }
    assert!(resolver.asked(LARGE).1 > 0, "what is too long for a datagram was asked for over TCP");
    assert_eq!(resolver.asked(SMALL).1, 0, "what is not was not");
    eventually("what is known is not asked for again", SOON, || {
        let before = resolver.asked(SMALL);
        let said = inside(&format!("for i in 1 2 3; do nslookup {SMALL}. 2>&1; done"));
        let known = said.matches(&SMALL_ADDRESS.to_string()).count() == 3 && resolver.asked(SMALL) == before;
        if known { Ok(()) } else { Err((said, before, resolver.asked(SMALL))) }
    });
    eventually("absence is remembered too", SOON, || {
        let said = inside("nslookup missing.test. 2>&1");
        let before = resolver.asked("missing.test");
        let again = inside("nslookup missing.test. 2>&1");
        let known = said.contains("NXDOMAIN") && again.contains("NXDOMAIN") && before == resolver.asked("missing.test");
        if known && before.0 > 0 { Ok(()) } else { Err((said, again)) }
    });
    let searched: Vec<_> = resolver.names().into_iter().filter(|name| name.ends_with("cluster.local")).collect();
    assert!(searched.is_empty(), "the cluster's own names stay in it: {searched:?}");
}
