// SPDX-License-Identifier: Apache-2.0

//! From what a node knows of services to its table.
//!
//! A new connection is looked up once, by address, protocol and port (`services4`, `services6`) or, on an
//! address of the host, by protocol and port (`ports4`, `ports6`); the map's verdict leads to the chain of
//! that service port, which picks an endpoint. What is left over after that and still names a cluster IP is
//! refused. Everything here is one family at a time, IPv4 or IPv6: [`Family`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::ruleset::{Chain, Ruleset, Set};
use super::{Endpoint, Protocol, Service, ServicePort, Snapshot};
use crate::NodeId;

/// The packet mark of connections that need this node's address as their source: the bit that kube-proxy
/// uses for the same, so other software knows to leave it alone.
const MASQUERADE: &str = "0x4000";

/// The rules of a node for what it knows: same input, same output; what is odd in the input (addresses of a
/// wrong family, ports taken twice) is left out rather than breaking the rest.
pub fn plan(node: &NodeId, snapshot: &Snapshot) -> Ruleset {
    let mut rules = Ruleset { table: node.table(), ..Ruleset::default() };
    for (name, hook) in BASE_CHAINS {
        rules.chains.insert(name.to_owned(), Chain { hook: hook.to_owned(), rules: Vec::new() });
    }
    for family in [Family::V4, Family::V6] {
        Planner { rules: &mut rules, family, node, snapshot }.all();
    }
    for chain in ["prerouting", "output"] {
        rules.rule(chain, "jump services".to_owned());
    }
    rules.rule("refuse", "meta l4proto tcp reject with tcp reset".to_owned());
    rules.rule("refuse", "reject".to_owned());
    rules
}

const BASE_CHAINS: [(&str, &str); 8] = [
    ("prerouting", "type nat hook prerouting priority -100; policy accept;"),
    ("output", "type nat hook output priority -100; policy accept;"),
    ("postrouting", "type nat hook postrouting priority 100; policy accept;"),
    ("refuse-forwarded", "type filter hook forward priority 0; policy accept;"),
    ("refuse-sent", "type filter hook output priority 0; policy accept;"),
    ("refuse-received", "type filter hook input priority 0; policy accept;"),
    ("services", ""),
    ("refuse", ""),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    /// As nft's expressions name it.
    fn ip(self) -> &'static str {
        if self == Self::V4 { "ip" } else { "ip6" }
    }

    fn digit(self) -> char {
        if self == Self::V4 { '4' } else { '6' }
    }

    fn address_type(self) -> &'static str {
        if self == Self::V4 { "ipv4_addr" } else { "ipv6_addr" }
    }

    fn loopback(self) -> &'static str {
        if self == Self::V4 { "127.0.0.0/8" } else { "::1" }
    }

    fn multicast(self) -> &'static str {
        if self == Self::V4 { "224.0.0.0/4" } else { "ff00::/8" }
    }
}

impl Ruleset {
    fn rule(&mut self, chain: &str, rule: String) {
        self.chains.entry(chain.to_owned()).or_default().rules.push(rule);
    }

    fn set(&mut self, name: &str, map: bool, declaration: String) {
        self.sets.insert(name.to_owned(), Set { declaration, map, ..Set::default() });
    }

    /// The first to name a key has it: a port taken twice stays with its first owner.
    fn element(&mut self, set: &str, key: String, value: String) -> bool {
        let Some(set) = self.sets.get_mut(set) else { return false };
        if set.elements.contains_key(&key) {
            return false;
        }
        set.elements.insert(key, value);
        true
    }
}

struct Planner<'a> {
    rules: &'a mut Ruleset,
    family: Family,
    node: &'a NodeId,
    snapshot: &'a Snapshot,
}

