// SPDX-License-Identifier: Apache-2.0

//! Connections that the kernel still sends to endpoints that are gone.
//!
//! A TCP client notices and connects again. UDP has no connection to end: as long as a client keeps sending
//! from one port, its packets follow the entry of the kernel's table. So those entries are deleted, over
//! netlink (linux/netfilter/nfnetlink_conntrack.h).

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddress};

/// nfnetlink's number for connection tracking, in the high byte of a message type.
const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;

const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// The lengths of nlmsghdr, and of it with nfgenmsg.
const HEADER: usize = 16;
const HEADERS: usize = 20;
/// nlmsghdr types that end or refuse a dump.
const ERROR: u16 = 2;
const DONE: u16 = 3;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ZONE: u16 = 18;
/// The bit of [`STATUS`] that says that the destination was rewritten.
const DESTINATION_NAT: u32 = 1 << 5;
const UDP: u8 = 17;

/// Deletes UDP entries whose destination was rewritten to an address in `pods` that is not in `targets`;
/// gives how many. Blocks for as long as the kernel lists its table.
pub(super) fn forget(pods: &[IpNet], targets: &BTreeSet<SocketAddr>) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddress::new(0, 0))?;
    socket.send(&message(GET, REQUEST | DUMP, 0, &[]), 0)?;
    let mut stale = Vec::new();
    loop {
        let (packet, _) = socket.recv_from_full()?;
        let done = each_message(&packet, |family, attributes| {
            stale.extend(Entry::parse(attributes).filter(|it| it.is_stale(pods, targets)).map(|it| it.removal(family)));
        })?;
        if done {
            break;
        }
    }
    for removal in &stale {
        socket.send(removal, 0)?; // one that ended by itself is refused, and nobody reads that
    }
    Ok(stale.len())
}

/// Calls `found` with the family and attributes of each entry; true at the end of the dump.
fn each_message(mut packet: &[u8], mut found: impl FnMut(u8, &[u8])) -> io::Result<bool> {
    while let Some(header) = packet.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = packet.get(HEADER..length) else { return Err(io::ErrorKind::InvalidData.into()) };
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            _ => {
                if let [family, _, _, _, attributes @ ..] = body {
                    found(*family, attributes);
                }
            }
        }
        packet = packet.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// What of an entry matters: attributes as the kernel wrote them, to name it by when it is deleted.
struct Entry<'a> {
    original: &'a [u8],
    zone: Option<&'a [u8]>,
    target: SocketAddr,
}

impl<'a> Entry<'a> {
    /// An entry of UDP with a rewritten destination.
    fn parse(attributes: &'a [u8]) -> Option<Self> {
        let (mut original, mut reply, mut status, mut zone) = (None, None, 0, None);
        for (kind, value) in Attributes(attributes) {
            match kind {
                TUPLE_ORIGINAL => original = Some(value),
                TUPLE_REPLY => reply = Some(value),
                STATUS => status = value.first_chunk().map_or(0, |bits| u32::from_be_bytes(*bits)),
                ZONE => zone = Some(value),
                _ => {}
            }
        }
        let target = source(reply?).filter(|_| status & DESTINATION_NAT != 0)?;
        Some(Self { original: original?, zone, target })
    }

    fn is_stale(&self, pods: &[IpNet], targets: &BTreeSet<SocketAddr>) -> bool {
        pods.iter().any(|range| range.contains(&self.target.ip())) && !targets.contains(&self.target)
    }

    fn removal(&self, family: u8) -> Vec<u8> {
        let mut attributes = attribute(TUPLE_ORIGINAL | NESTED, self.original);
        attributes.extend(self.zone.map(|zone| attribute(ZONE, zone)).unwrap_or_default());
        message(DELETE, REQUEST, family, &attributes)
    }
}

/// Where replies of a UDP tuple come from: the endpoint.
fn source(tuple: &[u8]) -> Option<SocketAddr> {
    let (mut address, mut protocol, mut port) = (None, 0, None);
    for (kind, inside) in Attributes(tuple) {
        for (field, value) in Attributes(inside) {
            match (kind, field) {
                (1, 1) => address = value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
                (1, 3) => address = value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
                (2, 1) => protocol = *value.first()?,
                (2, 2) => port = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)),
                _ => {}
            }
        }
    }
    (protocol == UDP).then_some(SocketAddr::new(address?, port?))
}

/// The flag of an attribute that holds attributes, and the mask of what is its type.
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;

/// Attributes one after the other: type and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(aligned(4 + value.len()));
    // An attribute came in one of the same size, so its length fits.
    bytes.extend_from_slice(&u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS + attributes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADERS + attributes.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]); // sequence and port: this socket has one request at a time
    bytes.extend_from_slice(&[family, 0, 0, 0]);
    bytes.extend_from_slice(attributes);
    bytes
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}
