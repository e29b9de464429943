// SPDX-License-Identifier: Apache-2.0

//! HTTP from outside to the pods behind ingresses.
//!
//! Where a request goes is decided by [`route`] from the [`Router`] of one snapshot; Pingora carries it. Its
//! proxy runs on our own listeners and threads: no server of its own, no threads beside ours. A connection stays on
//! the thread that accepted it, and so do the connections to pods that its requests use: no request waits for
//! another thread to be woken.

mod io;
mod proxy;
mod router;
mod tls;
mod upgrade;

use std::os::fd::OwnedFd;
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
pub use self::router::Router;
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
    /// One for each thread, with its connections to pods.
    proxies: Vec<Arc<HttpProxy<Proxy>>>,
    permits: Arc<Semaphore>,
    ending: watch::Sender<bool>,
}

impl Ingress {
    /// For as many threads.
    pub fn new(threads: usize) -> Self {
        // Pingora's own timers are a thread that wakes 100 times a second from the first request on; tokio's
        // wake only when one is due.
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        let conf = Arc::new(ServerConf {
            // Pods are reached in clear text: no roots to read, nor to keep in memory.
            ca_file: Some("/dev/null".to_owned()),
            max_retries: 8,
            upstream_keepalive_pool_size: 512,
            ..ServerConf::default()
        });
        let router = Arc::new(ArcSwap::from_pointee(Router::default()));
        let proxy = || Arc::new(http_proxy(&conf, Proxy::new(Arc::clone(&router))));
        let certificates = Arc::new(Certificates::default());
        Self {
            acceptor: tls::acceptor(Arc::clone(&certificates)),
            certificates,
            proxies: std::iter::repeat_with(proxy).take(threads).collect(),
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
        for proxy in &self.proxies {
            proxy.http_cleanup().await;
        }
        // All permits back: no connection is left.
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        if tokio::time::timeout(patience, self.permits.acquire_many(all)).await.is_err() {
            tracing::info!("requests are still under way: they end here");
        }
    }
}

/// Serves listeners, each in clear text or over TLS, until [`Ingress::drain`]; connections under way go on.
///
/// # Errors
/// When the system has no more threads or descriptors.
pub(crate) fn start(ingress: &Arc<Ingress>, listeners: &[(OwnedFd, bool)]) -> std::io::Result<()> {
    for (number, proxy) in ingress.proxies.iter().enumerate() {
        let copy = |(socket, tls): &(OwnedFd, bool)| Ok((socket.try_clone()?.into(), *tls));
        let listeners = listeners.iter().map(copy).collect::<std::io::Result<Vec<_>>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Thread { ingress: Arc::clone(ingress), proxy: Arc::clone(proxy) };
        std::thread::Builder::new()
            .name(format!("ingress-{number}"))
            .spawn(move || runtime.block_on(thread.serve(listeners)))?;
    }
    Ok(())
}

/// One of the threads that serve.
#[derive(Clone)]
struct Thread {
    ingress: Arc<Ingress>,
    proxy: Arc<HttpProxy<Proxy>>,
}

impl Thread {
    async fn serve(self, listeners: Vec<(std::net::TcpListener, bool)>) {
        for (listener, tls) in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(self.clone().accept(listener, tls))),
                Err(error) => tracing::error!(%error, "adopt an ingress socket"),
            }
        }
        std::future::pending().await // connections go on until the process ends
    }

    async fn accept(self, listener: TcpListener, tls: bool) {
        let mut ending = self.ingress.ending.subscribe();
        loop {
            let accepted = async {
                let permit = Arc::clone(&self.ingress.permits).acquire_owned().await.ok()?;
                Some((listener.accept().await, permit))
            };
            let (accepted, permit) = tokio::select! {
                Some(accepted) = accepted => accepted,
                _ = ending.changed() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let thread = self.clone();
                    tokio::spawn(async move {
                        let _permit = permit;
                        thread.converse(stream, tls).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept an ingress connection");
                    tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: let some close
                }
            }
        }
    }

    async fn converse(&self, stream: TcpStream, tls: bool) {
        let _ = stream.set_nodelay(true); // a connection that ended already is noticed below
        let ending = self.ingress.ending.subscribe();
        if !tls {
            self.proxy.process_new(Box::new(ClientIo::plain(stream)), &ending).await;
            return;
        }
        match tokio::time::timeout(HANDSHAKE, self.ingress.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                self.proxy.process_new(Box::new(ClientIo::tls(stream)), &ending).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "tls handshake"),
            Err(_) => tracing::debug!("tls handshake took too long"),
        }
    }
}
