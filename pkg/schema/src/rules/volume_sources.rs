// SPDX-License-Identifier: Apache-2.0

//! The volume sources that pods and persistent volumes have in common, and what differs between the two.

use std::sync::LazyLock;

use knarr_types::{ErrorList, FieldError};
use regex::Regex;

use super::at::At;
use super::metadata::faults;
use super::names;
use super::security::one_of;
use super::volumes::{csi_driver_name, no_backsteps, require};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
const ONE_TYPE: &str = "may not specify more than 1 volume type";
const ISCSI_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Which of the two a source is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// A pod's volume of this name.
    Volume(&'a str),
    /// The persistent volume of this name.
    Persistent(&'a str),
}

/// A second source beside the first; upstream's path spells some of them in its own way.
pub fn second(holder: &At<'_>, kind: &str) -> FieldError {
    let field = match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    };
    holder.get(field).forbidden(ONE_TYPE)
}

/// What is wrong with a source that pods and persistent volumes have in common.
pub fn shared(source: &At<'_>, kind: &str, holder: Holder<'_>) -> ErrorList {
    match kind {
        "hostPath" => host_path(source),
        "gcePersistentDisk" => {
            let path = source.path.as_str().replace("gcePersistentDisk", "persistentDisk");
            disk(&source.named(knarr_types::FieldPath::new(&path)), "pdName")
        }
        "awsElasticBlockStore" => disk(source, "volumeID"),
        "nfs" => nfs(source),
        "iscsi" => iscsi(source, holder),
        "glusterfs" => glusterfs(source, holder),
        "flocker" => flocker(source),
        "rbd" => require(source, &["monitors", "image"]),
        "cinder" => with_secret(require(source, &["volumeID"]), source, holder),
        "cephfs" => require(source, &["monitors"]),
        "quobyte" => quobyte(source),
        "fc" => fibre_channel(source),
        "flexVolume" => flex_volume(source),
        "azureFile" => azure_file(source, holder),
        "vsphereVolume" => require(source, &["volumePath"]),
        "photonPersistentDisk" => require(source, &["pdID"]),
        "portworxVolume" => require(source, &["volumeID"]),
        "azureDisk" => azure_disk(source),
        "storageos" => with_secret(storage_os(source), source, holder),
        "scaleIO" => require(source, &["gateway", "system", "volumeName"]),
        "csi" => csi(source, holder),
        _ => ErrorList::new(),
    }
}

fn host_path(source: &At<'_>) -> ErrorList {
    let path = source.get("path");
    if path.text().is_empty() {
        return vec![path.required("")];
    }
    let mut errors: ErrorList = no_backsteps(&path).into_iter().collect();
    errors.extend(one_of(&source.get("type"), HOST_PATH_TYPES));
    errors
}

fn disk(source: &At<'_>, id: &str) -> ErrorList {
    let mut errors = require(source, &[id]);
    let partition = source.get("partition");
    if !(0..=255).contains(&source.int("partition")) {
        errors.push(partition.invalid(names::in_range(1, 255)));
    }
    errors
}

fn nfs(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["server", "path"]);
    if !source.str("path").starts_with('/') {
        errors.push(source.get("path").invalid_as(source.str("path"), "must be an absolute path"));
    }
    errors
}

fn iscsi(source: &At<'_>, holder: Holder<'_>) -> ErrorList {
    let mut errors = require(source, &["targetPortal"]);
    let portal = source.str("targetPortal");
    if let Holder::Persistent(name) = holder
        && source.has("initiatorName")
        && name.len() + 1 + portal.len() > 64
    {
        errors.push(source.get("targetportal").invalid_as(portal, ISCSI_TOO_LONG));
    }
    // Which words a persistent volume hears is less exact.
    let start = match holder {
        Holder::Volume(_) => "must be valid format starting with iqn, eui, or naa",
        Holder::Persistent(_) => "must be valid format",
    };
    let name = source.get("iqn");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(iscsi_name(&name, start));
    }
    if !(0..=255).contains(&source.int("lun")) {
        errors.push(source.get("lun").invalid(names::in_range(0, 255)));
    }
    if (source.flag("chapAuthDiscovery") || source.flag("chapAuthSession")) && !source.has("secretRef") {
        errors.push(source.get("secretRef").required(""));
    }
    if matches!(holder, Holder::Persistent(_)) && source.has("secretRef") {
        errors.extend(require(&source.get("secretRef"), &["name"]));
    }
    let initiator = source.get("initiatorName").named(source.path.child("initiatorname"));
    if initiator.is_set() {
        errors.extend(iscsi_name(&initiator, start));
    }
    if let Holder::Volume(name) = holder
        && initiator.is_set()
        && name.len() + 1 + portal.len() > 64
    {
        let volume = source.path.as_str().strip_suffix(".iscsi").unwrap_or_default();
        errors.push(FieldError::invalid(&knarr_types::FieldPath::new(volume).child("name"), name, ISCSI_TOO_LONG));
    }
    errors
}

