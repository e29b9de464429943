// SPDX-License-Identifier: Apache-2.0
//! The life of an agent: join, build what pods need, run it all until the end or a new certificate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use knarr_client::events::{Recorder, Severity};
use knarr_image::Registries;
use knarr_runtime::PodRuntime;
use knarr_runtime::oci::{OciRuntime, Options};
use parking_lot::RwLock;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Allocation, Context};
use crate::dns::Resolver;
use crate::events::{EventQueue, QueuedEvent};
use crate::images::Images;
use crate::join::{Identity, identity, renewal_due};
use crate::layout::{Layout, make_dir, read_record, write_record};
use crate::machine::{self, Figures};
use crate::network::Network;
use crate::node::{NodeReporter, parse_taint};
use crate::objects::{Name, Objects};
use crate::pod::Moment;
use crate::server::{Server, trusting};
use crate::{AgentConfig, AgentError, events, join, pods, pressure, serve, tunnel};

/// No timer is set for longer; a certificate may well live for a year.
const LONGEST_SLEEP: Duration = Duration::from_secs(86_400);
/// The servers that systemd-resolved asks; systemd-resolved(8).
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";
/// How long tasks may take to end when everything is built anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the node until `shutdown` resolves; pods go on afterwards.
///
/// # Errors
/// When the node cannot join, or its data dir, network or runtime cannot be prepared. A server
/// that cannot be reached is no error: the node waits for it, and one that joined before runs its
/// pods meanwhile.
pub async fn run(config: AgentConfig, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
    let layout = Layout::open(&config.data_dir)?;
    let _lock = layout.lock()?;
    for dir in [layout.pods(), layout.netns(), layout.runtime(), layout.images()] {
        make_dir(&dir)?;
    }
    let server = Server::parse(&config.server)?;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let identity = tokio::select! {
            identity = wait_to_join(&config, &layout, &server) => identity?,
            () = &mut shutdown => return Ok(()),
        };
        let renew = renewal_due(&identity.certificate)?;
        let agent = Agent::build(&config, &layout, &server, &identity).await?;
        let tasks = (agent.context.tasks.clone(), agent.context.cancel.clone());
        let ended = tokio::select! {
            () = agent.run() => false,
            () = until(renew) => false,
            () = &mut shutdown => true,
        };
        tasks.1.cancel();
        if ended {
            return Ok(());
        }
        tracing::info!("the node's certificate is due for renewal");
        tasks.0.close();
        if tokio::time::timeout(PATIENCE, tasks.0.wait()).await.is_err() {
            tracing::warn!("some tasks of pods take long to end");
        }
    }
}

