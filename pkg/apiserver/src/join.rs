// SPDX-License-Identifier: Apache-2.0
//! How a machine becomes a node: it shows the cluster's secret and gets a certificate for its key.
//!
//! A node that has one shows that instead, and gets a new one before the old one ends.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use ipnet::IpNet;
use jiff::Timestamp;
use knarr_auth::UserInfo;
use knarr_pki::{Authority, JoinToken, node_password};
use knarr_types::{ResourceId, Status};
use serde::{Deserialize, Serialize};

use crate::app::{App, PeerCertificate};
use crate::body::{self, Response};
use crate::request::RequestContext;

/// The group of nodes.
const NODES: &str = "system:nodes";

/// What the server tells those who join, and what they must know.
#[derive(Clone)]
pub struct Joining {
    /// Signs the nodes' certificates.
    pub authority: Arc<Authority>,
    /// What only members know. Empty: only bootstrap tokens let nodes in.
    pub secret: String,
    /// The address of the cluster's DNS service.
    pub cluster_dns: String,
    /// The domain of its services.
    pub cluster_domain: String,
    /// The ranges of pods.
    pub cluster_cidrs: Vec<IpNet>,
    /// The ranges of services.
    pub service_cidrs: Vec<IpNet>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    node_name: String,
    /// PKCS #10, PEM.
    csr: String,
    /// What the machine that first had the name knows.
    #[serde(default)]
    password: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    certificate: String,
    ca: String,
    #[serde(rename = "clusterDNS")]
    cluster_dns: String,
    cluster_domain: String,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: String,
    #[serde(rename = "serviceCIDR")]
    service_cidr: String,
}

/// Who wants to join.
#[derive(Debug, PartialEq, Eq)]
enum Candidate {
    /// They know the secret, and may be any node.
    Member,
    /// They are this node already.
    Node(String),
}

/// `POST /knarr/v1/join`.
///
/// # Errors
/// 401 where nothing that is shown lets them in, 403 for a node that wants to be another, 400 for a
/// name or certificate request that is none.
pub async fn join(app: &App, context: &RequestContext, request: Request<Body>) -> Result<Response, Status> {
    let candidate = candidate(app, context, &request)?;
    let body = app.request_bodies.read(request.into_body(), context.deadline).await?;
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|e| Status::bad_request(format!("the request must be {{\"nodeName\", \"csr\"}}: {e}")))?;
    if !is_node_name(&asked.node_name) {
        return Err(Status::bad_request(format!("{:?} is not a node name: it must be a DNS name", asked.node_name)));
    }
    if let Some(why) = refusal(app, &candidate, &asked) {
        return Err(Status::forbidden(&ResourceId::new("", "nodes"), &asked.node_name, &why));
    }
    let joining = &app.joining;
    let user = format!("system:node:{}", asked.node_name);
    let certificate = joining
        .authority
        .sign_client_request(&asked.csr, &user, &[NODES])
        .map_err(|e| Status::bad_request(e.to_string()))?;
    tracing::info!(node = asked.node_name, "a node has its certificate");
    let joined = Joined {
        certificate,
        ca: joining.authority.certificate().to_owned(),
        cluster_dns: joining.cluster_dns.clone(),
        cluster_domain: joining.cluster_domain.clone(),
        cluster_cidr: listed(&joining.cluster_cidrs),
        service_cidr: listed(&joining.service_cidrs),
    };
    let document = knarr_types::tree::to_value(joined).map_err(Status::internal)?;
    Ok(body::json(200, &document))
}

/// Why the candidate cannot be the node of that name.
fn refusal(app: &App, candidate: &Candidate, asked: &Asked) -> Option<String> {
    match candidate {
        Candidate::Node(own) if *own == asked.node_name => None,
        Candidate::Node(own) => Some(format!("node {own:?} cannot have the certificate of another")),
        Candidate::Member => {
            let node = knarr_auth::Objects::core(app, "nodes", "", &asked.node_name)?;
            let annotation = node["metadata"]["annotations"][node_password::ANNOTATION].as_str();
            node_password::is_taken(annotation, &asked.password).then(|| {
                "another machine has this name: join with another --node-name, or delete the Node if that machine is gone"
                    .to_owned()
            })
        }
    }
}

/// `GET /knarr/v1/ca`: anybody may have it, and compares it with the hash in their token.
#[must_use]
pub fn ca(app: &App) -> Response {
    body::bytes(200, "application/x-pem-file", app.joining.authority.certificate().to_owned())
}

/// A token that is shown is checked alone; without one the certificate, or who is known in-process.
fn candidate(app: &App, context: &RequestContext, request: &Request<Body>) -> Result<Candidate, Status> {
    let header = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if let Some(token) = header.strip_prefix("Bearer ").map(str::trim).filter(|t| !t.is_empty()) {
        if knows(&app.joining.secret, token) {
            return Ok(Candidate::Member);
        }
        let audiences: Vec<_> = app.settings.audiences.iter().map(String::as_str).collect();
        let user = app.authenticator.token(token, &audiences, app, Timestamp::now());
        return user.ok().and_then(|known| candidate_of(&known.user)).ok_or_else(Status::unauthorized);
    }
    let shown = request.extensions().get::<PeerCertificate>().and_then(|peer| peer.user(&app.authenticator));
    shown.or(Some(&context.user)).and_then(candidate_of).ok_or_else(Status::unauthorized)
}

fn candidate_of(user: &UserInfo) -> Option<Candidate> {
    if user.is_in("system:bootstrappers") {
        return Some(Candidate::Member);
    }
    user.node().map(|node| Candidate::Node(node.to_owned()))
}

/// Whether the shown token, whole or its secret alone, holds the secret. Takes as long for any guess.
fn knows(secret: &str, shown: &str) -> bool {
    let shown = shown.parse().map_or_else(|_| shown.to_owned(), |token: JoinToken| token.secret);
    !secret.is_empty() && aws_lc_rs::constant_time::verify_slices_are_equal(secret.as_bytes(), shown.as_bytes()).is_ok()
}

/// RFC 1123 subdomain.
fn is_node_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn listed(ranges: &[IpNet]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_lets_a_machine_in() {
        for (secret, shown, is_in) in [
            ("s3cret", "s3cret", true),
            ("s3cret", "K10ab::node:s3cret", false),
            ("s3cret", "s3cre", false),
            ("s3cret", "", false),
            ("", "", false),
        ] {
            assert_eq!(knows(secret, shown), is_in, "{secret} {shown}");
        }
        let whole = format!("K10{}::node:s3cret", "ab".repeat(32));
        assert!(knows("s3cret", &whole));
    }

    #[test]
    fn bootstrappers_may_be_any_node_and_nodes_themselves() {
        let bootstrapper = UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers"]);
        assert_eq!(candidate_of(&bootstrapper), Some(Candidate::Member));
        let node = UserInfo::new("system:node:n1", &[NODES]);
        assert_eq!(candidate_of(&node), Some(Candidate::Node("n1".into())));
        assert_eq!(candidate_of(&UserInfo::new("admin", &["system:masters"])), None);
    }

    #[test]
    fn node_names_are_dns_names() {
        for (name, good) in [("n1", true), ("a.b-c", true), ("", false), ("A", false), ("a..b", false), ("-a", false)] {
            assert_eq!(is_node_name(name), good, "{name}");
        }
    }
}
