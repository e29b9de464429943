// SPDX-License-Identifier: Apache-2.0

//! What edge knows of the cluster: written whole by the agent, read whole by edge.
//!
//! The file is replaced atomically, so a reader sees one snapshot or the next. Keys of TLS certificates are
//! not in it but beside it, in files of mode 0600 that it names.

mod project;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The format of this version's snapshots. A reader refuses a higher one; new fields have defaults.
pub const FORMAT: u32 = 1;

/// All that DNS and ingress answer from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`FORMAT`]; written by [`write()`].
    #[serde(default)]
    pub format: u32,
    /// "cluster.local".
    pub cluster_domain: String,
    /// The host's resolvers, from its /etc/resolv.conf; none answers other names with SERVFAIL.
    #[serde(default)]
    pub upstreams: Vec<SocketAddr>,
    /// All namespaces: a name in one is NODATA where a name outside is NXDOMAIN.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// All services, headless and ExternalName ones included.
    #[serde(default)]
    pub services: Vec<Service>,
    /// All ingresses; of another class are left out by the agent.
    #[serde(default)]
    pub ingresses: Vec<Ingress>,
    /// The certificates that the ingresses name.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// For clients that name no host of those.
    #[serde(default)]
    pub default_certificate: Option<Certificate>,
}

/// A Service with its endpoints; [`Service::project`] makes it of API objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// spec.clusterIPs; empty is headless.
    #[serde(default)]
    pub cluster_ips: Vec<IpAddr>,
    /// spec.externalName, where spec.type is ExternalName.
    #[serde(default)]
    pub external_name: Option<String>,
    /// spec.publishNotReadyAddresses.
    #[serde(default)]
    pub publish_not_ready: bool,
    /// spec.ports.
    #[serde(default)]
    pub ports: Vec<Port>,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Possibly empty.
    #[serde(default)]
    pub name: String,
    /// "TCP", "UDP" or "SCTP".
    pub protocol: String,
    /// Of the service, or of the pod in an [`Endpoint`].
    pub port: u16,
}

/// A pod behind a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// All of one family, as in its slice.
    pub addresses: Vec<IpAddr>,
    /// The pod's hostname, where its subdomain is the service's name.
    #[serde(default)]
    pub hostname: Option<String>,
    /// The condition ready.
    pub ready: bool,
    /// The slice's ports: numbers of the pod.
    #[serde(default)]
    pub ports: Vec<Port>,
}

/// An Ingress of our class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// spec.defaultBackend.
    #[serde(default)]
    pub default_backend: Option<Backend>,
    /// spec.rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// A host and its paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Exact, `*.wildcard`, or empty for every host.
    #[serde(default)]
    pub host: String,
    /// http.paths.
    #[serde(default)]
    pub paths: Vec<PathRule>,
}

/// A path and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRule {
    /// Begins with "/".
    pub path: String,
    /// How it matches.
    pub kind: PathKind,
    /// Where it goes.
    pub backend: Backend,
}

/// pathType. ImplementationSpecific matches as Prefix does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathKind {
    /// The whole path.
    Exact,
    /// Element by element.
    Prefix,
}

/// A port of a Service of the ingress's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub service: String,
    /// Its port, by number or name.
    pub port: PortRef,
}

/// A service's port as an ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

/// A TLS Secret, as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// spec.tls[].hosts or, where it names none, the names in the certificate itself.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// tls.crt: the chain, PEM.
    pub chain: PathBuf,
    /// tls.key, PEM, mode 0600.
    pub key: PathBuf,
    /// Changes with the Secret (its resourceVersion): the files are read again.
    #[serde(default)]
    pub version: String,
}

/// Writes the snapshot beside `path` and puts it in its place; true if it differs from what is there.
pub fn write(path: &Path, snapshot: &Snapshot) -> Result<bool, Error> {
    let snapshot = Snapshot { format: FORMAT, ..snapshot.clone() };
    let bytes = serde_json::to_vec(&snapshot)
        .map_err(|error| Error::Snapshot { path: path.to_owned(), message: error.to_string() })?;
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    write_private(path, &bytes)?;
    Ok(true)
}

/// Puts a file of mode 0600 in place atomically: snapshots, and the certificates and keys they name.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(Error::file("create", &fresh))?;
    file.write_all(bytes).map_err(Error::file("write", &fresh))?;
    std::fs::rename(&fresh, path).map_err(Error::file("replace", path))
}

/// Reads a snapshot.
pub fn read(path: &Path) -> Result<Snapshot, Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let refuse = |message| Error::Snapshot { path: path.to_owned(), message };
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if snapshot.format > FORMAT {
        return Err(refuse(format!("format {} is newer than this binary's {FORMAT}: upgrade it", snapshot.format)));
    }
    Ok(snapshot)
}
