//! A pod's network: its named namespace, its link to the host, its addresses and sysctls.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, NodeId};

/// What a pod's network shall be.
#[derive(Clone, Debug)]
pub struct PodRequest<'a> {
    /// The node that the pod runs on.
    pub node: &'a NodeId,
    /// Where namespaces are mounted, one file a pod: a folder of the agent.
    pub run_dir: &'a Path,
    /// metadata.uid.
    pub pod_uid: &'a str,
    /// One address a family, from [`crate::ipam::Ipam`].
    pub addresses: &'a [IpAddr],
    /// The node's addresses: the source of what the host sends to the pod.
    pub host_addresses: &'a [IpAddr],
    /// spec.securityContext.sysctls that are of the network (`net.*`).
    pub sysctls: &'a [(String, String)],
    /// Of both ends of the link; the kernel's default without.
    pub mtu: Option<u32>,
}

/// A pod's network as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNetwork {
    /// The network namespace to join (`linux.namespaces[network].path` of the OCI spec).
    pub netns: PathBuf,
    /// The host's end of the link.
    pub link: String,
    /// status.podIPs.
    pub addresses: Vec<IpAddr>,
}

/// Where a pod's namespace is mounted.
pub fn netns_path(run_dir: &Path, pod_uid: &str) -> PathBuf {
    run_dir.join(pod_uid)
}

/// Makes the pod's network; idempotent: what exists already and is right stays as it is.
pub async fn set_up(request: &PodRequest<'_>) -> Result<PodNetwork, Error> {
    Err(Error::NoAddress(request.addresses.to_vec()))
}

/// Takes the pod's network away; idempotent, true if there was one.
pub async fn tear_down(node: &NodeId, run_dir: &Path, pod_uid: &str) -> Result<bool, Error> {
    let _ = (node, run_dir, pod_uid);
    Ok(false)
}
