// SPDX-License-Identifier: Apache-2.0

//! The streams of an `exec` or `attach`: descriptors that the shim handed over.
//!
//! The shim makes pipes or a terminal and sends the agent its ends, so no byte of a session passes
//! through the shim; only the exit code comes back over the control connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Result;
use crate::status::Exit;

use super::client::Connection;

/// A running process seen through its streams.
pub struct Session {
    /// Where its input goes; drop it to close the input (with a terminal: only when all is done).
    pub stdin: Option<Stream>,
    /// Its output; of a terminal, all of it.
    pub stdout: Option<Stream>,
    /// Its error output; never there with a terminal.
    pub stderr: Option<Stream>,
    /// The terminal, for [`Session::resize`].
    pub(super) terminal: Option<OwnedFd>,
    pub(super) connection: Connection,
}

impl Session {
    /// Tells the terminal its size; without a terminal nothing happens.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }

    /// A second handle on the terminal, for a task that only resizes it.
    pub fn terminal(&self) -> io::Result<Option<OwnedFd>> {
        self.terminal.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Waits for the process to end. Cancel-safe. Output may still wait in the streams: read them
    /// to their end as well.
    pub async fn wait(&mut self) -> Result<Exit> {
        self.connection.exit().await
    }
}

/// One end of a pipe or a terminal.
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Takes a descriptor and makes it non-blocking.
    pub fn new(fd: OwnedFd) -> io::Result<Stream> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd stands for one descriptor, open until it is dropped, and the AsyncFd
        // owns it.
        #[allow(unsafe_code)] // tokio has no safe way to register a descriptor that may be a terminal
        let registered = unsafe { AsyncFd::register(fd) }?;
        Ok(Stream(registered))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.as_fd(), buf.initialize_unfilled())?));
            match read {
                Ok(Ok(n)) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                // A terminal whose last process is gone answers EIO: that is its end of file.
                Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(e)) => return Poll::Ready(Err(e)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.as_fd(), data)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
