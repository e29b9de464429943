// SPDX-License-Identifier: Apache-2.0

//! Listening sockets: bound once, then handed from process to process.
//!
//! They travel over a unix socket (SCM_RIGHTS) with their names and addresses: from the agent to a new
//! edge over its standard input, from a running edge to a new agent over edge's control socket.

use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use crate::Error;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// DNS over UDP.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
    /// Ingress in clear text.
    Http,
    /// Ingress over TLS.
    Https,
}

/// A socket to have: what for and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listen {
    /// What for.
    pub purpose: Purpose,
    /// Where, on the host.
    pub address: SocketAddr,
}

/// An open listening socket.
#[derive(Debug)]
pub struct Listener {
    /// What it was bound as; a port of 0 is replaced by the real one.
    pub listen: Listen,
    /// The socket.
    pub socket: OwnedFd,
}

impl Purpose {
    /// As error messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DnsUdp => "dns over udp",
            Self::DnsTcp => "dns over tcp",
            Self::Http => "ingress http",
            Self::Https => "ingress https",
        }
    }
}

/// Opens the socket: UDP or TCP by its purpose, non-blocking, close-on-exec.
pub fn bind(listen: Listen) -> Result<Listener, Error> {
    let failed = |source| Error::Listen { name: listen.purpose.name(), address: listen.address, source };
    let (socket, address) = match listen.purpose {
        Purpose::DnsUdp => {
            let socket = std::net::UdpSocket::bind(listen.address).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            (OwnedFd::from(socket), address)
        }
        Purpose::DnsTcp | Purpose::Http | Purpose::Https => {
            let socket = std::net::TcpListener::bind(listen.address).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            (OwnedFd::from(socket), address)
        }
    };
    Ok(Listener { listen: Listen { address, ..listen }, socket })
}

/// Descriptors in one hand-over: the kernel takes 253.
const MOST: usize = 64;

/// The text that goes with descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// One a descriptor, in their order.
    listens: Vec<Listen>,
}

/// Sends copies of the sockets over a connected unix socket and ends its writing side.
pub fn send(over: &UnixStream, listeners: &[Listener]) -> Result<(), Error> {
    let manifest = Manifest { format: 1, listens: listeners.iter().map(|listener| listener.listen).collect() };
    let text = serde_json::to_vec(&manifest).map_err(|error| Error::HandOver(error.to_string()))?;
    if listeners.len() > MOST {
        return Err(Error::HandOver(format!("{} sockets, more than {MOST}", listeners.len())));
    }
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(|listener| listener.socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    // The descriptors go with the first byte; whatever the kernel did not take of the text follows plainly.
    let sent = rustix::net::sendmsg(over, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)
        .map_err(|errno| Error::HandOver(errno.to_string()))?;
    (&mut &*over).write_all(&text[sent..]).map_err(|error| Error::HandOver(error.to_string()))?;
    over.shutdown(std::net::Shutdown::Write).map_err(|error| Error::HandOver(error.to_string()))
}

/// Receives what [`send`] sent, until the other side ends.
pub fn receive(over: &UnixStream) -> Result<Vec<Listener>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::HandOver(error.to_string());
    let (mut text, mut sockets): (Vec<u8>, Vec<OwnedFd>) = (Vec::new(), Vec::new());
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 4096];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(over, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags)
            .map_err(|errno| failed(&errno))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors);
            }
        }
        if received.bytes == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..received.bytes]);
        if text.len() > 64 * 1024 {
            return Err(failed(&"the manifest is longer than 64 KiB"));
        }
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    if manifest.format != 1 || manifest.listens.len() != sockets.len() {
        return Err(failed(&format!("{} descriptors for {} names", sockets.len(), manifest.listens.len())));
    }
    let pairs = manifest.listens.into_iter().zip(sockets);
    Ok(pairs.map(|(listen, socket)| Listener { listen, socket }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_socket_that_was_handed_over_serves_who_connected_before() {
        let any = "127.0.0.1:0".parse().unwrap();
        let bound: Vec<Listener> =
            [Purpose::Http, Purpose::DnsUdp].map(|purpose| bind(Listen { purpose, address: any }).unwrap()).into();
        let mut client = TcpStream::connect(bound[0].listen.address).unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &bound).unwrap();
        let names: Vec<Listen> = bound.iter().map(|listener| listener.listen).collect();
        drop(bound);
        let received = receive(&there).unwrap();
        assert_eq!(received.iter().map(|listener| listener.listen).collect::<Vec<_>>(), names);
        let listener = TcpListener::from(received.into_iter().next().unwrap().socket);
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap().0.write_all(b"late").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "late");
    }

    #[test]
    fn no_sockets_and_nonsense_are_told_apart() {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &[]).unwrap();
        assert!(receive(&there).unwrap().is_empty());
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"{\"format\":1,\"listens\":[{}]}").unwrap();
        drop(here);
        assert!(matches!(receive(&there), Err(Error::HandOver(_))));
    }
}
