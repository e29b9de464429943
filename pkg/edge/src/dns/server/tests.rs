// SPDX-License-Identifier: Apache-2.0

//! Packets as clients send them, and as they should not.

use super::*;
use hickory_proto::op::Query;
use proptest::prelude::*;

use crate::snapshot::{Endpoint, Service, Snapshot};

fn zone() -> Zone {
    let endpoint = |n: u32| Endpoint {
        addresses: vec![std::net::IpAddr::V4((0x0a2a_0000 + n).into())],
        hostname: None,
        ready: true,
        ports: Vec::new(),
    };
    let many = Service {
        namespace: "default".to_owned(),
        name: "many".to_owned(),
        endpoints: (2..102).map(endpoint).collect(),
        ..Service::default()
    };
    let snapshot = Snapshot { cluster_domain: "cluster.local".to_owned(), services: vec![many], ..Snapshot::default() };
    Zone::new(&snapshot, 1)
}

fn query(name: &str, edns: Option<u16>) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message
}

fn reply(packet: &[u8]) -> Message {
    match step(&zone(), packet) {
        Step::Reply(reply) => reply,
        _ => panic!("no reply"),
    }
}

#[test]
fn what_does_not_fit_is_cut_and_marked() {
    let name = "many.default.svc.cluster.local.";
    for (edns, largest) in [(None, 512), (Some(200), 512), (Some(1000), 1000), (Some(65535), 1232)] {
        let reply = reply(&query(name, edns).to_vec().unwrap());
        let mut out = Vec::new();
        assert!(encode(&reply, udp_limit(&reply), &mut out));
        assert!(out.len() <= largest, "{edns:?}: {} bytes", out.len());
        let seen = Message::from_vec(&out).unwrap();
        assert!(seen.metadata.truncation && seen.metadata.authoritative && seen.metadata.id == 77);
        assert!(!seen.answers.is_empty());
        assert!(encode(&reply, u16::MAX, &mut out));
        let whole = Message::from_vec(&out).unwrap();
        assert!(!whole.metadata.truncation);
        assert_eq!(whole.answers.len(), 100);
        assert_eq!(whole.edns.is_some(), edns.is_some());
    }
}

#[test]
fn what_is_no_plain_query_is_refused_by_its_kind() {
    let good = query("many.default.svc.cluster.local.", None);
    let code = |message: &Message| reply(&message.to_vec().unwrap()).metadata.response_code;
    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut chaos = good.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
    let mut transfer = good.clone();
    transfer.queries[0].set_query_type(RecordType::AXFR);
    assert_eq!(code(&transfer), ResponseCode::Refused);
    let mut two = good.clone();
    two.add_query(good.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr);
    let mut newer = query("x.", Some(512));
    newer.edns.as_mut().unwrap().set_version(1);
    assert_eq!(code(&newer), ResponseCode::BADVERS);
    let mut bytes = good.to_vec().unwrap();
    bytes.truncate(20);
    assert_eq!(reply(&bytes).metadata.response_code, ResponseCode::FormErr);
    let mut response = good;
    response.metadata.message_type = MessageType::Response;
    assert!(matches!(step(&zone(), &response.to_vec().unwrap()), Step::Silence));
    assert!(matches!(step(&zone(), &[0; 5]), Step::Silence));
}

proptest! {
    #[test]
    fn no_packet_is_too_odd(mut packet in proptest::collection::vec(any::<u8>(), 0..600), real: bool, at: prop::sample::Index) {
        if real && !packet.is_empty() {
            // A real query with a stretch of it overwritten goes deeper than noise.
            let mut whole = query("many.default.svc.cluster.local.", Some(1232)).to_vec().unwrap();
            let start = at.index(whole.len());
            for (byte, noise) in whole[start..].iter_mut().zip(packet.iter().take(4)) { *byte = *noise; }
            packet = whole;
        }
        let mut out = Vec::new();
        if respond(&zone(), &packet, &mut out) {
            prop_assert!(out.len() <= usize::from(LARGEST_UDP));
            prop_assert_eq!(&out[..2], &packet[..2], "the id comes back");
            prop_assert!(Message::from_vec(&out).is_ok());
        }
    }
}
