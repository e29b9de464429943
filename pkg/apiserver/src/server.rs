// SPDX-License-Identifier: Apache-2.0
//! A running API server: from its configuration to a listening socket, and back to nothing.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use ipnet::IpNet;
use jiff::Timestamp;
use knarr_auth::{Authenticator, Authorizer, StaticTokens};
use knarr_pki::{Authority, PkiError, certificate};
use knarr_schema::Registry;
use knarr_store::{Backend, OpenError, Options, Store};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{App, Settings, resource_options};
use crate::body::Response;
use crate::bootstrap;
use crate::crd::Definitions;
use crate::credentials::{Credentials, make_private, nearest};
use crate::join::Joining;
use crate::listener::{self, Serving};
use crate::metrics::Metrics;
use crate::tunnel::Tunnels;

/// How long requests may take to end when the server ends.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the store may take to close; what is acknowledged is durable before.
const CLOSE: Duration = Duration::from_millis(2500);
/// When a certificate that could not be renewed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(3600);

/// What a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the state, the keys and the tokens are.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub bind_address: IpAddr,
    /// Where to listen; 0 for any free port.
    pub port: u16,
    /// The address that the cluster is told; found when absent.
    pub advertise_address: Option<IpAddr>,
    /// What nodes join with: a secret or a full token; made up and kept when absent.
    pub token: Option<String>,
    /// A file of tokens and their users.
    pub token_auth_file: Option<PathBuf>,
    /// The host's name, for the serving certificate.
    pub host_name: String,
    /// More names and addresses for the serving certificate.
    pub tls_san: Vec<String>,
    /// Whether clients may speak TLS 1.2.
    pub tls12: bool,
    /// The ranges of pod addresses, one a family.
    pub cluster_cidrs: Vec<IpNet>,
    /// The ranges of service addresses, one a family.
    pub service_cidrs: Vec<IpNet>,
    /// The ports that services may have on nodes, first and last.
    pub node_ports: (u16, u16),
    /// The address of the cluster's DNS; the tenth service address when absent.
    pub cluster_dns: Option<IpAddr>,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// Whether a write is on the disk before it is acknowledged.
    pub store_sync: bool,
    /// Whether Ingresses without a class are for this cluster's nodes: not where nobody runs it.
    pub ingress_class: bool,
}

impl Config {
    /// The configuration with every optional setting at its default.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            bind_address: Ipv4Addr::UNSPECIFIED.into(),
            port: 6443,
            advertise_address: None,
            token: None,
            token_auth_file: None,
            host_name: String::new(),
            tls_san: Vec::new(),
            tls12: false,
            cluster_cidrs: vec![range([10, 42, 0, 0])],
            service_cidrs: vec![range([10, 43, 0, 0])],
            node_ports: (30_000, 32_767),
            cluster_dns: None,
            cluster_domain: "cluster.local".into(),
            store_sync: true,
            ingress_class: true,
        }
    }

    /// The address of the cluster's DNS.
    #[must_use]
    pub fn dns(&self) -> Option<IpAddr> {
        self.cluster_dns.or_else(|| self.service_cidrs.first().and_then(|range| nth(range, 10)))
    }
}

fn range(address: [u8; 4]) -> IpNet {
    IpNet::from(ipnet::Ipv4Net::new_assert(address.into(), 16))
}

