// SPDX-License-Identifier: Apache-2.0

//! The index of a snapshot by name: what stands where in the cluster's zone.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::Name;

use crate::snapshot::{Endpoint, Port, Service, Snapshot};

/// The cluster's names, ready to be asked.
#[derive(Debug)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) server: Name,
    pub(super) contact: Name,
    pub(super) serial: u32,
    /// Who answers other names.
    pub(super) upstreams: Vec<SocketAddr>,
    namespaces: HashSet<Vec<u8>>,
    services: HashMap<Vec<u8>, Entry>,
    pointers: HashMap<IpAddr, Vec<Name>>,
}

/// What a name in the zone stands for.
pub(super) enum Place<'a> {
    Nowhere,
    Apex,
    /// A name with something below it, and nothing of its own.
    Empty,
    Version,
    Pod(IpAddr),
    Alias(&'a Name),
    Targets(Vec<Target<'a>>),
}

/// An address behind a name, and the name that SRV records give it. Port 0 is no port.
pub(super) struct Target<'a> {
    pub addresses: &'a [IpAddr],
    pub name: &'a Name,
    pub port: u16,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    cluster_ips: Vec<IpAddr>,
    ports: Vec<Port>,
    alias: Option<Name>,
    endpoints: Vec<Host>,
}

/// An endpoint by the name it has below its service.
#[derive(Debug)]
struct Host {
    label: Vec<u8>,
    name: Name,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
}

impl Zone {
    /// Indexes a snapshot. `serial` is the zone's: it rises with every snapshot.
    pub fn new(snapshot: &Snapshot, serial: u32) -> Self {
        let origin = absolute(&snapshot.cluster_domain).unwrap_or_else(Name::root);
        let below =
            |labels: &str| absolute(&format!("{labels}.{}", snapshot.cluster_domain)).unwrap_or_else(Name::root);
        let mut zone = Self {
            server: below("ns.dns"),
            contact: below("hostmaster"),
            origin,
            serial,
            upstreams: snapshot.upstreams.clone(),
            namespaces: snapshot.namespaces.iter().map(|name| name.to_ascii_lowercase().into_bytes()).collect(),
            services: HashMap::with_capacity(snapshot.services.len()),
            pointers: HashMap::new(),
        };
        for service in &snapshot.services {
            if let Some(entry) = entry(service, &snapshot.cluster_domain) {
                zone.point(&entry);
                zone.namespaces.insert(service.namespace.to_ascii_lowercase().into_bytes());
                zone.services.insert(key(service.name.as_bytes(), service.namespace.as_bytes()), entry);
            }
        }
        zone
    }

    fn point(&mut self, entry: &Entry) {
        for ip in &entry.cluster_ips {
            // A cluster IP is one service's; its own name comes before those of endpoints.
            self.pointers.entry(*ip).or_default().insert(0, entry.name.clone());
        }
        for host in &entry.endpoints {
            for ip in &host.addresses {
                self.pointers.entry(*ip).or_default().push(host.name.clone());
            }
        }
    }

    /// The labels of `name` before the zone's own, lower case, if it is in the zone.
    pub(super) fn within(&self, name: &Name) -> Option<Vec<Vec<u8>>> {
        if self.origin.is_root() || !self.origin.zone_of(name) {
            return None;
        }
        let count = usize::from(name.num_labels()).checked_sub(usize::from(self.origin.num_labels()))?;
        Some(name.iter().take(count).map(<[u8]>::to_ascii_lowercase).collect())
    }

    /// What a reverse name's address is called.
    pub(super) fn pointers(&self, name: &Name) -> &[Name] {
        let address = name.parse_arpa_name().ok().filter(|net| net.prefix_len() == net.max_prefix_len());
        address.and_then(|net| self.pointers.get(&net.addr())).map_or(&[], Vec::as_slice)
    }