impl Planner<'_> {
    fn all(mut self) {
        self.declare();
        self.dispatch();
        let snapshot = self.snapshot;
        for redirect in &snapshot.redirects {
            if self.family.has(redirect.from.ip()) && self.family.has(redirect.to.ip()) {
                let chain =
                    self.chain("local", &[&redirect.from.ip().to_string()], redirect.protocol, redirect.from.port());
                self.choose(&chain, redirect.protocol, &[redirect.to], None);
                self.service_key(redirect.from.ip(), redirect.protocol, redirect.from.port(), &chain);
                self.cluster_address(redirect.from.ip());
            }
        }
        let mut services: Vec<&Service> = snapshot.services.iter().collect();
        services.sort_by_key(|service| (&service.namespace, &service.name));
        for service in services {
            for port in &service.ports {
                self.service(service, port);
            }
        }
        self.host_ports();
        self.source_addresses();
    }

    /// A name of this family: "services" is services4 or services6.
    fn n(&self, name: &str) -> String {
        format!("{name}{}", self.family.digit())
    }

    fn declare(&mut self) {
        let address = self.family.address_type();
        let n = |name: &str| format!("{name}{}", self.family.digit());
        let rules = &mut *self.rules;
        rules.set(&n("services"), true, format!("type {address} . inet_proto . inet_service : verdict;"));
        rules.set(&n("ports"), true, "type inet_proto . inet_service : verdict;".to_owned());
        rules.set(&n("cluster"), false, format!("type {address}; flags interval;"));
        rules.set(&n("no-endpoints"), false, format!("type {address} . inet_proto . inet_service;"));
        rules.set(&n("no-endpoint-ports"), false, "type inet_proto . inet_service;".to_owned());
        rules.set(&n("hairpin"), false, format!("type {address} . {address};"));
        rules.set(&n("all-pods"), false, format!("type {address}; flags interval;"));
        rules.set(&n("own-pods"), false, format!("type {address}; flags interval;"));
        let all = self.snapshot;
        for (set, ranges) in
            [("all-pods", &all.cluster_cidrs), ("own-pods", &all.pod_cidrs), ("cluster", &all.service_cidrs)]
        {
            for range in ranges_of(ranges, self.family) {
                rules.element(&n(set), range, String::new());
            }
        }
    }

    /// The rules that do not depend on services.
    fn dispatch(&mut self) {
        let (ip, d) = (self.family.ip(), self.family.digit());
        let mut rule = |chain: &str, rule: String| self.rules.rule(chain, rule);
        rule(
            "services",
            format!(
                "{ip} daddr @cluster{d} {ip} saddr != @all-pods{d} fib saddr type != local \
                 meta mark set meta mark or {MASQUERADE}"
            ),
        );
        rule("services", format!("{ip} daddr . meta l4proto . th dport vmap @services{d}"));
        let not_loopback = format!("{ip} daddr != {}", self.family.loopback());
        rule("services", format!("{not_loopback} fib daddr type local meta l4proto . th dport vmap @ports{d}"));
        for chain in ["refuse-forwarded", "refuse-sent", "refuse-received"] {
            rule(chain, format!("ct state new {ip} daddr @cluster{d} goto refuse"));
            rule(chain, format!("ct state new {ip} daddr . meta l4proto . th dport @no-endpoints{d} goto refuse"));
        }
        rule(
            "refuse-received",
            format!("ct state new {not_loopback} meta l4proto . th dport @no-endpoint-ports{d} goto refuse"),
        );
    }

    /// A connection to a local pod that must not show its source gets the node's address: its link has none
    /// of its own to masquerade with. Others get the address of the link they leave by.
    fn source_addresses(&mut self) {
        let (ip, d) = (self.family.ip(), self.family.digit());
        let links = self.node.link_prefix();
        let node_address = self.snapshot.node_addresses.iter().find(|address| self.family.has(**address));
        let mut rule = |text: String| self.rules.rule("postrouting", text);
        if let Some(address) = node_address {
            rule(format!("{ip} saddr . {ip} daddr @hairpin{d} snat {ip} to {address} fully-random"));
            rule(format!(
                "oifname \"{links}*\" meta mark and {MASQUERADE} == {MASQUERADE} meta nfproto {} snat {ip} to {address} fully-random",
                if d == '4' { "ipv4" } else { "ipv6" }
            ));
        } else {
            rule(format!("{ip} saddr . {ip} daddr @hairpin{d} masquerade fully-random"));
        }
        if d == '6' {
            rule(format!("meta mark and {MASQUERADE} == {MASQUERADE} masquerade fully-random"));
        }
        rule(format!(
            "{ip} saddr @own-pods{d} {ip} daddr != @all-pods{d} {ip} daddr != {} masquerade fully-random",
            self.family.multicast()
        ));
    }

    fn service(&mut self, service: &Service, port: &ServicePort) {
        let family = self.family;
        let addresses =
            |list: &[IpAddr]| -> Vec<IpAddr> { list.iter().copied().filter(|ip| family.has(*ip)).collect() };
        let cluster_ips = addresses(&service.cluster_ips);
        let external: Vec<IpAddr> = addresses(&service.external_ips);
        let balanced: Vec<IpAddr> = addresses(&service.load_balancer_ips);
        for ip in &cluster_ips {
            self.cluster_address(*ip);
        }
        let all = usable(&port.endpoints, family, false);
        let node_port = port.node_port.filter(|_| !cluster_ips.is_empty());
        if all.is_empty() {
            for ip in external.iter().chain(&balanced) {
                self.rules.element(&self.n("no-endpoints"), key(*ip, port.protocol, port.port), String::new());
            }
            if let Some(node_port) = node_port {
                self.rules.element(&self.n("no-endpoint-ports"), port_key(port.protocol, node_port), String::new());
            }
            return;
        }
        for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.local && family.has(endpoint.address.ip())) {
            self.hairpin(endpoint.address.ip());
        }
        let names = [service.namespace.as_str(), service.name.as_str()];
        let affinity = service.affinity_seconds;
        let chain = self.chain("cluster", &names, port.protocol, port.port);
        self.choose(&chain, port.protocol, &all, affinity);
        let exposed = !external.is_empty() || !balanced.is_empty() || node_port.is_some();
        let local_chain = self.chain("node", &names, port.protocol, port.port);
        if service.internal_local || (exposed && service.external_local) {
            let local = usable(&port.endpoints, family, true);
            self.choose(&local_chain, port.protocol, &local, affinity);
        }
        let internal = if service.internal_local { &local_chain } else { &chain };
        for ip in cluster_ips {
            self.service_key(ip, port.protocol, port.port, internal);
        }
        if exposed {
            let outside = self.chain("external", &names, port.protocol, port.port);
            self.external(&outside, &chain, service.external_local.then_some(&local_chain));
            for ip in external {
                self.service_key(ip, port.protocol, port.port, &outside);
            }
            let guarded = self.source_ranges(service, port, &outside);
            for ip in balanced {
                self.service_key(ip, port.protocol, port.port, &guarded);
            }
            if let Some(node_port) = node_port {
                self.rules.element(&self.n("ports"), port_key(port.protocol, node_port), format!("goto {outside}"));
            }
        }
    }

    /// Traffic to an address that the outside knows. With policy Local, what comes from outside sees only
    /// this node's endpoints and keeps its source; pods and the host itself reach all of them, as upstream.
    fn external(&mut self, name: &str, chain: &str, local: Option<&String>) {
        let (ip, d) = (self.family.ip(), self.family.digit());
        let mark = format!("meta mark set meta mark or {MASQUERADE}");
        match local {
            None => self.rules.rule(name, format!("{mark} goto {chain}")),
            Some(local) => {
                self.rules.rule(name, format!("{ip} saddr @all-pods{d} goto {chain}"));
                self.rules.rule(name, format!("fib saddr type local {mark} goto {chain}"));
                self.rules.rule(name, format!("goto {local}"));
            }
        }
    }

    /// loadBalancerSourceRanges: a chain that lets only those through to `next`, or `next` itself.
    fn source_ranges(&mut self, service: &Service, port: &ServicePort, next: &str) -> String {
        if service.source_ranges.is_empty() {
            return next.to_owned();
        }
        let names = [service.namespace.as_str(), service.name.as_str()];
        let chain = self.chain("guard", &names, port.protocol, port.port);
        let ranges = ranges_of(&service.source_ranges, self.family);
        if !ranges.is_empty() {
            self.rules.rule(&chain, format!("{} saddr {{ {} }} goto {next}", self.family.ip(), ranges.join(", ")));
        }
        self.rules.rule(&chain, "drop".to_owned());
        chain
    }

    /// A chain that sends a connection to one of `targets`, at random or where the client went before.
    /// None at all (policy Local without an endpoint here) drops, as upstream.
    fn choose(&mut self, chain: &str, protocol: Protocol, targets: &[SocketAddr], affinity: Option<u32>) {
        let ip = self.family.ip();
        let proto = text(protocol);
        if protocol == Protocol::Udp {
            self.rules.udp_targets.extend(targets);
        }
        let Some(seconds) = affinity.filter(|_| targets.len() > 1) else {
            let rule = match targets {
                [] => "drop".to_owned(),
                [one] => format!("meta l4proto {proto} dnat {ip} to {one}"),
                many => {
                    let list = many.iter().enumerate().map(|(n, to)| format!("{n} : {} . {}", to.ip(), to.port()));
                    let list = list.collect::<Vec<_>>().join(", ");
                    format!("meta l4proto {proto} dnat {ip} to numgen random mod {} map {{ {list} }}", many.len())
                }
            };
            self.rules.rule(chain, rule);
            return;
        };
        let mut verdicts = Vec::new();
        for (n, target) in targets.iter().enumerate() {
            // Named after its endpoint, so that what clients have stays with it when others come and go.
            let sticky = format!("{chain}/{}", target.ip().to_string().replace(':', "."));
            let sticky = format!("{sticky}/{}", target.port());
            let clients = format!("{sticky}/clients");
            let declaration =
                format!("type {}; flags dynamic,timeout; timeout {seconds}s;", self.family.address_type());
            self.rules.set(&clients, false, declaration);
            self.rules.rule(&sticky, format!("update @{clients} {{ {ip} saddr }}"));
            self.rules.rule(&sticky, format!("meta l4proto {proto} dnat {ip} to {target}"));
            self.rules.rule(chain, format!("{ip} saddr @{clients} goto {sticky}"));
            verdicts.push(format!("{n} : goto {sticky}"));
        }
        self.rules.rule(chain, format!("numgen random mod {} vmap {{ {} }}", targets.len(), verdicts.join(", ")));
    }

    fn host_ports(&mut self) {
        let mut ports = self.snapshot.host_ports.clone();
        ports.sort();
        for port in ports {
            if !self.family.has(port.pod.ip()) || port.host_ip.is_some_and(|ip| !self.family.has(ip)) {
                continue;
            }
            let host = port.host_ip.filter(|ip| !ip.is_unspecified());
            let name = host.map_or_else(|| "any".to_owned(), |ip| ip.to_string());
            let chain = self.chain("host", &[&name], port.protocol, port.port);
            let free = match host {
                Some(ip) => self.service_key(ip, port.protocol, port.port, &chain),
                None => {
                    let key = port_key(port.protocol, port.port);
                    self.rules.element(&self.n("ports"), key, format!("goto {chain}"))
                }
            };
            if free {
                self.choose(&chain, port.protocol, &[port.pod], None);
                self.hairpin(port.pod.ip());
            }
        }
    }

    /// Interval sets refuse overlaps: an address within a range is there already.
    fn cluster_address(&mut self, ip: IpAddr) {
        if !self.snapshot.service_cidrs.iter().any(|range| range.contains(&ip)) {
            self.rules.element(&self.n("cluster"), ip.to_string(), String::new());
        }
    }

    fn hairpin(&mut self, pod: IpAddr) {
        self.rules.element(&self.n("hairpin"), format!("{pod} . {pod}"), String::new());
    }

    fn service_key(&mut self, ip: IpAddr, protocol: Protocol, port: u16, chain: &str) -> bool {
        self.rules.element(&self.n("services"), key(ip, protocol, port), format!("goto {chain}"))
    }

    /// The name of a chain: readable in `nft list`, and made only of characters that nft takes. What had to
    /// be replaced is told apart by its hash.
    fn chain(&self, kind: &str, names: &[&str], protocol: Protocol, port: u16) -> String {
        let mut name = format!("{kind}{}", self.family.digit());
        for part in names {
            let clean: String = part
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' })
                .take(63)
                .collect();
            name = format!("{name}/{clean}");
            if clean != *part {
                name = format!("{name}_{}", NodeId::of(part));
            }
        }
        format!("{name}/{}/{port}", text(protocol))
    }
}

