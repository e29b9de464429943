// SPDX-License-Identifier: Apache-2.0
//! What objects name: the secrets, config maps, claims and accounts of a pod, the secrets of a volume.

use knarr_types::tree::Value;

use super::Target;

/// An object that another one names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub target: Target,
    pub namespace: String,
    pub name: String,
}

/// Where the source of a volume of a pod, or of a PersistentVolume, names a secret; a volume of a pod may be one
/// besides.
pub const SOURCE_SECRETS: [&str; 9] = [
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

fn text<'a>(of: &'a Value, pointer: &str) -> &'a str {
    of.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(of: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    of.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// What a pod uses; each once. A mirror pod uses nothing: its node made it.
pub(super) fn of_pod(pod: &Value) -> Vec<Reference> {
    let namespace = text(pod, "/metadata/namespace");
    let own = text(pod, "/metadata/name");
    let mut found = vec![(Target::Pod, own.to_owned())];
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_none() {
        let mut add = |target, name: &str| found.push((target, name.to_owned()));
        add(Target::Account, text(pod, "/spec/serviceAccountName"));
        items(pod, "/spec/imagePullSecrets").for_each(|secret| add(Target::Secret, text(secret, "/name")));
        for containers in ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"] {
            items(pod, containers).for_each(|container| of_container(container, &mut add));
        }
        items(pod, "/spec/volumes").for_each(|volume| of_volume(volume, own, &mut add));
        items(pod, "/spec/resourceClaims").for_each(|c| add(Target::ResourceClaim, text(c, "/resourceClaimName")));
        items(pod, "/status/resourceClaimStatuses")
            .for_each(|c| add(Target::ResourceClaim, text(c, "/resourceClaimName")));
        add(Target::ResourceClaim, text(pod, "/status/extendedResourceClaimStatus/resourceClaimName"));
    }
    found.retain(|(_, name)| !name.is_empty());
    found.sort();
    found.dedup();
    found.into_iter().map(|(target, name)| Reference { target, namespace: namespace.to_owned(), name }).collect()
}

fn of_container(container: &Value, add: &mut impl FnMut(Target, &str)) {
    for source in items(container, "/envFrom") {
        add(Target::Secret, text(source, "/secretRef/name"));
        add(Target::ConfigMap, text(source, "/configMapRef/name"));
    }
    for variable in items(container, "/env") {
        add(Target::Secret, text(variable, "/valueFrom/secretKeyRef/name"));
        add(Target::ConfigMap, text(variable, "/valueFrom/configMapKeyRef/name"));
    }
}

fn of_volume(volume: &Value, pod: &str, add: &mut impl FnMut(Target, &str)) {
    SOURCE_SECRETS.iter().for_each(|pointer| add(Target::Secret, text(volume, pointer)));
    add(Target::Secret, text(volume, "/secret/secretName"));
    add(Target::ConfigMap, text(volume, "/configMap/name"));
    add(Target::Claim, text(volume, "/persistentVolumeClaim/claimName"));
    if volume["ephemeral"].is_object() {
        add(Target::Claim, &format!("{pod}-{}", text(volume, "/name")));
    }
    for source in items(volume, "/projected/sources") {
        add(Target::Secret, text(source, "/secret/name"));
        add(Target::ConfigMap, text(source, "/configMap/name"));
    }
}

/// The claim (namespace and name) that holds a volume, and the secrets that its node needs.
pub(super) fn of_volume_object(volume: &Value) -> ((String, String), Vec<(String, String)>) {
    let claim = [text(volume, "/spec/claimRef/namespace"), text(volume, "/spec/claimRef/name")].map(str::to_owned);
    let [namespace, name] = claim;
    let spec = &volume["spec"];
    let more = ["/csi/nodeStageSecretRef/name", "/csi/nodeExpandSecretRef/name"];
    let mut secrets: Vec<_> = SOURCE_SECRETS
        .iter()
        .chain(&more)
        .map(|pointer| {
            let beside = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            let named = match *pointer {
                "/azureFile/secretName" => text(spec, "/azureFile/secretNamespace"),
                _ => text(spec, &format!("{beside}/namespace")),
            };
            let place = if named.is_empty() { namespace.as_str() } else { named };
            (place.to_owned(), text(spec, pointer).to_owned())
        })
        .filter(|(_, secret)| !secret.is_empty())
        .collect();
    secrets.sort();
    secrets.dedup();
    ((namespace, name), secrets)
}

/// The secrets with the certificates of an Ingress.
pub(super) fn of_ingress(ingress: &Value) -> Vec<&str> {
    let mut secrets: Vec<_> =
        items(ingress, "/spec/tls").map(|tls| text(tls, "/secretName")).filter(|name| !name.is_empty()).collect();
    secrets.sort_unstable();
    secrets.dedup();
    secrets
}
