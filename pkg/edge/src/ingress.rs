// SPDX-License-Identifier: Apache-2.0

//! HTTP from outside to the pods behind ingresses.
//!
//! Where a request goes is decided by [`route`] from the [`Router`] of one snapshot; Pingora carries it. Its
//! proxy runs on our own listeners and runtime: no server of its own, no threads beside ours.

mod io;
mod proxy;
mod router;
mod tls;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::apps::{HttpServerApp, ServerApp};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use self::io::ClientIo;
use self::proxy::Proxy;
pub use self::router::{Router, Upstream, route};
use self::tls::Certificates;
use crate::snapshot::Snapshot;

/// Client connections at once; more wait in the sockets' queues.
const CONNECTIONS: usize = 4096;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What all ingress listeners share.
pub(crate) struct Ingress {
    router: Arc<ArcSwap<Router>>,
    certificates: Arc<Certificates>,
    acceptor: tokio_rustls::TlsAcceptor,
    proxy: Arc<HttpProxy<Proxy>>,
    permits: Arc<Semaphore>,
    ending: watch::Sender<bool>,
}

impl Ingress {
    pub fn new() -> Self {
        // Pingora's own timers are a thread that wakes 100 times a second from the first request on; tokio's
        // wake only when one is due.
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        let conf = ServerConf {
            // Pods are reached in clear text: no roots to read, nor to keep in memory.
            ca_file: Some("/dev/null".to_owned()),
            max_retries: 8,
            upstream_keepalive_pool_size: 512,
            ..ServerConf::default()
        };
        let router = Arc::new(ArcSwap::from_pointee(Router::default()));
        let certificates = Arc::new(Certificates::default());
        Self {
            acceptor: tls::acceptor(Arc::clone(&certificates)),
            certificates,
            proxy: Arc::new(http_proxy(&Arc::new(conf), Proxy::new(Arc::clone(&router)))),
            router,
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
            ending: watch::Sender::new(false),
        }
    }

    /// Takes a snapshot: requests that come from now on see it, those under way keep what they have.
    pub fn set(&self, snapshot: &Snapshot) {
        self.certificates.set(&snapshot.certificates, snapshot.default_certificate.as_ref());
        self.router.store(Arc::new(Router::new(snapshot)));
    }

    /// Ends idle connections and waits for the others, for at most `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.ending.send_replace(true);
        self.proxy.http_cleanup().await;
        // All permits back: no connection is left.
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        if tokio::time::timeout(patience, self.permits.acquire_many(all)).await.is_err() {
            tracing::info!("requests are still under way: they end here");
        }
    }
}

/// Serves a listener until the task is aborted; connections under way go on.
pub(crate) async fn serve(ingress: Arc<Ingress>, listener: TcpListener, tls: bool) {
    loop {
        let Ok(permit) = Arc::clone(&ingress.permits).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept an ingress connection");
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
                continue;
            }
        };
        let ingress = Arc::clone(&ingress);
        tokio::spawn(async move {
            let _permit = permit;
            converse(&ingress, stream, tls).await;
        });
    }
}

async fn converse(ingress: &Ingress, stream: TcpStream, tls: bool) {
    let _ = stream.set_nodelay(true); // a connection that ended already is noticed below
    let ending = ingress.ending.subscribe();
    if !tls {
        ingress.proxy.process_new(Box::new(ClientIo::plain(stream)), &ending).await;
        return;
    }
    match tokio::time::timeout(HANDSHAKE, ingress.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            ingress.proxy.process_new(Box::new(ClientIo::tls(stream)), &ending).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "tls handshake"),
        Err(_) => tracing::debug!("tls handshake took too long"),
    }
}
