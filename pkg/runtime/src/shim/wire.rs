// SPDX-License-Identifier: Apache-2.0

//! The shim's side of its socket: requests in, answers and descriptors out.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::protocol::{MESSAGE_BYTES_MAX, Request, Response};

/// Answers that a client does not read are kept up to this many bytes, then it is let go.
const BACKLOG_BYTES_MAX: usize = 8 << 20;

/// What a connection is for, once it has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing lasting.
    Asking,
    /// It is told every exit.
    Watching,
    /// It is told the exit of this process.
    Following(i32),
}

/// One connection.
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// What it is for.
    pub role: Role,
}

impl Client {
    /// Takes an accepted connection.
    pub fn new(stream: UnixStream) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        Ok(Client { stream, input: Vec::new(), output: Vec::new(), role: Role::Asking })
    }

    /// Whether answers wait to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what is there and gives the requests that are whole. An error ends the connection.
    pub fn receive(&mut self) -> io::Result<Vec<Result<Request, String>>> {
        let mut chunk = [0; 16 << 10];
        let mut requests = Vec::new();
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(requests),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            while let Some(message) = self.take_message()? {
                requests.push(serde_json::from_slice(&message).map_err(|e| e.to_string()));
            }
        }
    }

    fn take_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(length) = self.input.first_chunk::<4>() else { return Ok(None) };
        let end = 4 + u32::from_be_bytes(*length) as usize;
        if end > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("a request is too long"));
        }
        if self.input.len() < end {
            return Ok(None);
        }
        let message = self.input.drain(..end).skip(4).collect();
        self.input.shrink_to_fit();
        Ok(Some(message))
    }

    /// Queues an answer and writes what the socket takes.
    pub fn send(&mut self, response: &Response) -> io::Result<()> {
        self.output.extend(encode(response)?);
        if self.output.len() > BACKLOG_BYTES_MAX {
            return Err(io::Error::other("a client does not read its answers"));
        }
        self.flush()
    }

    /// Sends an answer with descriptors beside it. Only for the first answer of a connection: it
    /// is small and the socket is empty, so it goes out whole.
    pub fn send_with(&mut self, response: &Response, fds: &[OwnedFd]) -> io::Result<()> {
        let message = encode(response)?;
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let slices = [IoSlice::new(&message)];
        let sent = rustix::net::sendmsg(&self.stream, &slices, &mut control, SendFlags::NOSIGNAL)?;
        self.output.extend_from_slice(&message[sent..]);
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.output.shrink_to_fit();
        Ok(())
    }

    /// Writes what waits, however long it takes: for the last answer before the shim ends.
    pub fn flush_all(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.flush()
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn encode(response: &Response) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(response)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes()[..], &json].concat())
}
