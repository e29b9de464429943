// SPDX-License-Identifier: Apache-2.0

//! The listeners: bytes to questions, answers to bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::{Answer, Forwarder, Reply, Zone, answer};

/// The largest reply over UDP, whatever the client allows: what fits a packet of most links (RFC 9715).
const LARGEST_UDP: u16 = 1232;

/// Client connections at once; more wait in the socket's queue.
const TCP_CONNECTIONS: usize = 128;

/// How long a client's connection may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// What all listeners answer from.
pub(crate) struct Dns {
    pub zone: ArcSwap<Zone>,
    pub forwarder: Forwarder,
}

/// What to do with a query.
enum Step {
    /// Send this.
    Reply(Message),
    /// Ask the host's resolvers first.
    Ask(Message),
    /// Ask them what an alias leads to, and put it behind the reply.
    Chase(Box<(Message, Name, Message)>),
    /// No query at all.
    Silence,
}

/// Answers on a UDP socket for ever.
pub(crate) async fn serve_udp(dns: Arc<Dns>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; 4096];
    let mut out = Vec::with_capacity(4096);
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An earlier reply found no one: the socket itself is well.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, "receive a query");
                tokio::task::yield_now().await;
                continue;
            }
        };
        match step(&dns.zone.load(), &buffer[..length]) {
            Step::Silence => {}
            Step::Reply(reply) => {
                let limit = udp_limit(&reply);
                if encode(&reply, limit, &mut out) && socket.try_send_to(&out, peer).is_err() {
                    let _ = socket.send_to(&out, peer).await; // who does not get it asks again
                }
            }
            later => {
                let (dns, socket) = (Arc::clone(&dns), Arc::clone(&socket));
                tokio::spawn(async move {
                    let mut out = Vec::new();
                    if let Some(reply) = finish(&dns, later, false).await
                        && encode(&reply, udp_limit(&reply), &mut out)
                    {
                        let _ = socket.send_to(&out, peer).await; // who does not get it asks again
                    }
                });
            }
        }
    }
}

/// Answers on a TCP socket for ever.
pub(crate) async fn serve_tcp(dns: Arc<Dns>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let dns = Arc::clone(&dns);
                tokio::spawn(async move {
                    let _permit = permit;
                    let _ = converse(&dns, stream).await; // a client that breaks off is no event
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept a dns connection");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
            }
        }
    }
}

async fn converse(dns: &Dns, mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut out) = (Vec::new(), Vec::new());
    loop {
        let read = async {
            let length = stream.read_u16().await?;
            buffer.resize(usize::from(length), 0);
            stream.read_exact(&mut buffer).await
        };
        tokio::time::timeout(TCP_IDLE, read).await??;
        let next = step(&dns.zone.load(), &buffer);
        let Some(reply) = finish(dns, next, true).await else { return Ok(()) };
        if !encode(&reply, u16::MAX, &mut out) {
            return Ok(());
        }
        let length = u16::try_from(out.len()).map_err(io::Error::other)?;
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&out).await?;
    }
}

/// Answers a packet from the zone alone, as over UDP: bytes in, bytes out. False where there is nothing to send,
/// or where the host's resolvers have to be asked first. What fuzzers and benchmarks call.
pub fn respond(zone: &Zone, packet: &[u8], out: &mut Vec<u8>) -> bool {
    match step(zone, packet) {
        Step::Reply(reply) => encode(&reply, udp_limit(&reply), out),
        Step::Silence | Step::Ask(_) | Step::Chase(_) => false,
    }
}

/// Reads a packet and says what to do; never waits.
fn step(zone: &Zone, packet: &[u8]) -> Step {
    let query = match Message::from_vec(packet) {
        Ok(query) => query,
        Err(_) => return malformed(packet),
    };
    if query.metadata.message_type == MessageType::Response {
        return Step::Silence; // answering answers would have two servers talk for ever
    }
    let refuse = |code| Step::Reply(reply_to(&query, code));
    if query.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(ResponseCode::BADVERS);
    }
    let [question] = query.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
    if question.query_class() != DNSClass::IN {
        return refuse(ResponseCode::Refused);
    }
    if matches!(question.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refuse(ResponseCode::Refused);
    }
    match answer(zone, question.name(), question.query_type()) {
        Answer::Forward => Step::Ask(query),
        Answer::Cluster(found) => {
            let chase = found.chase.clone();
            let reply = cluster_reply(&query, found);
            match chase {
                Some(name) => Step::Chase(Box::new((reply, name, query))),
                None => Step::Reply(reply),
            }
        }
    }
}

/// What cannot be read but has an id gets FORMERR.
fn malformed(packet: &[u8]) -> Step {
    match packet {
        [high, low, flags, _, ..] if packet.len() >= 12 && flags & 0x80 == 0 => {
            let id = u16::from_be_bytes([*high, *low]);
            Step::Reply(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
        }
        _ => Step::Silence,
    }
}

async fn finish(dns: &Dns, step: Step, over_tcp: bool) -> Option<Message> {
    let zone = dns.zone.load_full();
    match step {
        Step::Silence => None,
        Step::Reply(reply) => Some(reply),
        Step::Ask(query) => {
            let reply = dns.forwarder.ask(&query, &zone.upstreams, over_tcp).await;
            Some(reply.unwrap_or_else(|| reply_to(&query, ResponseCode::ServFail)))
        }
        Step::Chase(parts) => {
            let (mut reply, name, mut query) = *parts;
            if let Some(question) = query.queries.first_mut() {
                question.set_name(name);
            }
            if let Some(found) = dns.forwarder.ask(&query, &zone.upstreams, over_tcp).await {
                reply.add_answers(found.answers);
            }
            Some(reply)
        }
    }
}

fn reply_to(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.queries.clone_from(&query.queries);
    if let Some(asked) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload().clamp(512, LARGEST_UDP));
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        reply.set_edns(edns);
    }
    reply
}

fn cluster_reply(query: &Message, found: Reply) -> Message {
    let mut reply = reply_to(query, found.code);
    reply.metadata.authoritative = true;
    reply.answers = turned(found.answers);
    reply.authorities = found.authorities;
    reply.additionals = found.additionals;
    reply
}

/// Another first address each time: clients that take the first spread over all.
fn turned(mut records: Vec<Record>) -> Vec<Record> {
    let alias = records.first().is_some_and(|record| record.record_type() == RecordType::CNAME);
    if records.len() > 1 && !alias {
        let by = fastrand::usize(..records.len());
        records.rotate_left(by);
    }
    records
}

fn udp_limit(reply: &Message) -> u16 {
    reply.edns.as_ref().map_or(512, |edns| edns.max_payload().clamp(512, LARGEST_UDP))
}

/// Writes a reply of at most `limit` bytes; what does not fit is left out and marked (TC).
fn encode(reply: &Message, limit: u16, out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut encoder = BinEncoder::new(out);
    encoder.set_max_size(limit);
    match reply.emit(&mut encoder) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "encode a reply");
            false
        }
    }
}

#[cfg(test)]
mod tests;
