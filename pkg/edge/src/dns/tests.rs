// SPDX-License-Identifier: Apache-2.0

//! Names and what they stand for, as tables.

use super::*;
use crate::snapshot::{Endpoint, Port, Service, Snapshot};

fn port(name: &str, protocol: &str, port: u16) -> Port {
    Port { name: name.to_owned(), protocol: protocol.to_owned(), port }
}

fn endpoint(addresses: &[&str], hostname: Option<&str>, ready: bool, ports: Vec<Port>) -> Endpoint {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Endpoint { addresses, hostname: hostname.map(str::to_owned), ready, ports }
}

fn service(name: &str, cluster_ips: &[&str]) -> Service {
    Service {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        cluster_ips: cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..Service::default()
    }
}

pub(super) fn snapshot() -> Snapshot {
    let web = vec![port("http", "TCP", 8080)];
    let dual = Service {
        ports: vec![port("http", "TCP", 80), port("dns", "UDP", 53)],
        endpoints: vec![endpoint(&["10.42.0.5"], None, true, web.clone())],
        ..service("dual", &["10.43.0.7", "fd00:43::7"])
    };
    let headless = Service {
        ports: web.clone(),
        endpoints: vec![
            endpoint(&["10.42.0.2"], Some("web-0"), true, web.clone()),
            endpoint(&["10.42.0.3"], None, true, web.clone()),
            endpoint(&["fd00:42::3"], None, true, web.clone()),
            endpoint(&["10.42.0.4"], Some("web-2"), false, web.clone()),
        ],
        ..service("headless", &[])
    };
    let unready = Service {
        publish_not_ready: true,
        endpoints: vec![endpoint(&["10.42.0.9"], None, false, Vec::new())],
        ..service("unready", &[])
    };
    let alias = |name: &str, target: &str| Service { external_name: Some(target.to_owned()), ..service(name, &[]) };
    Snapshot {
        cluster_domain: "cluster.local".to_owned(),
        namespaces: vec!["default".to_owned(), "empty".to_owned()],
        services: vec![
            dual,
            headless,
            unready,
            service("none", &[]),
            alias("outside", "www.example.org"),
            alias("inside", "dual.default.svc.cluster.local"),
            Service { namespace: "kube-system".to_owned(), ..service("kube-dns", &["10.43.0.10"]) },
        ],
        ..Snapshot::default()
    }
}

/// The answer as lines: code, then each record's type and data; additionals after "+".
fn ask(name: &str, kind: RecordType) -> String {
    let zone = Zone::new(&snapshot(), 1);
    match answer(&zone, &Name::from_ascii(name).unwrap(), kind) {
        Answer::Forward => "forward".to_owned(),
        Answer::Cluster(reply) => {
            if reply.answers.is_empty() {
                assert_eq!(reply.authorities.len(), 1, "{name}: absence comes with the SOA");
            }
            assert!(reply.answers.iter().chain(&reply.additionals).all(|record| record.ttl == TTL));
            let line = |record: &Record| format!("{} {}", record.record_type(), record.data);
            let mut parts: Vec<String> = reply.answers.iter().map(line).collect();
            parts.sort();
            let mut more: Vec<String> = reply.additionals.iter().map(|record| format!("+{}", line(record))).collect();
            more.sort();
            parts.extend(more);
            parts.extend(reply.chase.map(|name| format!("chase {name}")));
            if parts.is_empty() { reply.code.to_string() } else { parts.join(", ") }
        }
    }
}

const NODATA: &str = "No Error";
const NXDOMAIN: &str = "Non-Existent Domain";

#[test]
fn addresses() {
    for (name, a, aaaa) in [
        ("dual.default.svc.cluster.local.", "A 10.43.0.7", "AAAA fd00:43::7"),
        ("DUAL.Default.SVC.cluster.LOCAL.", "A 10.43.0.7", "AAAA fd00:43::7"),
        ("headless.default.svc.cluster.local.", "A 10.42.0.2, A 10.42.0.3", "AAAA fd00:42::3"),
        ("web-0.headless.default.svc.cluster.local.", "A 10.42.0.2", NODATA),
        ("10-42-0-3.headless.default.svc.cluster.local.", "A 10.42.0.3", NODATA),
        ("fd00-42--3.headless.default.svc.cluster.local.", NODATA, "AAAA fd00:42::3"),
        ("10-42-0-5.dual.default.svc.cluster.local.", "A 10.42.0.5", NODATA),
        ("web-2.headless.default.svc.cluster.local.", NXDOMAIN, NXDOMAIN),
        ("unready.default.svc.cluster.local.", "A 10.42.0.9", NODATA),
        ("none.default.svc.cluster.local.", NXDOMAIN, NXDOMAIN),
        ("_http._tcp.dual.default.svc.cluster.local.", "A 10.43.0.7", "AAAA fd00:43::7"),
        ("10-1-2-3.default.pod.cluster.local.", "A 10.1.2.3", NODATA),
        ("fd00--9.default.pod.cluster.local.", NODATA, "AAAA fd00::9"),
        ("10-1-2-300.default.pod.cluster.local.", NXDOMAIN, NXDOMAIN),
        ("10-1-2-3.nowhere.pod.cluster.local.", NXDOMAIN, NXDOMAIN),
        ("ns.dns.cluster.local.", "A 10.43.0.10", NODATA),
    ] {
        assert_eq!(ask(name, RecordType::A), a, "{name} A");
        assert_eq!(ask(name, RecordType::AAAA), aaaa, "{name} AAAA");
    }
}