    /// What stands at these labels. Everything within the zone ends here: searches for other names under it
    /// ("example.com.default.svc.<zone>") are found to be nowhere without asking anyone.
    pub(super) fn find(&self, labels: &[Vec<u8>]) -> Place<'_> {
        let Some((last, before)) = labels.split_last() else { return Place::Apex };
        match last.as_slice() {
            b"svc" => self.service(before),
            b"pod" => self.pod(before),
            b"dns-version" if before.is_empty() => Place::Version,
            b"dns" if before.is_empty() => Place::Empty,
            b"dns" if before.len() == 1 && before[0] == b"ns" => self.own_service(),
            _ => Place::Nowhere,
        }
    }

    fn namespace(&self, name: &[u8]) -> bool {
        self.namespaces.contains(name)
    }

    fn service(&self, labels: &[Vec<u8>]) -> Place<'_> {
        let Some((namespace, labels)) = labels.split_last() else { return Place::Empty };
        let Some((service, labels)) = labels.split_last() else {
            return if self.namespace(namespace) { Place::Empty } else { Place::Nowhere };
        };
        let Some(entry) = self.services.get(&key(service, namespace)) else { return Place::Nowhere };
        if let Some(alias) = &entry.alias {
            return if labels.is_empty() { Place::Alias(alias) } else { Place::Nowhere };
        }
        let targets = match labels {
            [] => entry.targets(|_| true),
            [endpoint] => entry.endpoint(endpoint),
            [port, protocol] => match (port.strip_prefix(b"_"), protocol.strip_prefix(b"_")) {
                (Some(port), Some(protocol)) => entry.targets(|it| {
                    it.name.as_bytes().eq_ignore_ascii_case(port)
                        && it.protocol.as_bytes().eq_ignore_ascii_case(protocol)
                }),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        if targets.is_empty() { Place::Nowhere } else { Place::Targets(targets) }
    }

    /// `<address with dashes>.<namespace>.pod`, said of any address, as CoreDNS's default does.
    fn pod(&self, labels: &[Vec<u8>]) -> Place<'_> {
        match labels {
            [] => Place::Empty,
            [namespace] if self.namespace(namespace) => Place::Empty,
            [address, namespace] if self.namespace(namespace) => dashed(address).map_or(Place::Nowhere, Place::Pod),
            _ => Place::Nowhere,
        }
    }

    /// The zone's name server: the DNS service, where the cluster has one.
    fn own_service(&self) -> Place<'_> {
        let entry = self.services.get(&key(b"kube-dns", b"kube-system"));
        entry.map_or(Place::Empty, |entry| Place::Targets(entry.targets(|_| true)))
    }
}

impl Entry {
    /// The targets whose port is chosen: the service itself or, of a headless one, its endpoints.
    fn targets(&self, chosen: impl Fn(&Port) -> bool) -> Vec<Target<'_>> {
        let any = chosen(&NO_PORT);
        if !self.cluster_ips.is_empty() {
            let target = |port| Target { addresses: &self.cluster_ips, name: &self.name, port };
            return ports(&self.ports, any, &chosen).map(target).collect();
        }
        let of_host = |host: &'_ Host| ports(&host.ports, any, &chosen).collect::<Vec<_>>();
        let targets = self.endpoints.iter().flat_map(|host| {
            of_host(host).into_iter().map(move |port| Target { addresses: &host.addresses, name: &host.name, port })
        });
        targets.collect()
    }

    fn endpoint(&self, label: &[u8]) -> Vec<Target<'_>> {
        let hosts = self.endpoints.iter().filter(|host| host.label == label);
        let targets = hosts.flat_map(|host| {
            ports(&host.ports, true, &|_| true).map(|port| Target {
                addresses: &host.addresses,
                name: &host.name,
                port,
            })
        });
        targets.collect()
    }
}

const NO_PORT: Port = Port { name: String::new(), protocol: String::new(), port: 0 };

/// The numbers of the chosen ports, or 0 where there are none and none was asked for.
fn ports<'a>(all: &'a [Port], any: bool, chosen: &'a impl Fn(&Port) -> bool) -> impl Iterator<Item = u16> + 'a {
    let none = (any && all.is_empty()).then_some(0);
    all.iter().filter(|port| chosen(port)).map(|port| port.port).chain(none)
}

fn entry(service: &Service, domain: &str) -> Option<Entry> {
    let full = format!("{}.{}.svc.{domain}", service.name, service.namespace);
    let ready = service.endpoints.iter().filter(|endpoint| endpoint.ready || service.publish_not_ready);
    Some(Entry {
        name: absolute(&full)?,
        cluster_ips: service.cluster_ips.clone(),
        ports: service.ports.clone(),
        alias: service.external_name.as_deref().and_then(absolute),
        endpoints: ready.filter_map(|endpoint| host(endpoint, &full)).collect(),
    })
}

fn host(endpoint: &Endpoint, service: &str) -> Option<Host> {
    let first = endpoint.addresses.first()?;
    let label = match &endpoint.hostname {
        Some(hostname) => hostname.to_ascii_lowercase(),
        None => first.to_string().replace(['.', ':'], "-"),
    };
    Some(Host {
        name: absolute(&format!("{label}.{service}"))?,
        label: label.into_bytes(),
        addresses: endpoint.addresses.clone(),
        ports: endpoint.ports.clone(),
    })
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn key(service: &[u8], namespace: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(service.len() + namespace.len() + 1);
    key.extend(service.iter().map(u8::to_ascii_lowercase));
    key.push(b'.');
    key.extend(namespace.iter().map(u8::to_ascii_lowercase));
    key
}

/// `10-42-0-7`, or an IPv6 address with dashes for its colons.
fn dashed(label: &[u8]) -> Option<IpAddr> {
    let label = std::str::from_utf8(label).ok()?;
    if label.bytes().filter(|byte| *byte == b'-').count() == 3
        && let Ok(v4) = label.replace('-', ".").parse::<Ipv4Addr>()
    {
        return Some(v4.into());
    }
    label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}
