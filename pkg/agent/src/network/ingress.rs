// SPDX-License-Identifier: Apache-2.0
//! Ingresses of this distribution's class: which they are, their certificates, and the addresses
//! that they are told.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::Ingress;
use knarr_edge::snapshot::{Certificate, write_private};
use knarr_pki::certificate::alternative_names;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

use super::view::ClusterView;
use crate::layout::{Layout, make_dir};
use crate::objects::{Data, Kind, Objects};

/// spec.controller of IngressClasses that are served here.
pub const CONTROLLER: &str = "knarr.dev/ingress";
/// Class of ingresses that name it by the old annotation.
const CLASS: &str = "knarr";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// As whom certificates are followed.
pub const USER: &str = "ingress";

/// The ingresses that are served here: of a class of ours, or of none.
pub fn ours(view: &ClusterView) -> Vec<Arc<Ingress>> {
    let classes = view.classes();
    view.ingresses().into_iter().filter(|ingress| is_ours(ingress, &classes)).collect()
}

fn is_ours(ingress: &Ingress, classes: &BTreeMap<String, String>) -> bool {
    let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    let annotated = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    match (named, annotated) {
        (Some(class), _) => classes.get(class).map_or(class == CLASS, |controller| controller == CONTROLLER),
        (None, Some(class)) => class == CLASS,
        (None, None) => true,
    }
}

/// The certificates that our ingresses name, written to files for the edge process.
pub async fn certificates(view: &ClusterView, objects: &Objects, layout: &Layout) -> Vec<Certificate> {
    let mut all = Vec::new();
    for ingress in ours(view) {
        let namespace = ingress.metadata.namespace.clone().unwrap_or_default();
        for tls in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
            let Some(secret) = tls.secret_name.clone().filter(|name| !name.is_empty()) else { continue };
            let name = (Kind::Secret, namespace.clone(), secret);
            match objects.get(&name, USER).await {
                Ok(Some(data)) => match write(layout, &name.1, &name.2, &data) {
                    Ok(certificate) => {
                        let named = tls.hosts.clone().filter(|hosts| !hosts.is_empty());
                        all.push(Certificate { hosts: named.unwrap_or(certificate.hosts), ..certificate });
                    }
                    Err(error) => {
                        tracing::warn!(namespace, secret = name.2, error, "a certificate cannot be used");
                    }
                },
                Ok(None) => tracing::debug!(namespace, secret = name.2, "an ingress names a Secret that is not there"),
                Err(error) => tracing::debug!(error, "a certificate is not known yet"),
            }
        }
    }
    all
}

fn write(layout: &Layout, namespace: &str, name: &str, data: &Data) -> Result<Certificate, String> {
    let part = |key: &str| data.get(key).ok_or_else(|| format!("it holds no {key}"));
    let (chain, key) = (part("tls.crt")?, part("tls.key")?);
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(key);
    let version: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    make_dir(&layout.edge("tls")).map_err(|error| error.to_string())?;
    let path = |end: &str| layout.edge("tls").join(format!("{namespace}_{name}.{end}"));
    for (path, bytes) in [(path("crt"), chain), (path("key"), key)] {
        if std::fs::read(&path).ok().as_ref() != Some(bytes) {
            write_private(&path, bytes).map_err(|error| error.to_string())?;
        }
    }
    let text = String::from_utf8_lossy(chain);
    let names = alternative_names(&text).map_err(|error| format!("tls.crt: {error}"))?.0;
    Ok(Certificate { hosts: names.into_iter().collect(), chain: path("crt"), key: path("key"), version })
}

/// The certificate for hosts that have none: this node's own, made once, vouched for by nobody.
pub fn default_certificate(layout: &Layout) -> Result<Certificate, String> {
    // No object's: those have a `_` in their names.
    let (chain, key) = (layout.edge("tls").join("default.crt"), layout.edge("tls").join("default.key"));
    if !(chain.exists() && key.exists()) {
        make_dir(&layout.edge("tls")).map_err(|error| error.to_string())?;
        let made = knarr_pki::self_signed("Knarr default ingress certificate", "ingress.knarr.local");
        let identity = made.map_err(|error| error.to_string())?;
        for (path, text) in [(&key, &identity.key), (&chain, &identity.certificate)] {
            write_private(path, text.as_bytes()).map_err(|error| error.to_string())?;
        }
    }
    Ok(Certificate { hosts: Vec::new(), chain, key, version: String::new() })
}

/// Tells our ingresses the addresses of all ready nodes. The first ready node by name does it for
/// all, so that nodes do not write against each other.
pub async fn report(client: &Client, view: &ClusterView, node_name: &str) {
    let nodes = view.nodes();
    let ready: Vec<_> = nodes.iter().filter(|node| node.ready).collect();
    if ready.first().is_none_or(|first| first.name != node_name) {
        return;
    }
    let wanted: BTreeSet<String> =
        ready.iter().filter_map(|node| node.addresses.first()).map(ToString::to_string).collect();
    for ingress in ours(view) {
        if told(&ingress) == wanted {
            continue;
        }
        let (Some(namespace), Some(name)) = (&ingress.metadata.namespace, &ingress.metadata.name) else { continue };
        let list: Vec<_> = wanted.iter().map(|ip| json!({ "ip": ip })).collect();
        let patch = json!({ "status": { "loadBalancer": { "ingress": list } } });
        let api = Api::<Ingress>::namespaced(client.clone(), namespace);
        if let Err(error) = api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            tracing::debug!(%error, namespace, name, "an ingress was not told its address");
        }
    }
}

fn told(ingress: &Ingress) -> BTreeSet<String> {
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    balancer
        .iter()
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter_map(|entry| entry.ip.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_of_other_classes_are_left_alone() {
        let classes = BTreeMap::from([
            ("mine".to_owned(), CONTROLLER.to_owned()),
            ("nginx".to_owned(), "k8s.io/ingress-nginx".to_owned()),
        ]);
        let cases = [
            (json!({"spec": {}}), true),
            (json!({"spec": {"ingressClassName": "mine"}}), true),
            (json!({"spec": {"ingressClassName": "knarr"}}), true),
            (json!({"spec": {"ingressClassName": "nginx"}}), false),
            (json!({"spec": {"ingressClassName": "unknown"}}), false),
            (json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}, "spec": {}}), false),
            (json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "knarr"}}, "spec": {}}), true),
        ];
        for (ingress, expected) in cases {
            let parsed: Ingress = serde_json::from_value(ingress.clone()).unwrap();
            assert_eq!(is_ours(&parsed, &classes), expected, "{ingress}");
        }
    }
}
