// SPDX-License-Identifier: Apache-2.0
//! `knarr server`: the flags of the control plane, and what runs in its process.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use knarr_apiserver::server::{Config, Running, Server};
use knarr_auth::UserInfo;
use knarr_client::Client;
use knarr_schema::rules::names;
use tokio::task::JoinSet;

/// Runs the control plane: API, scheduler, controllers, state.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// The flags that `knarr up` has too.
    #[command(flatten)]
    pub settings: Settings,
    /// Name of this host in the serving certificate [default: the host name].
    #[arg(long, value_name = "NAME", value_parser = crate::agent::node_name)]
    pub node_name: Option<String>,
}

/// The flags of a server that `knarr server` and `knarr up` share.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// YAML file with flags' names as keys; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds the state, the keys and the tokens.
    #[arg(long, value_name = "DIR", default_value = crate::up::DATA_DIR)]
    pub data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub port: u16,
    /// Address of this server that the cluster is told [default: found by bind address and routes].
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// What nodes join with: a secret, or a whole token [default: made up, kept in DIR/agent-token].
    #[arg(long, value_name = "TOKEN", env = "KNARR_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File of tokens for users: lines of TOKEN,USER,UID or TOKEN,USER,UID,"GROUP,GROUP".
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// One more name or address for the serving certificate; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = san)]
    pub tls_san: Vec<String>,
    /// Oldest version of TLS that clients may speak.
    #[arg(long, value_name = "VERSION", default_value = "1.3", value_parser = ["1.2", "1.3"])]
    pub tls_min_version: String,
    /// Range of pod addresses; one a family.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.42.0.0/16")]
    pub cluster_cidr: Vec<IpNet>,
    /// Range of service addresses; one a family.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', default_value = "10.43.0.0/16")]
    pub service_cidr: Vec<IpNet>,
    /// Ports that services may have on nodes.
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767", value_parser = ports)]
    pub service_node_port_range: (u16, u16),
    /// Address of the cluster's DNS [default: the tenth service address].
    #[arg(long, value_name = "IP")]
    pub cluster_dns: Option<IpAddr>,
    /// Domain of the cluster's names.
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", value_parser = domain)]
    pub cluster_domain: String,
    /// Whether a write is on the disk before it is acknowledged; `never` is for throw-away clusters.
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = ["always", "never"])]
    pub store_sync: String,
    /// Do not run the scheduler.
    #[arg(long)]
    pub disable_scheduler: bool,
    /// Do not run the controllers.
    #[arg(long)]
    pub disable_controllers: bool,
    /// Where traces go: http://HOST:4318/v1/traces.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    pub otlp_endpoint: Option<String>,
}

impl Settings {
    fn config(&self, node_name: Option<&str>) -> Config {
        Config {
            bind_address: self.bind_address,
            port: self.port,
            advertise_address: self.advertise_address,
            token: self.token.clone(),
            token_auth_file: self.token_auth_file.clone(),
            host_name: crate::agent::host_name(),
            tls_san: self.tls_san.iter().cloned().chain(node_name.map(str::to_owned)).collect(),
            tls12: self.tls_min_version == "1.2",
            cluster_cidrs: self.cluster_cidr.clone(),
            service_cidrs: self.service_cidr.clone(),
            node_ports: self.service_node_port_range,
            cluster_dns: self.cluster_dns,
            cluster_domain: self.cluster_domain.clone(),
            store_sync: self.store_sync == "always",
            ingress_class: !self.disable_controllers,
            ..Config::new(self.data_dir.clone())
        }
    }
}

/// A control plane that runs.
pub struct Started {
    /// Its API server.
    pub running: Running,
    components: JoinSet<()>,
}

impl Started {
    /// A client in this process for `user`.
    pub fn client(&self, user: UserInfo) -> Client {
        knarr_client::connect::in_process(self.running.service(), user)
    }

    /// Ends everything within 5 s.
    pub async fn shutdown(mut self) {
        self.components.shutdown().await;
        self.running.shutdown().await;
    }
}