fn iscsi_name(name: &At<'_>, start: &str) -> Option<FieldError> {
    static FORMATS: LazyLock<[(&str, Regex); 3]> = LazyLock::new(|| {
        [
            ("iqn", r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$"),
            ("eui", r"^eui.[[:alnum:]]{16}$"),
            ("naa", r"^naa.[[:alnum:]]{32}$"),
        ]
        .map(|(start, format)| (start, Regex::new(format).expect("a constant pattern compiles")))
    });
    match FORMATS.iter().find(|(start, _)| name.text().starts_with(start)) {
        None => Some(name.invalid(start)),
        Some((_, format)) => (!format.is_match(name.text())).then(|| name.invalid("must be valid format")),
    }
}

fn glusterfs(source: &At<'_>, holder: Holder<'_>) -> ErrorList {
    let mut errors = require(source, &["endpoints", "path"]);
    let namespace = source.get("endpointsNamespace");
    if matches!(holder, Holder::Volume(_)) || !namespace.is_set() {
        return errors;
    }
    if namespace.text().is_empty() {
        let message = "if the endpointnamespace is set, it must be a valid namespace name";
        errors.push(namespace.invalid(message));
    } else {
        errors.extend(namespace.faults(names::dns1123_label(namespace.text())));
    }
    errors
}

fn flocker(source: &At<'_>) -> ErrorList {
    let (name, uuid) = (source.str("datasetName"), source.str("datasetUUID"));
    let mut errors = ErrorList::new();
    if name.is_empty() && uuid.is_empty() {
        errors.push(source.required("one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        errors.push(source.invalid_as("resource", "datasetName and datasetUUID can not be specified simultaneously"));
    }
    if name.contains('/') {
        errors.push(source.get("datasetName").invalid("must not contain '/'"));
    }
    errors
}

fn quobyte(source: &At<'_>) -> ErrorList {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let mut errors = ErrorList::new();
    let registry = source.get("registry");
    if registry.text().is_empty() {
        errors.push(registry.required(PAIRS));
    } else if source.str("tenant").len() >= 65 {
        let message = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(source.get("tenant").required(message));
    } else {
        let wrong = registry.text().split(',').filter(|pair| !is_host_and_port(pair));
        errors.extend(wrong.map(|_| registry.invalid(PAIRS)));
    }
    errors.extend(require(source, &["volume"]));
    errors
}

/// What Go's `net.SplitHostPort` takes: a colon, and more of them only within brackets.
fn is_host_and_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        None => false,
        Some((host, port)) if port.contains(['[', ']']) => host.is_empty() && port.is_empty(),
        Some((host, _)) => match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').is_some_and(|inner| !inner.contains(['[', ']'])),
            None => !host.contains([':', '[', ']']),
        },
    }
}

