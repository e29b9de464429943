// SPDX-License-Identifier: Apache-2.0

//! A client's connection as Pingora wants to know it: written through a buffer, so that the head of a response and a
//! body that is there go in one packet.

use std::fmt::Debug;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A head of usual length and a small body; what is larger is written as it comes.
const BUFFER_BYTES: usize = 4096;

/// A connection over `S`, in clear text or in TLS.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: BufWriter<S>,
    id: UniqueIDType,
    socket: Arc<SocketDigest>,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    digest: Arc<SslDigest>,
    http2: bool,
}

impl ClientIo<TcpStream> {
    /// A connection in clear text.
    pub fn plain(stream: TcpStream) -> Self {
        let (id, socket) = known(&stream);
        Self { stream: BufWriter::with_capacity(BUFFER_BYTES, stream), id, socket, tls: None }
    }
}

impl ClientIo<TlsStream<TcpStream>> {
    /// A connection after its handshake.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        let (socket, connection) = stream.get_ref();
        let (id, socket) = known(socket);
        let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("");
        let digest = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        let tls = Some(Tls { digest, http2: connection.alpn_protocol() == Some(b"h2") });
        Self { stream: BufWriter::with_capacity(BUFFER_BYTES, stream), id, socket, tls }
    }
}

fn known(stream: &TcpStream) -> (UniqueIDType, Arc<SocketDigest>) {
    let descriptor = stream.as_raw_fd();
    (descriptor, Arc::new(SocketDigest::from_raw_fd(descriptor)))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for ClientIo<S> {
    async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await; // the other side may have gone first
    }
}

impl<S> UniqueID for ClientIo<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for ClientIo<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.digest))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.tls.as_ref().filter(|tls| tls.http2).map(|_| ALPN::H2)
    }
}

impl<S> GetTimingDigest for ClientIo<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for ClientIo<S> {
    fn get_proxy_digest(&self) -> Option<Arc<pingora_core::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for ClientIo<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl<S: Debug> Peek for ClientIo<S> {}