/// An address of a range by its number.
#[must_use]
pub fn nth(range: &IpNet, number: u32) -> Option<IpAddr> {
    let address = match range.network() {
        IpAddr::V4(first) => u32::from(first).checked_add(number).map(|n| IpAddr::V4(n.into())),
        IpAddr::V6(first) => u128::from(first).checked_add(number.into()).map(|n| IpAddr::V6(n.into())),
    };
    address.filter(|address| range.contains(address))
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Somebody else listens there, or the address is not this host's.
    #[error("cannot listen on {address}: {reason}; {remedy}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: std::io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The data dir cannot be made.
    #[error("cannot make the data dir {}: {reason}; give another --data-dir", .path.display())]
    DataDir {
        /// Which folder.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A key, certificate or token is not usable.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The token file cannot be read, or a line of it makes no sense.
    #[error("cannot use the token file {}: {why}", .path.display())]
    TokenFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The ranges make no sense.
    #[error("the service range {0:?} has no address to serve from; give another --service-cidr")]
    ServiceRange(Vec<IpNet>),
    /// Two ranges have addresses in common, or one has no counterpart.
    #[error("{what}; give others with --cluster-cidr and --service-cidr")]
    Ranges {
        /// Which ones, and why they do not fit.
        what: String,
    },
    /// What every cluster holds could not be written.
    #[error("cannot write {what} into the new cluster: {why}")]
    Bootstrap {
        /// The object's path.
        what: String,
        /// The server's answer.
        why: String,
    },
}

/// The API server.
#[derive(Debug)]
pub struct Server;

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its parts.
    pub app: Arc<App>,
    /// The cluster's CA.
    pub authority: Arc<Authority>,
    /// What nodes join with.
    pub token: knarr_pki::JoinToken,
    connections: TaskTracker,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts a server. When it returns, the server answers.
    ///
    /// # Errors
    /// [`ServerError`] says what is in the way and what to do; nothing was changed where the port or the
    /// data dir is in use.
    pub async fn start(config: Config) -> Result<Running, ServerError> {
        check_ranges(&config.cluster_cidrs, &config.service_cidrs).map_err(|what| ServerError::Ranges { what })?;
        let listener = listen(SocketAddr::new(config.bind_address, config.port)).await?;
        let unusable = || ServerError::ServiceRange(config.service_cidrs.clone());
        let service_address = config.service_cidrs.first().and_then(|r| nth(r, 1)).ok_or_else(unusable)?;
        let bound = listener.local_addr().map_err(|e| ServerError::Tls(e.to_string()))?;
        let advertised = advertised(&config, bound);
        let tokens = static_tokens(&config)?;
        make_private(&config.data_dir)?;
        let registry = Registry::builtin();
        let store = Store::open(store_options(&config, &registry)).await?;
        let reached_at: Vec<_> = advertised.into_iter().chain([service_address]).collect();
        let credentials = Credentials::load_or_create(&config, bound, &reached_at)?;
        let serving = Arc::new(Serving::new(&credentials.serving()?)?);
        let acceptor = listener::acceptor(credentials.authority.certificate(), Arc::clone(&serving), config.tls12)?;
        let outside = advertised.map(|ip| SocketAddr::new(ip, bound.port()));
        let (authority, token) = (Arc::clone(&credentials.authority), credentials.token.clone());
        let app = Arc::new(app(&config, tokens, store, registry, &credentials, outside.unwrap_or(nearest(bound))));
        let definitions = Definitions::load(Arc::clone(&app)).await;
        bootstrap::run(&app, service_address, outside, config.ingress_class).await?;
        let connections = TaskTracker::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(listener::serve(listener, acceptor, Arc::clone(&app), connections.clone()));
        tasks.spawn(definitions.run());
        tasks.spawn(crate::cluster_ips::repair::run(Arc::clone(&app)));
        tasks.spawn(crate::upkeep::run(Arc::clone(&app), service_address, outside));
        tasks.spawn(crate::legacy_tokens::run(Arc::clone(&app)));
        tasks.spawn(renew(credentials, serving));
        tracing::info!(address = %nearest(bound), "the API answers");
        Ok(Running { addr: bound, app, authority, token, connections, tasks })
    }
}

impl Running {
    /// The server as a service for callers in this process. They say who they are by a
    /// [`knarr_auth::UserInfo`] among the request's extensions.
    #[must_use]
    pub fn service(&self) -> Local {
        Local(Arc::clone(&self.app))
    }