#[test]
fn names_with_something_below_them_are_no_data_and_others_do_not_exist() {
    for name in ["", "svc.", "pod.", "default.svc.", "empty.svc.", "empty.pod.", "dns."] {
        assert_eq!(ask(&format!("{name}cluster.local."), RecordType::A), NODATA, "{name}");
    }
    // What resolvers try with ndots:5 for names of the outside never leaves the node.
    for name in [
        "www.example.org.default.svc.",
        "www.example.org.svc.",
        "www.example.org.",
        "a.b.c.d.e.default.svc.",
        "nowhere.default.svc.",
        "nowhere.svc.",
        "dual.empty.svc.",
        "http.tcp.dual.default.svc.",
        "_nope._tcp.dual.default.svc.",
        "_http._udp.dual.default.svc.",
        "x.outside.default.svc.",
        "*.default.svc.",
    ] {
        assert_eq!(ask(&format!("{name}cluster.local."), RecordType::A), NXDOMAIN, "{name}");
    }
    assert_eq!(ask("dual.default.svc.cluster.local.", RecordType::MX), NODATA);
    assert_eq!(ask("www.example.org.", RecordType::A), "forward");
    assert_eq!(ask("xcluster.local.", RecordType::A), "forward");
    assert_eq!(ask("local.", RecordType::A), "forward");
}

#[test]
fn services_by_port() {
    let dual = "dual.default.svc.cluster.local.";
    let both = "+A 10.43.0.7, +AAAA fd00:43::7";
    assert_eq!(ask(&format!("_http._tcp.{dual}"), RecordType::SRV), format!("SRV 0 100 80 {dual}, {both}"));
    assert_eq!(ask(&format!("_DNS._UDP.{dual}"), RecordType::SRV), format!("SRV 0 100 53 {dual}, {both}"));
    assert_eq!(ask(dual, RecordType::SRV), format!("SRV 0 50 53 {dual}, SRV 0 50 80 {dual}, {both}"));
    let headless = "headless.default.svc.cluster.local.";
    assert_eq!(
        ask(&format!("_http._tcp.{headless}"), RecordType::SRV),
        format!(
            "SRV 0 33 8080 10-42-0-3.{headless}, SRV 0 33 8080 fd00-42--3.{headless}, SRV 0 33 8080 web-0.{headless}, \
             +A 10.42.0.2, +A 10.42.0.3, +AAAA fd00:42::3"
        )
    );
    assert_eq!(ask(&format!("_http._udp.{headless}"), RecordType::SRV), NXDOMAIN);
    assert_eq!(ask("unready.default.svc.cluster.local.", RecordType::SRV), NODATA, "no ports, no SRV");
}

#[test]
fn aliases_pointers_and_the_zone_itself() {
    let cname = "CNAME www.example.org.";
    assert_eq!(ask("outside.default.svc.cluster.local.", RecordType::CNAME), cname);
    assert_eq!(ask("outside.default.svc.cluster.local.", RecordType::A), format!("{cname}, chase www.example.org."));
    assert_eq!(
        ask("inside.default.svc.cluster.local.", RecordType::A),
        "A 10.43.0.7, CNAME dual.default.svc.cluster.local."
    );
    for (name, target) in [
        ("7.0.43.10.in-addr.arpa.", "PTR dual.default.svc.cluster.local."),
        ("2.0.42.10.in-addr.arpa.", "PTR web-0.headless.default.svc.cluster.local."),
        ("3.0.42.10.in-addr.arpa.", "PTR 10-42-0-3.headless.default.svc.cluster.local."),
        ("1.1.1.1.in-addr.arpa.", "forward"),
        ("43.10.in-addr.arpa.", "forward"),
        (
            "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.4.0.0.0.0.d.f.ip6.arpa.",
            "PTR dual.default.svc.cluster.local.",
        ),
    ] {
        assert_eq!(ask(name, RecordType::PTR), target, "{name}");
    }
    assert_eq!(ask("dns-version.cluster.local.", RecordType::TXT), "TXT 1.1.0");
    assert_eq!(ask("cluster.local.", RecordType::NS), "NS ns.dns.cluster.local.");
    assert_eq!(
        ask("cluster.local.", RecordType::SOA),
        "SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"
    );
}

#[test]
fn an_empty_or_odd_snapshot_answers_nothing_of_its_own() {
    let zone = Zone::new(&Snapshot::default(), 1);
    let name = Name::from_ascii("dual.default.svc.cluster.local.").unwrap();
    assert_eq!(answer(&zone, &name, RecordType::A), Answer::Forward);
    let mut odd = snapshot();
    odd.services.push(service(&"x".repeat(300), &["10.43.0.99"]));
    odd.services.push(service("", &["10.43.0.98"]));
    let zone = Zone::new(&odd, 1);
    assert!(matches!(answer(&zone, &name, RecordType::A), Answer::Cluster(reply) if reply.answers.len() == 1));
}