/// The node's identity; waits for a server that is not there yet.
async fn wait_to_join(config: &AgentConfig, layout: &Layout, server: &Server) -> Result<Identity, AgentError> {
    let mut pause = Duration::from_millis(100);
    loop {
        match identity(config, layout, server).await {
            Err(error @ AgentError::Server { .. }) => tracing::warn!(%error, "cannot join yet; it is tried again"),
            other => return other,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

async fn until(moment: Moment) {
    loop {
        let left = moment.since(Moment::now());
        if left.is_zero() {
            // A renewal that fails (the server is away) must not turn in circles.
            return tokio::time::sleep(Duration::from_secs(60)).await;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

/// Everything of a running agent.
struct Agent {
    context: Arc<Context>,
    network: Arc<Network>,
    images: Arc<Images>,
    reporter: NodeReporter,
    changed_objects: mpsc::UnboundedReceiver<Name>,
    /// Rung when the Node's status may have changed.
    changed: Arc<Notify>,
    events: (Recorder, mpsc::Receiver<QueuedEvent>),
    tunnel: (Server, Arc<rustls::ClientConfig>),
    edge: Option<(u16, u16)>,
}

impl Agent {
    async fn build(
        config: &AgentConfig,
        layout: &Layout,
        server: &Server,
        identity: &Identity,
    ) -> Result<Self, AgentError> {
        let client = match &config.in_process {
            Some(client) => client.clone(),
            None => knarr_client::connect::from_parts(&server.url, &identity.ca, &identity.certificate, &identity.key)
                .map_err(|error| AgentError::Certificate(error.to_string()))?,
        };
        let addresses = addresses(config, layout, server).await?;
        let (tell, changed_objects) = mpsc::unbounded_channel();
        let objects = Objects::new(client.clone(), layout.root.join("objects"), tell);
        let (resolver, upstreams) = resolvers(config);
        let network = Network::new(
            config,
            layout,
            client.clone(),
            identity.cluster.clone(),
            addresses.clone(),
            Arc::clone(&objects),
            upstreams,
        );
        let changed = Arc::new(Notify::new());
        let (events, queued_events) = EventQueue::new();
        let recorder = Recorder::new(client.clone(), "kubelet", &config.node_name);
        let images = Images::open(&layout.images(), Arc::clone(&changed))?;
        let runtime = runtime(layout)?;
        let figures = Figures::read(&layout.root);
        let context = Arc::new(Context {
            layout: layout.clone(),
            node_name: config.node_name.clone(),
            client: client.clone(),
            events,
            runtime,
            images: Arc::clone(&images) as _,
            registries: Arc::new(registries(config)?),
            network: Arc::clone(&network) as _,
            objects,
            cluster: identity.cluster.clone(),
            resolver,
            addresses: addresses.clone(),
            allocatable: machine::resources(&figures, config.max_pods).1,
            memory_bytes: figures.memory_bytes,
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
            allocation: Allocation::default(),
            pods: RwLock::default(),
        });
        let listed = Arc::clone(&images);
        let reporter = NodeReporter {
            client,
            name: config.node_name.clone(),
            addresses,
            labels: config.node_labels.clone(),
            taints: config.node_taints.iter().map(|taint| parse_taint(taint)).collect::<Result<_, _>>()?,
            max_pods: config.max_pods,
            layout: layout.clone(),
            images: Arc::new(move || listed.listed()),
            network: network.ready.subscribe(),
            changed: Arc::clone(&changed),
            events: context.events.clone(),
            password: join::password(layout)?,
        };
        let tls = trusting(&identity.ca, Some(identity))?;
        let edge = config.edge.then_some(config.ingress_ports);
        let (events, tunnel) = ((recorder, queued_events), (server.clone(), tls));
        Ok(Self { context, network, images, reporter, changed_objects, changed, events, tunnel, edge })
    }

    /// Runs all parts; none of them ends by itself.
    async fn run(self) {
        let (server, tls) = self.tunnel;
        let routes = serve::router(Arc::clone(&self.context));
        let edge = async {
            if let Some(ports) = self.edge {
                let (events, name) = (&self.context.events, &self.context.node_name);
                let tell = |why: &str| events.put(QueuedEvent::of_node(name, Severity::Warning, "IngressOff", why));
                Arc::clone(&self.network).keep_edge(ports, tell).await;
            }
        };
        tokio::join!(
            Arc::clone(&self.network).run(),
            self.reporter.run(),
            tunnel::keep_open(server, tls, self.context.node_name.clone(), routes),
            events::write(self.events.0, self.events.1),
            pods::run(Arc::clone(&self.context), self.changed_objects),
            pressure::watch(Arc::clone(&self.context), self.images, Arc::clone(&self.changed)),
            edge,
        );
    }
}

fn runtime(layout: &Layout) -> Result<Arc<dyn PodRuntime>, AgentError> {
    let options = Options::new(layout.runtime(), &layout.node_id().to_string());
    let runtime = OciRuntime::new(options).map_err(|error| AgentError::Runtime(error.to_string()))?;
    Ok(Arc::new(runtime))
}

fn registries(config: &AgentConfig) -> Result<Registries, AgentError> {
    match &config.registries_file {
        Some(path) => Registries::load(path)
            .map_err(|error| AgentError::Setting { setting: "--private-registry", message: error.to_string() }),
        None => Ok(Registries::default()),
    }
}

/// The node's addresses: as told, else that of the route to the server, else as they were.
async fn addresses(config: &AgentConfig, layout: &Layout, server: &Server) -> Result<Vec<IpAddr>, AgentError> {
    let record = layout.root.join("addresses-of-node.json");
    if let Some(ip) = config.node_ip {
        return Ok(vec![ip]);
    }
    let found = match server.local_address().await {
        // A server on this very host: others cannot reach the node at a loopback address.
        Ok(ip) if ip.is_loopback() => machine::outward_address().unwrap_or(ip),
        Ok(ip) => ip,
        Err(error) => return read_record(&record).ok_or(error),
    };
    write_record(&record, &[found])?;
    Ok(vec![found])
}

/// The resolver for pods, and the servers that the edge asks: that one is in the host's network, where an address of
/// the host's loopback answers.
fn resolvers(config: &AgentConfig) -> (Resolver, Vec<SocketAddr>) {
    let host = Resolver::parse(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());
    let upstreams = upstreams(&host);
    let of_systemd = || std::fs::read_to_string(SYSTEMD_RESOLV_CONF).ok().map(|text| Resolver::parse(&text));
    (host.for_pods(of_systemd), upstreams)
}

/// The host's resolvers, for names outside the cluster.
fn upstreams(resolver: &Resolver) -> Vec<SocketAddr> {
    let parse = |server: &String| server.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
    resolver.nameservers.iter().filter_map(parse).collect()
}