fn fibre_channel(source: &At<'_>) -> ErrorList {
    let (targets, ids) = (source.len("targetWWNs"), source.len("wwids"));
    let mut errors = ErrorList::new();
    let list = source.get("targetWWNs");
    if targets == 0 && ids == 0 {
        errors.push(list.required("must specify either targetWWNs or wwids, but not both"));
    }
    if targets > 0 && ids > 0 {
        errors.push(list.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    let lun = source.get("lun");
    if targets > 0 {
        match lun.value.as_i64() {
            None => errors.push(lun.required("lun is required if targetWWNs is specified")),
            Some(number) if !(0..=255).contains(&number) => errors.push(lun.invalid(names::in_range(0, 255))),
            Some(_) => {}
        }
    }
    errors
}

fn flex_volume(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["driver"]);
    for (key, option) in source.entries("options") {
        let namespace = format!(".{}", key.split_once('/').map_or(key, |(namespace, _)| namespace).to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            errors.push(option.invalid_as(key, "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
    errors
}

fn azure_file(source: &At<'_>, holder: Holder<'_>) -> ErrorList {
    let mut errors = require(source, &["secretName", "shareName"]);
    if matches!(holder, Holder::Persistent(_)) && source.has("secretNamespace") {
        errors.extend(require(source, &["secretNamespace"]));
    }
    errors
}

fn azure_disk(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["diskName", "diskURI"]);
    errors.extend(one_of(&source.get("cachingMode"), &["None", "ReadOnly", "ReadWrite"]));
    errors.extend(one_of(&source.get("kind"), &["Dedicated", "Managed", "Shared"]));
    let (kind, uri) = (source.get("kind"), source.get("diskURI"));
    if kind.text() == "Managed" && !uri.text().starts_with("/subscriptions/") {
        errors.push(uri.not_supported(&[MANAGED_DISK]));
    }
    if kind.is_set() && kind.text() != "Managed" && !uri.text().starts_with("https://") {
        errors.push(uri.not_supported(&[BLOB_DISK]));
    }
    errors
}

fn storage_os(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["volumeName"]);
    for field in ["volumeName", "volumeNamespace"] {
        let name = source.get(field);
        if !name.text().is_empty() {
            errors.extend(name.faults(names::dns1123_label(name.text())));
        }
    }
    errors
}

/// A secret that is named has a name, and where the volume has no namespace, one of its own.
fn with_secret(mut errors: ErrorList, source: &At<'_>, holder: Holder<'_>) -> ErrorList {
    let secret = source.get("secretRef");
    if secret.is_set() {
        let fields: &[&str] = if matches!(holder, Holder::Persistent(_)) { &["name", "namespace"] } else { &["name"] };
        errors.extend(require(&secret, fields));
    }
    errors
}

fn csi(source: &At<'_>, holder: Holder<'_>) -> ErrorList {
    let mut errors = csi_driver_name(&source.get("driver"));
    if matches!(holder, Holder::Volume(_)) {
        let name = source.get("nodePublishSecretRef.name");
        if source.has("nodePublishSecretRef") && name.text().is_empty() {
            errors.push(name.required(""));
        } else if name.is_set() {
            errors.extend(faults(&source.path.child("name"), name.text(), names::dns1123_subdomain(name.text())));
        }
        return errors;
    }
    errors.extend(require(source, &["volumeHandle"]));
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        if source.has(field) {
            errors.extend(secret_reference(&source.get(field)));
        }
    }
    errors
}

fn secret_reference(secret: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, namespace) = (secret.get("name"), secret.get("namespace"));
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.faults(names::dns1123_subdomain(name.text())));
    }
    if namespace.text().is_empty() {
        errors.push(namespace.required(""));
    } else {
        errors.extend(namespace.faults(names::dns1123_label(namespace.text())));
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::*;

    fn told(kind: &str, source: Value, holder: Holder<'_>) -> Vec<String> {
        let path = knarr_types::FieldPath::new("v").child(kind);
        shared(&At::new(&source, path), kind, holder).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_source_is_judged_by_where_it_is() {
        let (volume, persistent) = (Holder::Volume("v"), Holder::Persistent("pv"));
        let cinder = json!({"volumeID": "x", "secretRef": {"name": "s"}});
        assert!(told("cinder", cinder.clone(), volume).is_empty());
        assert_eq!(told("cinder", cinder, persistent), ["v.cinder.secretRef.namespace: Required value"]);
        let iscsi = json!({"targetPortal": "p", "iqn": "bad", "lun": 300});
        let range = "must be between 0 and 255, inclusive";
        assert_eq!(
            told("iscsi", iscsi, volume),
            [
                "v.iscsi.iqn: Invalid value: \"bad\": must be valid format starting with iqn, eui, or naa".to_owned(),
                format!("v.iscsi.lun: Invalid value: 300: {range}"),
            ]
        );
        assert!(told("iscsi", json!({"targetPortal": "p", "iqn": "iqn.2001-04.com.e:d"}), persistent).is_empty());
    }

    #[test]
    fn registries_are_hosts_with_ports() {
        for (pair, want) in
            [("host:1", true), ("host", false), ("[::1]:80", true), ("::1:80", false), (":80", true), ("", false)]
        {
            assert_eq!(is_host_and_port(pair), want, "{pair}");
        }
    }
}
