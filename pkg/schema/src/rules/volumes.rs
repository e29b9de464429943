// SPDX-License-Identifier: Apache-2.0

//! Volumes of pods and the volume sources that pods and persistent volumes share.

use knarr_types::{ErrorList, FieldError};
use serde_json::Value;

use super::amount::Amount;
use super::at::At;
use super::containers::required_one_of;
use super::environment::{VOLUME_FIELDS, field_ref, resource_ref};
use super::names;
use super::persistent_volume_claim;

/// The sources of volumes, in the order in which upstream looks at them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The volumes that are valid, and what is wrong with the others.
pub fn of_pod<'a>(spec: &At<'a>) -> (Vec<At<'a>>, ErrorList) {
    let mut valid: Vec<At<'a>> = Vec::new();
    let mut errors = ErrorList::new();
    for volume in spec.items("volumes") {
        let mut faults = source(&volume);
        let name = volume.get("name");
        if name.text().is_empty() {
            faults.push(name.required(""));
        } else {
            faults.extend(name.faults(names::dns1123_label(name.text())));
        }
        if valid.iter().any(|other| other.str("name") == name.text()) {
            faults.push(name.duplicate());
        }
        if faults.is_empty() {
            valid.push(volume);
        } else {
            errors.extend(faults);
        }
    }
    (valid, errors)
}

fn source(volume: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in SOURCES {
        if !volume.has(kind) {
            continue;
        }
        if found {
            errors.push(volume.get(kind).forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        errors.extend(one(&volume.get(kind), kind));
    }
    if !found {
        errors.push(volume.required("must specify a volume type"));
    }
    errors
}

fn one(source: &At<'_>, kind: &str) -> ErrorList {
    match kind {
        "emptyDir" => empty_dir(source),
        "gitRepo" => git_repo(source),
        "secret" => keys(source, "secretName"),
        "configMap" => keys(source, "name"),
        "persistentVolumeClaim" => require(source, &["claimName"]),
        "downwardAPI" => downward_api(source),
        "azureFile" => require(source, &["secretName", "shareName"]),
        "glusterfs" => require(source, &["endpoints", "path"]),
        "projected" => projected(source),
        "csi" => csi(source),
        "ephemeral" => ephemeral(source),
        "image" => image(source),
        _ => shared(source, kind),
    }
}

/// What is wrong with a source that pods and persistent volumes have in common.
pub fn shared(source: &At<'_>, kind: &str) -> ErrorList {
    match kind {
        "hostPath" => host_path(source),
        "gcePersistentDisk" => {
            let path = source.path.as_str().replace("gcePersistentDisk", "persistentDisk");
            disk(&source.named(knarr_types::FieldPath::new(&path)), "pdName")
        }
        "awsElasticBlockStore" => disk(source, "volumeID"),
        "nfs" => nfs(source),
        "iscsi" => iscsi(source),
        "flocker" => flocker(source),
        "rbd" => require(source, &["monitors", "image"]),
        "cinder" => require(source, &["volumeID"]),
        "cephfs" => require(source, &["monitors"]),
        "quobyte" => require(source, &["registry", "volume"]),
        "fc" => fibre_channel(source),
        "flexVolume" => require(source, &["driver"]),
        "vsphereVolume" => require(source, &["volumePath"]),
        "photonPersistentDisk" => require(source, &["pdID"]),
        "portworxVolume" => require(source, &["volumeID"]),
        "azureDisk" => require(source, &["diskName", "diskURI"]),
        "scaleIO" => require(source, &["gateway", "system", "volumeName"]),
        _ => ErrorList::new(),
    }
}

/// These fields must have something in them.
pub fn require(source: &At<'_>, fields: &[&str]) -> ErrorList {
    fields
        .iter()
        .map(|field| source.get(field))
        .filter(|field| match field.value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => false,
        })
        .map(|field| field.required(""))
        .collect()
}

fn empty_dir(source: &At<'_>) -> ErrorList {
    let limit = source.get("sizeLimit");
    let negative = Amount::parse(limit.text()).is_some_and(Amount::is_negative);
    negative.then(|| limit.forbidden("SizeLimit field must be a valid resource quantity")).into_iter().collect()
}

fn host_path(source: &At<'_>) -> ErrorList {
    let path = source.get("path");
    if path.text().is_empty() {
        return vec![path.required("")];
    }
    let mut errors: ErrorList = no_backsteps(&path).into_iter().collect();
    errors.extend(super::security::one_of(&source.get("type"), HOST_PATH_TYPES));
    errors
}

fn git_repo(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["repository"]);
    errors.extend(local_descending_path(&source.get("directory")));
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

fn iscsi(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["targetPortal"]);
    let name = source.get("iqn");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else if !["iqn", "eui", "naa"].iter().any(|start| name.text().starts_with(start)) {
        errors.push(name.invalid("must be valid format starting with iqn, eui, or naa"));
    }
    if !(0..=255).contains(&source.int("lun")) {
        errors.push(source.get("lun").invalid(names::in_range(0, 255)));
    }
    if (source.flag("chapAuthDiscovery") || source.flag("chapAuthSession")) && !source.has("secretRef") {
        errors.push(source.get("secretRef").required(""));
    }
    errors
}

