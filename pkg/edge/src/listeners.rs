//! Listening sockets: bound once, then handed from process to process.
//!
//! They travel over a unix socket (SCM_RIGHTS) with their names and addresses: from the agent to a new
//! edge over its standard input, from a running edge to a new agent over edge's control socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

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
