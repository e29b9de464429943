// SPDX-License-Identifier: Apache-2.0
//! The server's TLS listener: accepts connections, learns who the client is, hands requests to the
//! pipeline, and drains when the server ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use futures::StreamExt as _;
use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use knarr_pki::{Identity, certificate};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::app::{App, PeerCertificate};
use crate::body::{self, Response};
use crate::pipeline;
use crate::server::ServerError;

/// How long a client may take for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an HTTP/1 connection may be without a request, the head of the next one included. Upstream
/// keeps idle connections as long; a client that reuses one which was just closed sees its request fail.
const IDLE: Duration = Duration::from_secs(90);
/// How long accepting pauses when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// Requests at a time on one HTTP/2 connection; kube-apiserver's limit.
const STREAMS: u32 = 250;
/// What waits to be sent to a client that does not read, and the longest head of an HTTP/1 request. Hyper would keep six
/// times as much for each of hundreds of lists that are read late.
const BUFFER_BYTES: usize = 64 * 1024;
/// The most that the headers of an HTTP/2 request may hold.
const HEADERS_BYTES: u32 = 128 << 10;

/// After how long without a word the kernel asks a client whether it is still there, and how long it goes on asking:
/// a watcher may have nothing to say for hours, or be gone.
const SILENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
const ASKED: u32 = 4;
/// How long sent bytes may stay unacknowledged.
const UNHEARD: Duration = Duration::from_secs(120);

/// The certificate that the server shows. It can be replaced while it serves.
pub struct Serving(ArcSwap<CertifiedKey>);

impl Serving {
    /// Shows `identity`.
    ///
    /// # Errors
    /// [`ServerError::Tls`] where it is no certificate with its key.
    pub fn new(identity: &Identity) -> Result<Self, ServerError> {
        Ok(Self(ArcSwap::from_pointee(certified(identity)?)))
    }

    /// Shows `identity` to all that connect from now on.
    ///
    /// # Errors
    /// [`ServerError::Tls`] where it is no certificate with its key; the old one stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), ServerError> {
        self.0.store(Arc::new(certified(identity)?));
        Ok(())
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(identity: &Identity) -> Result<CertifiedKey, ServerError> {
    let chain = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(tls)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(tls)?;
    CertifiedKey::from_der(vec![chain], key, &aws_lc_rs::default_provider()).map_err(tls)
}

fn tls(why: impl fmt::Display) -> ServerError {
    ServerError::Tls(why.to_string())
}

/// TLS with client certificates of `authority` (PEM) where clients have one; 1.3 alone unless `old` is
/// allowed too.
///
/// # Errors
/// [`ServerError::Tls`] where the CA is no certificate.
pub fn acceptor(authority: &str, serving: Arc<Serving>, old: bool) -> Result<TlsAcceptor, ServerError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate::der(authority)?.into()).map_err(tls)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(tls)?;
    let versions: &[_] = if old { &[&TLS13, &TLS12] } else { &[&TLS13] };
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(tls)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `app.stopping`; connections that are open then are in `connections`, and end with their
/// requests.
pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, app: Arc<App>, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stopping.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&app)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, app: Arc<App>) {
    prepare(&stream);
    let stream = match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            app.metrics.parts.handshake_error();
            return tracing::debug!(%error, "a client broke off the TLS handshake");
        }
        Err(_) => {
            app.metrics.parts.handshake_error();
            return tracing::debug!("a client did not finish the TLS handshake in time");
        }
    };
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let peer = leaf.map(|der| PeerCertificate::new(der.as_ref()));
    let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().extend(peer.clone().map(extension).unwrap_or_default());
        let app = Arc::clone(&app);
        async move { Ok::<_, std::convert::Infallible>(answer_whole(app, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS_BYTES)
        .max_send_buf_size(BUFFER_BYTES);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = app.stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke off");
    }
}

/// Small answers do not wait for acknowledgements, and clients that vanished are noticed. A socket that refuses is on
/// its way out.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let questions = TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_AGAIN).with_retries(ASKED);
    let _ = socket.set_tcp_keepalive(&questions);
    let _ = socket.set_tcp_user_timeout(Some(UNHEARD));
}

fn extension(peer: PeerCertificate) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(peer);
    extensions
}

/// Answers a request of a connection. What its handler left of the body is read first, be it only its end: a
/// connection with the rest of a request in it cannot carry the next one, HTTP/1 would close it in the face
/// of a client that is still sending, and HTTP/2 would reset the stream, which curl takes for a failure.
async fn answer_whole(app: Arc<App>, request: Request<Incoming>) -> Response {
    if request.body().is_end_stream() {
        return answer(app, request.map(Body::new)).await;
    }
    let (head, incoming) = request.into_parts();
    let (body, rest) = body::reclaimed(Body::new(incoming));
    let response = answer(app, Request::from_parts(head, body)).await;
    rest.drain().await;
    response
}

/// Answers a request; what goes on until the client has enough ends with the server.
pub async fn answer(app: Arc<App>, request: Request<Body>) -> Response {
    let endless = is_endless(request.uri());
    let stopping = app.stopping.clone();
    let response = pipeline::handle(app, request).await;
    if !endless {
        return response;
    }
    let until = stopping.cancelled_owned();
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(until)))
}

/// Whether it is a watch, or a log that is followed.
fn is_endless(uri: &http::Uri) -> bool {
    let names = |pair: &str| matches!(pair.split('=').next(), Some("watch" | "follow"));
    uri.path().contains("/watch/") || uri.query().is_some_and(|q| q.split('&').any(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_that_vanish_are_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        prepare(&stream);
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNHEARD));
    }
}
