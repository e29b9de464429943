// SPDX-License-Identifier: Apache-2.0
//! `knarr agent`: the flags of a node, and how they become a configuration.

use std::net::IpAddr;
use std::path::PathBuf;

use knarr_agent::AgentConfig;
use knarr_schema::rules::names;

/// Runs the node agent.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// YAML file with flags' names as keys; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the API server, https://HOST:PORT.
    #[arg(long, value_name = "URL", env = "KNARR_URL")]
    pub server: String,
    /// Join token, as in the server's data dir under agent-token.
    #[arg(long, value_name = "TOKEN", env = "KNARR_TOKEN", hide_env_values = true)]
    pub token: String,
    /// File with the cluster's CA, for a token that is only the secret.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Folder that holds everything of the node.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/knarr/agent")]
    pub data_dir: PathBuf,
    /// What every node flag sets, of `knarr agent` and `knarr up` alike.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// The flags of a node that `knarr agent` and `knarr up` share.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// Name of the Node object [default: the host name].
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<String>,
    /// Address that other nodes reach this one at [default: that of the route to the server].
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// Label of the Node when it registers; may be given several times.
    #[arg(long = "node-label", value_name = "KEY=VALUE", value_parser = label)]
    pub node_labels: Vec<(String, String)>,
    /// Taint of the Node when it registers; may be given several times.
    #[arg(long = "node-taint", value_name = "KEY=VALUE:EFFECT", value_parser = taint)]
    pub node_taints: Vec<String>,
    /// Mirrors and credentials of registries, in the format of k3s.
    #[arg(long, value_name = "FILE")]
    pub private_registry: Option<PathBuf>,
    /// Resolver configuration for dnsPolicy Default and for names outside the cluster.
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// How many pods the node takes.
    #[arg(long, value_name = "N", default_value_t = 110)]
    pub max_pods: u32,
    /// Do not run DNS and ingress on this node.
    #[arg(long)]
    pub disable_edge: bool,
    /// Port of plain HTTP for Ingress.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub ingress_http_port: u16,
    /// Port of TLS for Ingress.
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    pub ingress_https_port: u16,
}

impl NodeArgs {
    /// The agent's configuration for a server, a token and a data dir.
    pub fn config(self, data_dir: PathBuf, server: String, token: String) -> AgentConfig {
        let name = self.node_name.unwrap_or_else(host_name);
        let mut config = AgentConfig::new(data_dir, name, server, token);
        config.node_ip = self.node_ip;
        config.node_labels = self.node_labels;
        config.node_taints = self.node_taints;
        config.registries_file = self.private_registry;
        config.resolv_conf = self.resolv_conf;
        config.max_pods = self.max_pods;
        config.edge = !self.disable_edge;
        config.ingress_ports = (self.ingress_http_port, self.ingress_https_port);
        config
    }
}

/// Runs the agent until `shutdown` resolves.
pub async fn run(args: AgentArgs, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    let mut config = args.node.config(args.data_dir, args.server, args.token);
    config.ca_file = args.ca_file;
    Ok(knarr_agent::run(config, shutdown).await?)
}

/// The host's name, as a Node's name must be written.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// What the API would refuse is refused before anything is done.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    let faults = [names::qualified_name(key), names::label_value(value)].concat();
    faults.into_iter().next().map_or_else(|| Ok((key.to_owned(), value.to_owned())), Err)
}

fn taint(text: &str) -> Result<String, String> {
    let taint = knarr_agent::parse_taint(text).map_err(|error| error.to_string())?;
    let faults = [names::qualified_name(&taint.key), names::label_value(taint.value.as_deref().unwrap_or_default())];
    faults.concat().into_iter().next().map_or_else(|| Ok(text.to_owned()), Err)
}

/// The name of a Node, as the command line has it.
pub fn node_name(text: &str) -> Result<String, String> {
    names::dns1123_subdomain(text).into_iter().next().map_or_else(|| Ok(text.to_owned()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_is_given_is_what_the_api_takes() {
        assert_eq!(label("example.com/a=b"), Ok(("example.com/a".into(), "b".into())));
        assert!(label("a=").is_ok() && taint("a:NoSchedule").is_ok() && taint("a/b=c:NoExecute").is_ok());
        for bad in ["a", "=b", "a b=c", "a_b/c=d", "a=b c"] {
            assert!(label(bad).is_err(), "{bad}");
        }
        for bad in ["a", "a=b", "a=b:Never", "a b:NoSchedule", "a=b c:NoSchedule"] {
            assert!(taint(bad).is_err(), "{bad}");
        }
        assert!(node_name("a.b-1").is_ok() && node_name("Bad_Name").is_err());
    }
}
