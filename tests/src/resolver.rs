// SPDX-License-Identifier: Apache-2.0
//! A name server for the rest of the world, which remembers what it was asked.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use crate::hosts::Host;

/// A name that has [`SMALL_ADDRESS`].
pub const SMALL: &str = "small.test";
/// Its address.
pub const SMALL_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A name whose address does not fit into a datagram: it is told over TCP alone.
pub const LARGE: &str = "large.test";
/// Its address.
pub const LARGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Bits of a reply's head (RFC 1035, 4.1.1): it is a reply, recursion was wanted and is there.
const REPLY: u16 = 0x8180;
const TRUNCATED: u16 = 0x0200;
const NO_SUCH_NAME: u16 = 3;
/// Where the question begins in a message.
const HEAD: usize = 12;

/// What was asked, and whether over TCP.
type Asked = Arc<Mutex<Vec<(String, bool)>>>;

/// The name server, until the test ends.
#[derive(Debug)]
pub struct Resolver(Asked);

impl Resolver {
    /// Answers on port 53 of a host, over UDP and TCP.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(host: &Host) -> Self {
        let asked = Asked::default();
        let (its, host) = (Arc::clone(&asked), host.clone());
        // Bound in a thread that may move to the host, for good.
        let bound = std::thread::spawn(move || {
            host.enter();
            let datagrams = UdpSocket::bind((host.address.as_str(), 53)).expect("the port is free");
            let connections = TcpListener::bind((host.address.as_str(), 53)).expect("the port is free");
            let over_tcp = Arc::clone(&its);
            std::thread::spawn(move || answer_datagrams(&datagrams, &its));
            std::thread::spawn(move || answer_connections(&connections, &over_tcp));
        });
        bound.join().expect("the ports are free");
        Self(asked)
    }

    /// How often a name was asked for, over UDP and over TCP.
    #[must_use]
    pub fn asked(&self, name: &str) -> (usize, usize) {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |over_tcp| asked.iter().filter(|(n, tcp)| n == name && *tcp == over_tcp).count();
        (count(false), count(true))
    }

    /// All names that were asked for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().map(|(name, _)| name.clone()).collect()
    }
}

fn answer_datagrams(socket: &UdpSocket, asked: &Asked) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if let Some(reply) = reply(&buffer[..length], false, asked) {
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn answer_connections(listener: &TcpListener, asked: &Asked) {
    for mut stream in listener.incoming().flatten() {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            let Some(reply) = stream.read_exact(&mut query).ok().and_then(|()| reply(&query, true, asked)) else {
                break;
            };
            let length = u16::try_from(reply.len()).expect("replies are short").to_be_bytes();
            if stream.write_all(&[&length[..], &reply].concat()).is_err() {
                break;
            }
        }
    }
}

/// The reply to a query; `None` when that makes no sense.
fn reply(query: &[u8], over_tcp: bool, asked: &Asked) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    asked.lock().unwrap_or_else(PoisonError::into_inner).push((name.clone(), over_tcp));
    let wants_address = query.get(end - 4..end - 2)? == [0, 1];
    let (flags, address) = match name.as_str() {
        SMALL => (REPLY, Some(SMALL_ADDRESS)),
        LARGE if over_tcp => (REPLY, Some(LARGE_ADDRESS)),
        LARGE => (REPLY | TRUNCATED, None),
        _ => (REPLY | NO_SUCH_NAME, None),
    };
    let address = address.filter(|_| wants_address);
    let mut reply = query[..2].to_vec();
    let absent = address.is_none() && flags & TRUNCATED == 0;
    for number in [flags, 1, u16::from(address.is_some()), u16::from(absent), 0] {
        reply.extend(number.to_be_bytes());
    }
    reply.extend(&query[HEAD..end]);
    if absent {
        reply.extend(authority());
    }
    if let Some(address) = address {
        // The name as in the question, type A, class IN, an hour to live, four bytes.
        reply.extend([0xc0, HEAD as u8, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// The record that says how long absence may be remembered (RFC 2308): of the root, type SOA, class IN, an hour.
fn authority() -> Vec<u8> {
    let mut record = vec![0, 0, 6, 0, 1, 0, 0, 0x0e, 0x10, 0, 22];
    let (server, mailbox) = (0, 0);
    record.extend([server, mailbox]);
    for number in [1_u32, 3600, 3600, 3600, 3600] {
        record.extend(number.to_be_bytes());
    }
    record
}

/// The name of the question, in small letters, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (HEAD, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
    (query.len() >= at + 4).then(|| (labels.join("."), at + 4))
}
