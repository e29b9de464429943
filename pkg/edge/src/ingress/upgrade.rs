// SPDX-License-Identifier: Apache-2.0

//! Connections to pods for requests that upgrade (WebSocket).
//!
//! Pingora 0.9 takes the end of the upgrade request's own empty body for the end of the tunnel if it sees the
//! pod's 101 first (cloudflare/pingora#946). Both wait in one `select`, so a read that is not ready the first
//! few times it is asked leaves the end of the body to be seen first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How often a read is put off: the two halves of a request are polled in turn, whichever begins.
const PUT_OFF: u8 = 3;

/// Connects with reads that begin late.
#[derive(Debug)]
pub(super) struct LateReader;

#[async_trait]
impl L4Connect for LateReader {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else { return Err(Error::new(ErrorType::ConnectError)) };
        let stream = tokio::time::timeout(super::proxy::CONNECT, TcpStream::connect(address))
            .await
            .or_err(ErrorType::ConnectTimedout, "connect to a pod")?
            .or_err(ErrorType::ConnectError, "connect to a pod")?;
        let _ = stream.set_nodelay(true); // a connection that ended already is noticed when it is used
        let late = Late { stream, put_off: PUT_OFF };
        Ok(Stream::from(VirtualSocketStream::new(Box::new(late))))
    }
}

#[derive(Debug)]
struct Late {
    stream: TcpStream,
    put_off: u8,
}

impl VirtualSocket for Late {
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Late {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.put_off > 0 {
            self.put_off -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Late {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
