// SPDX-License-Identifier: Apache-2.0

//! The agent's side of the shim's socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::config::ContainerId;
use crate::error::{Error, Result};
use crate::protocol::{Failure, MESSAGE_BYTES_MAX, Request, Response};
use crate::status::Exit;

/// The socket's name in a pod's folder.
pub(crate) const SOCKET: &str = "shim.sock";

/// An open connection to a shim.
pub struct Connection {
    stream: UnixStream,
    /// Bytes of the next message that have arrived; kept here so that waiting is cancel-safe.
    pending: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Connects to the shim of the pod with this folder.
    pub(super) async fn open(pod_dir: &Path) -> io::Result<Connection> {
        // A socket's address holds 107 bytes and data folders may lie deep: go by descriptor.
        let dir = rustix::fs::open(
            pod_dir,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&dir));
        let stream = UnixStream::connect(path).await?;
        Ok(Connection { stream, pending: Vec::new(), fds: Vec::new() })
    }

    /// Sends a request and waits for its first answer.
    pub(super) async fn ask(&mut self, request: &Request) -> io::Result<Response> {
        let json = serde_json::to_vec(request)?;
        let length = u32::try_from(json.len()).map_err(io::Error::other)?;
        self.stream.write_all(&[&length.to_be_bytes()[..], &json].concat()).await?;
        self.next().await
    }

    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Response> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(serde_json::from_slice(&message)?);
            }
            self.stream.readable().await?;
            self.receive()?;
        }
    }

    /// Descriptors that came with the messages so far.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }

    /// Waits for an exit to be told.
    pub(super) async fn exit(&mut self) -> Result<Exit> {
        match self.next().await {
            Ok(Response::Exited { exit, .. }) => Ok(exit),
            Ok(Response::Failed { message, .. }) => Err(Error::Shim(message)),
            Ok(other) => Err(Error::Shim(format!("unexpected answer of a shim: {other:?}"))),
            Err(e) => Err(Error::Shim(format!("lost the connection to the pod's shim: {e}"))),
        }
    }

    fn take_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.pending.first_chunk::<4>() else { return Ok(None) };
        let end = 4 + u32::from_be_bytes(*length) as usize;
        if end > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("a message of the shim is too long"));
        }
        if self.pending.len() < end {
            return Ok(None);
        }
        let message = self.pending.drain(..end).skip(4).collect();
        Ok(Some(message))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0u8; 16 << 10];
        let received = self.stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let n = rustix::net::recvmsg(
                &self.stream,
                &mut [io::IoSliceMut::new(&mut bytes)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?
            .bytes;
            let fds: Vec<OwnedFd> = control
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                    _ => None,
                })
                .flatten()
                .collect();
            Ok((n, fds))
        });
        match received {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((n, fds)) => {
                self.pending.extend_from_slice(&bytes[..n]);
                self.fds.extend(fds);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// The error that a shim's failure about `id` means.
pub(super) fn failure(id: &ContainerId, kind: Failure, message: String) -> Error {
    match kind {
        Failure::NotFound => Error::ContainerNotFound(id.clone()),
        Failure::NotRunning => Error::NotRunning(id.clone()),
        Failure::CannotExecute => Error::CannotExecute(message),
        Failure::Invalid => Error::Invalid(message),
        Failure::Other => Error::Shim(message),
    }
}