    /// The URL at which a client on this host finds the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", nearest(self.addr))
    }

    /// Accepts nothing more, ends watches, lets requests end, closes the store. Takes less than 5 s.
    pub async fn shutdown(mut self) {
        self.app.stopping.cancel();
        self.connections.close();
        if tokio::time::timeout(DRAIN, self.connections.wait()).await.is_err() {
            tracing::warn!(open = self.connections.len(), "connections are cut off");
        }
        self.tasks.shutdown().await;
        if tokio::time::timeout(CLOSE, self.app.store.close()).await.is_err() {
            tracing::warn!("the store took too long to close; it will be recovered at the next start");
        }
    }
}

/// A server for callers in its own process.
#[derive(Clone)]
pub struct Local(Arc<App>);

impl<B> tower::Service<Request<B>> for Local
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (app, method, started) = (Arc::clone(&self.0), request.method().clone(), Instant::now());
        let answer = listener::answer(Arc::clone(&self.0), request.map(Body::new));
        Box::pin(async move {
            let response = answer.await;
            let (host, code) = (&app.settings.address, response.status().as_u16());
            app.metrics.parts.client(host, method.as_str(), code, started.elapsed());
            Ok(response)
        })
    }
}

/// One range a family for pods and for services, with no address in common.
fn check_ranges(pods: &[IpNet], services: &[IpNet]) -> Result<(), String> {
    let is_v4 = |range: &&IpNet| range.addr().is_ipv4();
    for (ranges, of) in [(pods, "pods"), (services, "services")] {
        let of_v4 = ranges.iter().filter(is_v4).count();
        if of_v4.max(ranges.len() - of_v4) > 1 {
            return Err(format!("{of} have more than one range of a family: {ranges:?}"));
        }
    }
    for service in services {
        let Some(pod) = pods.iter().find(|pod| is_v4(pod) == is_v4(&service)) else {
            return Err(format!("services have the range {service} and pods none of its family"));
        };
        if pod.contains(service) || service.contains(pod) {
            return Err(format!("the ranges {pod} of pods and {service} of services overlap"));
        }
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|reason| {
        let remedy = match reason.kind() {
            std::io::ErrorKind::AddrInUse => "stop the process that listens there, or give another --port",
            std::io::ErrorKind::AddrNotAvailable => "give an address of this host as --bind-address",
            std::io::ErrorKind::PermissionDenied => "give a --port of 1024 or more, or start as root",
            _ => "give another --bind-address or --port",
        };
        ServerError::Listen { address, reason, remedy }
    })
}