/// Starts the API server, then what works through it.
pub async fn start(settings: &Settings, node_name: Option<&str>) -> anyhow::Result<Started> {
    let config = settings.config(node_name);
    let cluster_cidrs = config.cluster_cidrs.clone();
    let running = Server::start(config).await?;
    running.app.metrics.add_source(Box::new(knarr_scheduler::metrics::render));
    running.app.metrics.add_source(Box::new(knarr_controllers::metrics::render));
    let mut started = Started { running, components: JoinSet::new() };
    if !settings.disable_scheduler {
        let client = started.client(UserInfo::new("system:kube-scheduler", &[]));
        started.components.spawn(knarr_scheduler::run(client));
    }
    if !settings.disable_controllers {
        let service = started.running.service();
        let ca = started.running.authority.certificate().to_owned();
        let account_keys = Arc::clone(started.running.app.authenticator.keys());
        let config = knarr_controllers::Config { ca, cluster_cidrs, account_keys };
        started.components.spawn(controllers(Arc::new(service), config));
    }
    Ok(started)
}

async fn controllers(service: Arc<knarr_apiserver::server::Local>, config: knarr_controllers::Config) {
    let client_for = |name: &str| {
        let user = match name {
            // What all controllers follow together is read as the process that holds them.
            "shared-informers" | "tokens-controller" => UserInfo::new("system:kube-controller-manager", &[]),
            name => UserInfo::service_account("kube-system", name),
        };
        knarr_client::connect::in_process((*service).clone(), user)
    };
    if let Err(error) = knarr_controllers::run(&client_for, config).await {
        tracing::error!(%error, "the controllers ended: restart the server");
    }
}

/// Runs until SIGTERM.
pub async fn run(args: ServerArgs) -> anyhow::Result<()> {
    let started = start(&args.settings, args.node_name.as_deref()).await?;
    crate::terminated().await;
    tracing::info!("ending");
    started.shutdown().await;
    Ok(())
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let range = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    range.filter(|(first, last)| first <= last).ok_or_else(|| format!("{text:?} is not FIRST-LAST, as in 30000-32767"))
}

/// A name that a certificate can be for.
fn san(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("*.").unwrap_or(text).to_lowercase();
    let known = text.parse::<IpAddr>().is_ok() || names::is_subdomain(&name);
    if known { Ok(text.to_owned()) } else { Err(format!("{text:?} is neither a DNS name nor an address")) }
}

fn domain(text: &str) -> Result<String, String> {
    names::dns1123_subdomain(text).into_iter().next().map_or_else(|| Ok(text.to_owned()), Err)
}

fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let named = host.is_some_and(|host| host.starts_with(|c: char| c.is_alphanumeric() || c == '['));
    if named { Ok(text.to_owned()) } else { Err(format!("{text:?} is no URL, as http://HOST:4318/v1/traces is")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn config(args: &[&str]) -> Config {
        let line = Line::parse_from([&["server"], args].concat());
        line.server.settings.config(line.server.node_name.as_deref())
    }

    #[test]
    fn flags_become_the_configuration() {
        let config = config(&[
            "--data-dir=/d",
            "--tls-san=api.example.com",
            "--node-name=a",
            "--service-cidr=10.43.0.0/16,fd00::/112",
            "--store-sync=never",
            "--service-node-port-range=31000-31010",
        ]);
        assert_eq!(config.data_dir, PathBuf::from("/d"));
        assert_eq!(config.tls_san, ["api.example.com", "a"]);
        assert_eq!(config.service_cidrs.len(), 2);
        assert_eq!(config.node_ports, (31_000, 31_010));
        assert!(!config.store_sync && !config.tls12);
    }

    #[test]
    fn traces_go_to_urls() {
        assert!(endpoint("http://127.0.0.1:4318/v1/traces").is_ok() && endpoint("https://[::1]/").is_ok());
        assert!(["nowhere", "http://", "ftp://a", ""].iter().all(|bad| endpoint(bad).is_err()));
    }

    #[test]
    fn certificates_are_for_names_and_addresses() {
        assert!(["api.example.com", "*.example.com", "Host", "::1", "10.0.0.1"].iter().all(|good| san(good).is_ok()));
        assert!(["", "bad name", "https://a", "a_b", "a*.b"].iter().all(|bad| san(bad).is_err()));
        assert!(domain("cluster.local").is_ok() && domain("bad domain").is_err());
    }

    #[test]
    fn port_ranges_have_an_order() {
        assert_eq!(ports("30000-32767"), Ok((30_000, 32_767)));
        for bad in ["30000", "2-1", "a-b", "1-70000"] {
            assert!(ports(bad).is_err(), "{bad}");
        }
    }
}
