// SPDX-License-Identifier: Apache-2.0
//! Becoming a node: trust in the CA, a key of its own, a certificate for it, and all that kept.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use knarr_pki::{JoinToken, PkiError, authority, certificate, node_password};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, read_record, write_private, write_record};
use crate::pod::Moment;
use crate::server::{Server, trusting, trusting_anyone};
use crate::{AgentConfig, AgentError};

/// What a node has once it has joined.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's CA, PEM.
    pub ca: String,
    /// The node's certificate chain, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// What the server told of the cluster.
    pub cluster: Cluster,
}

/// The cluster's settings that a node needs, kept for starts without a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Address of the cluster's DNS service.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: String,
    /// Domain of services.
    pub cluster_domain: String,
    /// Ranges of all pods, separated by commas.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// Ranges of all services, separated by commas.
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            cluster_dns: "10.43.0.10".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            cluster_cidr: "10.42.0.0/16".to_owned(),
            service_cidr: "10.43.0.0/16".to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Joined {
    certificate: String,
    ca: String,
    #[serde(flatten)]
    cluster: Cluster,
}

/// The node's identity: the one on disk while 70 % of its life are not over, else a new one.
///
/// # Errors
/// When there is none and the server cannot be trusted, refuses, or is not there; a node that has
/// a valid one keeps it when the server is away.
pub async fn identity(config: &AgentConfig, layout: &Layout, server: &Server) -> Result<Identity, AgentError> {
    let known = load(layout);
    let token = parse(&config.token)?;
    if let Some(known) = &known {
        check(&token, &known.ca, &format!("the data dir {}", layout.root.display()))?;
        if renewal_due(&known.certificate)? > Moment::now() {
            return Ok(known.clone());
        }
    }
    match (join(config, &token, layout, server).await, known) {
        (Ok(identity), _) => Ok(identity),
        (Err(error @ AgentError::Server { .. }), Some(known)) => {
            tracing::warn!(%error, "the certificate is due for renewal; the old one is used meanwhile");
            Ok(known)
        }
        (Err(error), _) => Err(error),
    }
}

/// When the certificate is to be renewed: after 70 % of its life.
///
/// # Errors
/// When it cannot be parsed.
pub fn renewal_due(certificate: &str) -> Result<Moment, AgentError> {
    let at = certificate::renew_at(certificate).map_err(|error| AgentError::Certificate(error.to_string()))?;
    Ok(Moment(at.as_millisecond()))
}

fn load(layout: &Layout) -> Option<Identity> {
    let read = |file: &str| std::fs::read_to_string(layout.identity(file)).ok();
    Some(Identity {
        ca: read("ca.crt")?,
        certificate: read("node.crt")?,
        key: read("node.key")?,
        cluster: read_record(&layout.identity("cluster.json")).unwrap_or_default(),
    })
}

async fn join(
    config: &AgentConfig,
    token: &JoinToken,
    layout: &Layout,
    server: &Server,
) -> Result<Identity, AgentError> {
    let ca = trusted_ca(config, token, server).await?;
    let user = format!("system:node:{}", config.node_name);
    let (key, csr) = authority::request(&user).map_err(|error| AgentError::Certificate(error.to_string()))?;
    let body = serde_json::json!({ "nodeName": config.node_name, "csr": csr, "password": password(layout)? });
    let request = Request::post("/knarr/v1/join")
        .header(header::HOST, server.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", token.secret))
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|e| server.error(e))?;
    let (status, body) = server.request(trusting(&ca, None)?, request).await?;
    if status.is_server_error() {
        return Err(server.error(format!("{status}: {}", message_of(&body))));
    }
    if status == http::StatusCode::UNAUTHORIZED {
        return Err(AgentError::Token(format!(
            "{} does not know the secret of this token: copy the whole token from the server's agent-token file",
            server.url
        )));
    }
    if !status.is_success() {
        return Err(AgentError::Refused {
            server: server.url.clone(),
            node: config.node_name.clone(),
            message: message_of(&body),
        });
    }
    let joined: Joined = serde_json::from_slice(&body).map_err(|e| server.error(format!("answer to join: {e}")))?;
    if hash(&joined.ca)? != hash(&ca)? {
        return Err(server.error("it answered the join call with another CA than the one it shows"));
    }
    let identity = Identity { ca: joined.ca, certificate: joined.certificate, key, cluster: joined.cluster };
    keep(layout, &identity)?;
    Ok(identity)
}