/// The address that others are told: the configured one, the one bound to, or that of the way out.
fn advertised(config: &Config, bound: SocketAddr) -> Option<IpAddr> {
    if config.advertise_address.is_some() || bound.ip().is_loopback() {
        return config.advertise_address;
    }
    if !bound.ip().is_unspecified() {
        return Some(bound.ip());
    }
    // Sends nothing: it only asks the kernel for a route.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|a| a.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

fn store_options(config: &Config, registry: &Registry) -> Options {
    if !config.store_sync {
        tracing::warn!("--store-sync=never: a crash of the host loses what was acknowledged");
    }
    let path = config.data_dir.join("store");
    let mut options = Options::directory(path.clone());
    options.backend = Backend::Directory { path, sync: config.store_sync };
    options.resources = resource_options(registry);
    options
}

/// The tokens of the configured file.
fn static_tokens(config: &Config) -> Result<StaticTokens, ServerError> {
    let Some(path) = &config.token_auth_file else { return Ok(StaticTokens::default()) };
    let unusable = |why: String| ServerError::TokenFile { path: path.clone(), why };
    let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
    StaticTokens::parse(&text).map_err(|e| unusable(e.to_string()))
}

fn app(
    config: &Config,
    tokens: StaticTokens,
    store: Store,
    registry: Registry,
    credentials: &Credentials,
    address: SocketAddr,
) -> App {
    let issuer = format!("https://kubernetes.default.svc.{}", config.cluster_domain);
    App {
        request_bodies: crate::request_body::RequestBodies::default(),
        authorizer: Authorizer::new(&store),
        store,
        registry: ArcSwap::from_pointee(registry),
        kinds_changed: tokio::sync::watch::Sender::new(0),
        authenticator: Authenticator::new(Arc::clone(&credentials.account_keys), &issuer, tokens),
        settings: Settings {
            service_cidrs: config.service_cidrs.clone(),
            node_ports: config.node_ports,
            address: address.to_string(),
            audiences: vec![issuer],
        },
        trees: Default::default(),
        metrics: Metrics::default(),
        tunnels: Tunnels::default(),
        webhooks: Default::default(),
        conversions: Default::default(),
        used_tokens: Default::default(),
        quota_turns: Default::default(),
        joining: Joining {
            authority: Arc::clone(&credentials.authority),
            secret: credentials.token.secret.clone(),
            cluster_dns: config.dns().map(|a| a.to_string()).unwrap_or_default(),
            cluster_domain: config.cluster_domain.clone(),
            cluster_cidrs: config.cluster_cidrs.clone(),
            service_cidrs: config.service_cidrs.clone(),
        },
        stopping: CancellationToken::new(),
    }
}

/// Renews the serving certificate when it is time.
async fn renew(credentials: Credentials, serving: Arc<Serving>) {
    loop {
        let wait = match credentials.serving() {
            Ok(identity) => {
                if let Err(error) = serving.replace(&identity) {
                    tracing::error!(%error, "the renewed certificate is not usable");
                }
                until_due(&identity.certificate)
            }
            Err(error) => {
                tracing::error!(%error, "cannot renew the serving certificate");
                RENEW_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn until_due(certificate: &str) -> Duration {
    let due = certificate::renew_at(certificate).map(|at| at.duration_since(Timestamp::now()));
    due.ok().and_then(|d| Duration::try_from(d).ok()).unwrap_or_default().max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_range_are_counted_from_its_first() {
        let addresses = |text: &str, n| nth(&text.parse().unwrap(), n).map(|a| a.to_string());
        assert_eq!(addresses("10.43.0.0/16", 1).as_deref(), Some("10.43.0.1"));
        assert_eq!(addresses("10.43.0.9/16", 10).as_deref(), Some("10.43.0.10"));
        assert_eq!(addresses("fd00::/112", 10).as_deref(), Some("fd00::a"));
        assert_eq!(addresses("10.43.0.0/31", 10), None);
    }

    #[test]
    fn ranges_are_one_a_family_and_apart() {
        let ranges = |text: &str| text.split(' ').map(|range| range.parse().unwrap()).collect::<Vec<IpNet>>();
        let check = |pods: &str, services: &str| check_ranges(&ranges(pods), &ranges(services));
        assert_eq!(check("10.42.0.0/16", "10.43.0.0/16"), Ok(()));
        assert_eq!(check("10.42.0.0/16 fd01::/48", "fd02::/112 10.43.0.0/16"), Ok(()));
        assert_eq!(check("10.42.0.0/16 fd01::/48", "10.43.0.0/16"), Ok(()));
        for (pods, services, why) in [
            ("10.43.0.0/16", "10.43.0.0/16", "overlap"),
            ("10.0.0.0/8", "10.43.0.0/16", "overlap"),
            ("10.43.7.0/24", "10.43.0.0/16", "overlap"),
            ("10.42.0.0/16", "fd02::/112", "pods none of its family"),
            ("10.42.0.0/16 10.44.0.0/16", "10.43.0.0/16", "pods have more than one range"),
            ("10.42.0.0/16", "10.43.0.0/16 10.44.0.0/16", "services have more than one range"),
        ] {
            let error = check(pods, services).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_the_remedy() {
        let first = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
        assert!(error.ends_with("give another --port"), "{error}");
    }
}
