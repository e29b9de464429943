// SPDX-License-Identifier: Apache-2.0

//! Volumes of pods, and the paths of files in them.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError};

use super::amount::Amount;
use super::at::At;
use super::containers::required_one_of;
use super::environment::{VOLUME_FIELDS, field_ref, resource_ref};
use super::metadata;
use super::names;
use super::persistent_volume_claim;
use super::projected_volumes::projected;
use super::volume_sources::{Holder, second, shared};

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
/// The volumes that are valid, and what is wrong with the others. `pod` is the pod's name, where the volumes
/// are not those of a template.
pub fn of_pod<'a>(spec: &At<'a>, pod: Option<&str>) -> (Vec<At<'a>>, ErrorList) {
    let mut valid: Vec<At<'a>> = Vec::new();
    let mut errors = ErrorList::new();
    let volumes = spec.items("volumes");
    let pod_name = pod.filter(|name| !name.is_empty());
    let claim_of = |volume: &At<'_>| pod_name.map(|name| format!("{name}-{}", volume.str("name")));
    let created: Vec<String> = volumes.iter().filter(|volume| volume.has("ephemeral")).filter_map(claim_of).collect();
    for volume in volumes {
        let mut faults = source(&volume, pod, claim_of(&volume));
        let name = volume.get("name");
        if name.text().is_empty() {
            faults.push(name.required(""));
        } else {
            faults.extend(name.faults(names::dns1123_label(name.text())));
        }
        if valid.iter().any(|other| other.str("name") == name.text()) {
            faults.push(name.duplicate());
        }
        let claim = volume.get("persistentVolumeClaim.claimName");
        if faults.is_empty() {
            valid.push(volume);
        } else {
            errors.extend(faults);
        }
        if created.iter().any(|created| created == claim.text()) {
            errors.push(claim.invalid("must not reference a PVC that gets created for an ephemeral volume"));
        }
    }
    (valid, errors)
}

fn source(volume: &At<'_>, pod: Option<&str>, claim: Option<String>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in SOURCES {
        if !volume.has(kind) {
            continue;
        }
        if found {
            errors.push(second(volume, kind));
            continue;
        }
        found = true;
        let source = volume.get(kind);
        errors.extend(match *kind {
            "ephemeral" => ephemeral(&source, volume, claim.as_deref()),
            "image" => image(&source, pod.is_some()),
            _ => one(&source, kind, volume.str("name")),
        });
    }
    if !found {
        errors.push(volume.required("must specify a volume type"));
    }
    errors
}

fn one(source: &At<'_>, kind: &str, volume: &str) -> ErrorList {
    match kind {
        "emptyDir" => empty_dir(source),
        "gitRepo" => git_repo(source),
        "secret" => keys(source, "secretName"),
        "configMap" => keys(source, "name"),
        "persistentVolumeClaim" => require(source, &["claimName"]),
        "downwardAPI" => downward_api(source),
        "projected" => projected(source),
        _ => shared(source, kind, Holder::Volume(volume)),
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

fn git_repo(source: &At<'_>) -> ErrorList {
    let mut errors = require(source, &["repository"]);
    errors.extend(local_descending_path(&source.get("directory")));
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

/// What is wrong with where a key goes.
pub fn key_to_path(item: &At<'_>) -> ErrorList {
    let mut errors = require(item, &["key"]);
    let path = item.get("path");
    if path.text().is_empty() {
        errors.push(path.required(""));
    }
    errors.extend(local_unreserved_path(&path));
    errors.extend(mode(&item.get("mode")));
    errors
}

/// What is wrong with the permission bits of a file.
pub fn mode(mode: &At<'_>) -> Option<FieldError> {
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

/// What is wrong with one file of the downward API.
pub fn downward_file(file: &At<'_>) -> ErrorList {
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

/// What is wrong with the name of a CSI driver.
pub fn csi_driver_name(driver: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if driver.text().is_empty() {
        return vec![driver.required("")];
    }
    if driver.text().len() > 63 {
        errors.push(FieldError::too_long(&driver.path, 63));
    }
    errors.extend(driver.faults(names::dns1123_subdomain(&driver.text().to_lowercase())));
    errors
}

fn ephemeral(source: &At<'_>, volume: &At<'_>, claim: Option<&str>) -> ErrorList {
    let template = source.get("volumeClaimTemplate");
    let mut errors = ErrorList::new();
    if template.is_set() {
        errors.extend(template_metadata(&template.get("metadata")));
        errors.extend(persistent_volume_claim::spec(&template.get("spec")));
    } else {
        errors.push(template.required(""));
    }
    let name = volume.get("name");
    if let Some(claim) = claim.filter(|_| !name.text().is_empty()) {
        let faults = names::dns1123_subdomain(claim).into_iter();
        errors.extend(faults.map(|fault| name.invalid(format!("PVC name {claim:?}: {fault}"))));
    }
    errors
}

/// What is wrong with the metadata of a template of a claim.
pub fn template_metadata(meta: &At<'_>) -> ErrorList {
    let mut errors = metadata::annotations(&meta.get("annotations"));
    errors.extend(metadata::labels(&meta.get("labels")));
    errors.extend(only_labels_and_annotations(meta));
    errors
}

/// The metadata of a template of a claim can say nothing else.
fn only_labels_and_annotations(meta: &At<'_>) -> ErrorList {
    const OTHERS: &[(&str, &str)] = &[
        ("name", "name"),
        ("generateName", "generateName"),
        ("namespace", "namespace"),
        ("selfLink", "selfLink"),
        ("uid", "uID"),
        ("resourceVersion", "resourceVersion"),
        ("generation", "generation"),
        ("creationTimestamp", "creationTimestamp"),
        ("deletionTimestamp", "deletionTimestamp"),
        ("deletionGracePeriodSeconds", "deletionGracePeriodSeconds"),
        ("ownerReferences", "ownerReferences"),
        ("finalizers", "finalizers"),
        ("managedFields", "managedFields"),
    ];
    let given = |field: &str| match meta.raw(field) {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_i64() != Some(0) || field == "deletionGracePeriodSeconds",
        _ => true,
    };
    let others = OTHERS.iter().filter(|(field, _)| given(field));
    others.map(|(_, shown)| meta.get(shown).forbidden("cannot be set")).collect()
}

/// A template may leave out which image: whoever makes pods of it fills it in.
fn image(source: &At<'_>, of_pod: bool) -> ErrorList {
    let mut errors = if of_pod { require(source, &["reference"]) } else { ErrorList::new() };
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
pub fn local_unreserved_path(path: &At<'_>) -> ErrorList {
    let mut errors = local_descending_path(path);
    let text = path.text();
    if text.starts_with("..") && !text.starts_with("../") {
        errors.push(path.invalid("must not start with '..'"));
    }
    errors
}