fn flocker(source: &At<'_>) -> ErrorList {
    let (name, uuid) = (source.str("datasetName"), source.str("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => vec![source.get("datasetName").required("one of datasetName and datasetUUID is required")],
        (false, false) => {
            vec![source.invalid_as("resource", "datasetName and datasetUUID can not be specified simultaneously")]
        }
        _ if name.contains('/') => vec![source.get("datasetName").invalid("must not contain '/'")],
        _ => ErrorList::new(),
    }
}

fn fibre_channel(source: &At<'_>) -> ErrorList {
    const EITHER: &str = "must specify either targetWWNs or wwids, but not both";
    let (targets, ids) = (source.len("targetWWNs"), source.len("wwids"));
    let mut errors = ErrorList::new();
    if targets == 0 && ids == 0 {
        errors.push(source.get("targetWWNs").required(EITHER));
    }
    if targets > 0 && ids > 0 {
        errors.push(source.get("targetWWNs").invalid(EITHER));
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

/// A Secret or ConfigMap as files.
fn keys(source: &At<'_>, name: &str) -> ErrorList {
    let mut errors = require(source, &[name]);
    errors.extend(mode(&source.get("defaultMode")));
    for item in source.items("items") {
        errors.extend(key_to_path(&item));
    }
    errors
}

fn key_to_path(item: &At<'_>) -> ErrorList {
    let mut errors = require(item, &["key"]);
    let path = item.get("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        errors.extend(local_unreserved_path(&path));
    }
    errors.extend(mode(&item.get("mode")));
    errors
}

fn mode(mode: &At<'_>) -> Option<FieldError> {
    let number = mode.value.as_i64()?;
    (!(0..=0o777).contains(&number)).then(|| mode.invalid(MODE))
}

fn downward_api(source: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = mode(&source.get("defaultMode")).into_iter().collect();
    for item in source.items("items") {
        errors.extend(downward_file(&item.named(source.path.clone())));
    }
    errors
}

fn downward_file(file: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = file.get("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    errors.extend(local_unreserved_path(&path));
    match (file.has("fieldRef"), file.has("resourceFieldRef")) {
        (true, true) => {
            errors.extend(field_ref(&file.get("fieldRef"), VOLUME_FIELDS));
            let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(file.invalid_as("resource", message));
        }
        (true, false) => errors.extend(field_ref(&file.get("fieldRef"), VOLUME_FIELDS)),
        (false, true) => errors.extend(resource_ref(&file.get("resourceFieldRef"), true)),
        (false, false) => errors.push(file.required("one of fieldRef and resourceFieldRef is required")),
    }
    errors.extend(mode(&file.get("mode")));
    errors
}

fn projected(volume: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = mode(&volume.get("defaultMode")).into_iter().collect();
    let mut paths: Vec<String> = Vec::new();
    let mut take = |path: &str, shown: &str, errors: &mut ErrorList| {
        if path.is_empty() {
            return;
        }
        if paths.iter().any(|other| other == path) {
            errors.push(volume.invalid_as(shown, "conflicting duplicate paths"));
        } else {
            paths.push(path.to_owned());
        }
    };
    for source in volume.items("sources") {
        let mut given = 0;
        for kind in ["secret", "configMap"] {
            let map = source.get(kind);
            if !map.is_set() {
                continue;
            }
            given += 1;
            errors.extend(require(&map, &["name"]));
            for item in map.items("items") {
                errors.extend(key_to_path(&item));
                take(item.str("path"), map.str("name"), &mut errors);
            }
        }
        let downward = source.get("downwardAPI");
        if downward.is_set() {
            given += 1;
            for item in downward.items("items") {
                errors.extend(downward_file(&item.named(downward.path.clone())));
                take(item.str("path"), item.str("path"), &mut errors);
            }
        }
        let token = source.get("serviceAccountToken");
        if token.is_set() {
            given += 1;
            errors.extend(token_projection(&token, volume));
            take(token.str("path"), token.str("path"), &mut errors);
        }
        given += ["clusterTrustBundle", "podCertificate"].iter().filter(|kind| source.has(kind)).count();
        if given > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
    errors
}

fn token_projection(token: &At<'_>, volume: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let seconds = token.get("expirationSeconds");
    match seconds.value.as_i64() {
        Some(number) if number < 600 => errors.push(seconds.invalid("may not specify a duration less than 10 minutes")),
        Some(number) if number > 1 << 32 => {
            errors.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
        _ => {}
    }
    let path = token.get("path").named(volume.path.child("path"));
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        errors.extend(local_unreserved_path(&path));
    }
    errors
}

fn csi(source: &At<'_>) -> ErrorList {
    let mut errors = csi_driver_name(&source.get("driver"));
    if source.has("nodePublishSecretRef") {
        errors.extend(require(&source.get("nodePublishSecretRef"), &["name"]));
    }
    errors
}

/// What is wrong with the name of a CSI driver.
pub fn csi_driver_name(driver: &At<'_>) -> ErrorList {
    if driver.text().is_empty() {
        return vec![driver.required("")];
    }
    let mut errors = ErrorList::new();
    if driver.text().len() > 63 {
        errors.push(FieldError::too_long(&driver.path, 63));
    }
    errors.extend(driver.faults(names::dns1123_subdomain(&driver.text().to_lowercase())));
    errors
}

fn ephemeral(source: &At<'_>) -> ErrorList {
    let template = source.get("volumeClaimTemplate");
    if !template.is_set() {
        return vec![template.required("")];
    }
    let mut errors = super::metadata::labels(&template.get("metadata.labels"));
    errors.extend(super::metadata::annotations(&template.get("metadata.annotations")));
    errors.extend(persistent_volume_claim::spec(&template.get("spec")));
    errors
}

fn image(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["reference"]);
    errors.extend(required_one_of(&source.get("pullPolicy"), &["Always", "IfNotPresent", "Never"]));
    errors
}

/// A path without steps back.
pub fn no_backsteps(path: &At<'_>) -> Option<FieldError> {
    let steps_back = path.text().split('/').any(|part| part == "..");
    steps_back.then(|| path.invalid("must not contain '..'"))
}

/// A path that stays below where it starts.
pub fn local_descending_path(path: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if path.text().starts_with('/') {
        errors.push(path.invalid("must be a relative path"));
    }
    errors.extend(no_backsteps(path));
    errors
}

/// The same, and not one of the names that the kubelet keeps for itself.
fn local_unreserved_path(path: &At<'_>) -> ErrorList {
    let mut errors = local_descending_path(path);
    let text = path.text();
    if text.starts_with("..") && !text.starts_with("../") && text != ".." {
        errors.push(path.invalid("must not start with '..'"));
    }
    errors
}
