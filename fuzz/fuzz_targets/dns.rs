// SPDX-License-Identifier: Apache-2.0

//! DNS packets from pods: whatever comes, an answer fits, answers this question, and is no question itself.
#![no_main]

use std::sync::LazyLock;

use knarr_edge::dns::{Zone, respond};
use knarr_edge::snapshot::{Endpoint, Port, Service, Snapshot};
use libfuzzer_sys::fuzz_target;

/// The most that goes into one datagram, and is asked for by the largest EDNS size.
const LARGEST: usize = 65_535;

static ZONE: LazyLock<Zone> = LazyLock::new(|| Zone::new(&snapshot(), 1));

fuzz_target!(|packet: &[u8]| {
    let mut answer = Vec::new();
    if respond(&ZONE, packet, &mut answer) {
        assert!((12..=LARGEST).contains(&answer.len()), "an answer has a header and fits");
        assert_eq!(answer[..2], packet[..2], "it answers this question");
        assert!(answer[2] & 0x80 != 0, "it says that it is an answer");
    }
});

/// A service with an address, one without, one that is a name elsewhere.
fn snapshot() -> Snapshot {
    let port = |port| Port { name: "http".to_owned(), protocol: "TCP".to_owned(), port };
    let service = |name: &str| Service { namespace: "default".to_owned(), name: name.to_owned(), ..Service::default() };
    let endpoint = Endpoint {
        addresses: vec!["10.42.0.2".parse().expect("an address")],
        hostname: Some("db-0".to_owned()),
        ready: true,
        ports: vec![port(8080)],
    };
    let web = Service { cluster_ips: vec!["10.43.0.2".parse().expect("an address")], ports: vec![port(80)], ..service("web") };
    let headless = Service { ports: vec![port(80)], endpoints: vec![endpoint], ..service("db") };
    let elsewhere = Service { external_name: Some("example.com".to_owned()), ..service("far") };
    Snapshot {
        cluster_domain: "cluster.local".to_owned(),
        namespaces: vec!["default".to_owned()],
        services: vec![web, headless, elsewhere],
        ..Snapshot::default()
    }
}
