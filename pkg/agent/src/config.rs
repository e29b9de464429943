// SPDX-License-Identifier: Apache-2.0
//! What an agent is told when it starts.

use std::net::IpAddr;
use std::path::PathBuf;

/// Everything [`crate::run`] needs to know; the command line and `knarr up` fill it.
#[derive(Clone)]
pub struct AgentConfig {
    /// Where the node keeps its key, its pods and their volumes. One folder, one node.
    pub data_dir: PathBuf,
    /// The name of the Node object; a DNS subdomain.
    pub node_name: String,
    /// The API server's address, `https://host:port`.
    pub server: String,
    /// A join token: `K10<hash of the CA>::<user>:<secret>`, or only the secret beside a `ca_file`.
    pub token: String,
    /// The cluster's CA, for tokens that do not carry its hash.
    pub ca_file: Option<PathBuf>,
    /// The address that the node tells others; found by the route to the server when absent.
    pub node_ip: Option<IpAddr>,
    /// Labels that the Node gets when it registers.
    pub node_labels: Vec<(String, String)>,
    /// Taints that the Node gets when it registers, as `key=value:Effect`.
    pub node_taints: Vec<String>,
    /// Mirrors and credentials of registries, in the format of k3s' `registries.yaml`.
    pub registries_file: Option<PathBuf>,
    /// The resolver configuration that pods with `dnsPolicy: Default` get and cluster DNS forwards to.
    pub resolv_conf: PathBuf,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Whether to run `knarr edge` (DNS and ingress) beside the agent.
    pub edge: bool,
    /// The ports on which the edge serves Ingress: plain and TLS.
    pub ingress_ports: (u16, u16),
    /// A client of a server in the same process (`knarr_client::Client`); the tunnel and the join call go over TLS regardless.
    pub in_process: Option<kube::Client>,
}

impl AgentConfig {
    /// The configuration with every optional setting at its default.
    #[must_use]
    pub fn new(data_dir: PathBuf, node_name: String, server: String, token: String) -> Self {
        Self {
            data_dir,
            node_name,
            server,
            token,
            ca_file: None,
            node_ip: None,
            node_labels: Vec::new(),
            node_taints: Vec::new(),
            registries_file: None,
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            max_pods: 110,
            edge: true,
            ingress_ports: (80, 443),
            in_process: None,
        }
    }
}
