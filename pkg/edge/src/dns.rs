// SPDX-License-Identifier: Apache-2.0

//! Names of the cluster answered, others forwarded.
//!
//! What a name means is decided by [`answer`] from the index of one snapshot ([`Zone`]); the listeners read,
//! ask it, write, and send what it does not know to the host's resolvers.

mod cache;
mod forward;
mod server;
mod zone;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

pub(crate) use forward::Forwarder;
pub use server::respond;
pub(crate) use server::{Dns, serve_tcp, serve_udp};
pub use zone::Zone;
use zone::{Place, Target};

/// Seconds that clients may keep what the cluster's zone says, as upstream's default.
pub(crate) const TTL: u32 = 5;

/// The version of the Kubernetes DNS specification that is served, at dns-version.<zone>.
const SPECIFICATION: &str = "1.1.0";

/// What there is to say to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// From the cluster's zone.
    Cluster(Reply),
    /// Not the cluster's: the host's resolvers know.
    Forward,
}

/// An authoritative reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// NoError or NXDomain.
    pub code: ResponseCode,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The zone's SOA where there is no answer: how long clients may remember that.
    pub authorities: Vec<Record>,
    /// Addresses of what SRV records name.
    pub additionals: Vec<Record>,
    /// A name outside the zone that an alias leads to, still to be resolved.
    pub chase: Option<Name>,
}

/// Answers as the Kubernetes DNS specification has it and CoreDNS does it. Owner names are the query's own
/// spelling; comparison ignores case.
pub fn answer(zone: &Zone, name: &Name, kind: RecordType) -> Answer {
    if let Some(labels) = zone.within(name) {
        let place = zone.find(&labels);
        return Answer::Cluster(reply(zone, name, kind, place));
    }
    let pointers = if kind == RecordType::PTR { zone.pointers(name) } else { &[] };
    if pointers.is_empty() {
        return Answer::Forward;
    }
    let answers = pointers.iter().map(|target| record(name, RData::PTR(PTR(target.clone())))).collect();
    Answer::Cluster(Reply { answers, ..nothing(zone, ResponseCode::NoError) })
}

fn reply(zone: &Zone, name: &Name, kind: RecordType, place: Place<'_>) -> Reply {
    match place {
        Place::Nowhere => nothing(zone, ResponseCode::NXDomain),
        Place::Apex => match kind {
            RecordType::SOA => some(zone, vec![soa(zone)]),
            RecordType::NS => some(zone, vec![record(name, RData::NS(NS(zone.server.clone())))]),
            _ => nothing(zone, ResponseCode::NoError),
        },
        Place::Empty => nothing(zone, ResponseCode::NoError),
        Place::Version if kind == RecordType::TXT => {
            some(zone, vec![record(name, RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])))])
        }
        Place::Version => nothing(zone, ResponseCode::NoError),
        Place::Pod(address) => {
            let target = Target { addresses: std::slice::from_ref(&address), name, port: 0 };
            some(zone, target.addresses(name, kind).collect())
        }
        Place::Alias(target) => alias(zone, name, kind, target),
        Place::Targets(targets) if kind == RecordType::SRV => services(zone, name, &targets),
        Place::Targets(targets) => some(zone, addresses(&targets, name, kind)),
    }
}

fn alias(zone: &Zone, name: &Name, kind: RecordType, target: &Name) -> Reply {
    let mut reply = some(zone, vec![record(name, RData::CNAME(CNAME(target.clone())))]);
    if kind == RecordType::CNAME {
        return reply;
    }
    match zone.within(target).map(|labels| zone.find(&labels)) {
        None => reply.chase = Some(target.clone()),
        // One step within the zone: an alias of an alias is the client's to follow.
        Some(Place::Targets(targets)) => {
            reply.answers.extend(addresses(&targets, target, kind));
        }
        Some(_) => {}
    }
    reply
}

/// An endpoint has a target for each of its ports, and one address all the same.
fn addresses(targets: &[Target<'_>], owner: &Name, kind: RecordType) -> Vec<Record> {
    let mut seen = std::collections::HashSet::new();
    let all = targets.iter().flat_map(|target| target.addresses(owner, kind));
    all.filter(|record| seen.insert(record.data.ip_addr())).collect()
}

fn services(zone: &Zone, name: &Name, targets: &[Target<'_>]) -> Reply {
    let with_port: Vec<&Target<'_>> = targets.iter().filter(|target| target.port != 0).collect();
    let weight = 100 / u16::try_from(with_port.len().clamp(1, 100)).unwrap_or(100);
    let answers = with_port
        .iter()
        .map(|target| record(name, RData::SRV(SRV::new(0, weight, target.port, target.name.clone()))))
        .collect();
    let mut reply = some(zone, answers);
    let mut named: Vec<&Name> = Vec::new();
    for target in with_port {
        if !named.contains(&target.name) {
            named.push(target.name);
            for kind in [RecordType::A, RecordType::AAAA] {
                reply.additionals.extend(target.addresses(target.name, kind));
            }
        }
    }
    reply
}

impl Target<'_> {
    fn addresses(&self, owner: &Name, kind: RecordType) -> impl Iterator<Item = Record> {
        self.addresses.iter().filter_map(move |address| match (address, kind) {
            (std::net::IpAddr::V4(v4), RecordType::A) => Some(record(owner, RData::A(A(*v4)))),
            (std::net::IpAddr::V6(v6), RecordType::AAAA) => Some(record(owner, RData::AAAA(AAAA(*v6)))),
            _ => None,
        })
    }
}

/// A reply with these answers; the name exists, so none of them is NODATA.
fn some(zone: &Zone, answers: Vec<Record>) -> Reply {
    if answers.is_empty() {
        return nothing(zone, ResponseCode::NoError);
    }
    let code = ResponseCode::NoError;
    Reply { code, answers, authorities: Vec::new(), additionals: Vec::new(), chase: None }
}

fn nothing(zone: &Zone, code: ResponseCode) -> Reply {
    Reply { code, answers: Vec::new(), authorities: vec![soa(zone)], additionals: Vec::new(), chase: None }
}

fn soa(zone: &Zone) -> Record {
    let soa = SOA::new(zone.server.clone(), zone.contact.clone(), zone.serial, 7200, 1800, 86400, TTL);
    record(&zone.origin, RData::SOA(soa))
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

#[cfg(test)]
mod tests;