/// Where a port's traffic goes: endpoints that are ready or, if none is, those that serve while they end.
fn usable(endpoints: &[Endpoint], family: Family, local_only: bool) -> Vec<SocketAddr> {
    let of = |terminating: bool| -> BTreeSet<SocketAddr> {
        endpoints
            .iter()
            .filter(|endpoint| family.has(endpoint.address.ip()) && (endpoint.local || !local_only))
            .filter(|endpoint| if terminating { endpoint.terminating } else { endpoint.ready })
            .map(|endpoint| endpoint.address)
            .collect()
    };
    let ready = of(false);
    (if ready.is_empty() { of(true) } else { ready }).into_iter().collect()
}

/// Ranges of a family without overlaps, which interval sets refuse.
fn ranges_of(ranges: &[IpNet], family: Family) -> Vec<String> {
    let own: Vec<IpNet> = ranges.iter().filter(|range| family.has(range.addr())).map(IpNet::trunc).collect();
    IpNet::aggregate(&own).iter().map(ToString::to_string).collect()
}

fn key(ip: IpAddr, protocol: Protocol, port: u16) -> String {
    format!("{ip} . {} . {port}", text(protocol))
}

fn port_key(protocol: Protocol, port: u16) -> String {
    format!("{} . {port}", text(protocol))
}

fn text(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