/// The password that keeps the node's name with this machine; made on first use.
///
/// # Errors
/// When it cannot be read or written.
pub fn password(layout: &Layout) -> Result<String, AgentError> {
    let path = layout.identity("node-password");
    match std::fs::read_to_string(&path) {
        Ok(known) if !known.is_empty() => return Ok(known),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(AgentError::file("read", &path)(error));
        }
        _ => {}
    }
    let fresh = node_password::generate().map_err(|error| AgentError::Certificate(error.to_string()))?;
    write_private(&path, fresh.as_bytes()).map_err(AgentError::file("write", &path))?;
    Ok(fresh)
}

fn keep(layout: &Layout, identity: &Identity) -> Result<(), AgentError> {
    for (file, text) in [("node.key", &identity.key), ("node.crt", &identity.certificate), ("ca.crt", &identity.ca)] {
        let path = layout.identity(file);
        write_private(&path, text.as_bytes()).map_err(AgentError::file("write", &path))?;
    }
    write_record(&layout.identity("cluster.json"), &identity.cluster)
}

/// The CA: from the file, or the server's if its hash is the token's.
async fn trusted_ca(config: &AgentConfig, token: &JoinToken, server: &Server) -> Result<String, AgentError> {
    let ca = match (&config.ca_file, &token.authority_hash) {
        (Some(path), _) => ca_of_file(path)?,
        (None, None) => {
            return Err(AgentError::Token(
                "the token does not carry the hash of the CA (K10<hash>::<user>:<secret>): \
                 copy the whole token from the server's agent-token file, or give the CA with --ca-file"
                    .to_owned(),
            ));
        }
        (None, Some(_)) => {
            let request = Request::get("/knarr/v1/ca")
                .header(header::HOST, server.authority())
                .body(Full::default())
                .map_err(|e| server.error(e))?;
            let (status, body) = server.request(trusting_anyone()?, request).await?;
            if !status.is_success() {
                return Err(server.error(format!("asked for its CA, it answers {status}")));
            }
            String::from_utf8(body.to_vec()).map_err(|_| server.error("its CA is not PEM"))?
        }
    };
    check(token, &ca, &server.url).map(|()| ca)
}

fn parse(token: &str) -> Result<JoinToken, AgentError> {
    token.parse().map_err(|error: PkiError| AgentError::Token(error.to_string()))
}

/// That the CA found at `place` is the one that the token names.
fn check(token: &JoinToken, ca: &str, place: &str) -> Result<(), AgentError> {
    token.check_authority(ca).map_err(|error| match error {
        PkiError::OtherAuthority { expected, actual } => {
            AgentError::WrongCa { server: place.to_owned(), actual, expected }
        }
        other => AgentError::Certificate(other.to_string()),
    })
}

fn ca_of_file(path: &std::path::Path) -> Result<String, AgentError> {
    let ca = std::fs::read_to_string(path).map_err(AgentError::file("read the CA", path))?;
    certificate::hash(&ca).map(|_| ca).map_err(|error| AgentError::Setting {
        setting: "--ca-file",
        message: format!("{}: {error}; give the server's tls/ca.crt", path.display()),
    })
}

fn hash(ca: &str) -> Result<String, AgentError> {
    certificate::hash(ca).map_err(|error| AgentError::Certificate(error.to_string()))
}

/// The message of a Status, or the text itself.
fn message_of(body: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

#[cfg(test)]
mod tests;
