// SPDX-License-Identifier: Apache-2.0

//! Persistent volumes (`pkg/registry/core/persistentvolume`, ValidatePersistentVolume).

use knarr_types::{ErrorList, FieldPath, Object};
use serde_json::{Value, json};

use super::Rules;
use super::amount::Amount;
use super::at::{At, same};
use super::containers::required_one_of;
use super::fill::{self, empty, object, unset};
use super::go_diff;
use super::names;
use super::persistent_volume_claim::access_modes;
use super::pod_defaults;
use super::security::one_of;
use super::selectors;
use super::volumes;

pub(super) static PERSISTENT_VOLUME: Rules = Rules {
    default: |volume| {
        empty(object(volume, "status"), "phase", "Pending");
        let spec = object(volume, "spec");
        empty(spec, "persistentVolumeReclaimPolicy", "Retain");
        unset(spec, "volumeMode", "Filesystem");
        pod_defaults::shared_volume_source(spec);
    },
    prepare_create: |volume| {
        let now = volume["metadata"]["creationTimestamp"].clone();
        volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    },
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" });
    },
    validate: |volume| spec(&At::root(volume).get("spec")),
    validate_update,
    ..Rules::DEFAULT
};

const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let modes = spec.get("accessModes");
    if spec.len("accessModes") == 0 {
        errors.push(modes.required(""));
    }
    errors.extend(access_modes(&modes));
    errors.extend(capacity(spec));
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !reclaim.text().is_empty() {
        errors.extend(one_of(&reclaim, &["Delete", "Recycle", "Retain"]));
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        if affinity.has("required") {
            errors.extend(selectors::node_selector(&affinity.get("required")));
        } else {
            errors.push(affinity.get("required").required("must specify required node constraints"));
        }
    }
    errors.extend(source(spec));
    if reclaim.text() == "Recycle" && spec.str("hostPath.path") == "/" {
        errors.push(reclaim.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.get("storageClassName");
    if !class.text().is_empty() {
        errors.extend(class.faults(names::dns1123_subdomain(class.text())));
    }
    errors.extend(required_one_of(&spec.get("volumeMode"), &["Block", "Filesystem"]));
    errors
}

fn capacity(spec: &At<'_>) -> ErrorList {
    let capacity = spec.get("capacity");
    let mut errors = ErrorList::new();
    if spec.len("capacity") == 0 {
        errors.push(capacity.required(""));
    }
    if !capacity.has("storage") || spec.len("capacity") > 1 {
        errors.push(knarr_types::FieldError::not_supported(&capacity.path, capacity.value.clone(), &["storage"]));
    }
    for (_, amount) in capacity.entries_here() {
        let Some(parsed) = Amount::parse(amount.text()) else { continue };
        if parsed.is_negative() {
            errors.push(amount.invalid_as(parsed.rounded(), "must be a valid resource quantity"));
        }
        if parsed.is_negative() || parsed.is_zero() {
            errors.push(amount.invalid("must be greater than zero"));
        }
    }
    errors
}

fn source(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in SOURCES.iter().filter(|kind| spec.has(kind)) {
        let at = spec.get(kind);
        if found {
            errors.push(at.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        errors.extend(match *kind {
            "local" => local(&at, spec),
            "csi" => csi(&at),
            "glusterfs" => volumes::require(&at, &["endpoints", "path"]),
            "azureFile" => volumes::require(&at, &["secretName", "shareName"]),
            other => volumes::shared(&at, other),
        });
    }
    if !found {
        errors.push(spec.required("must specify a volume type"));
    }
    errors
}

fn local(source: &At<'_>, spec: &At<'_>) -> ErrorList {
    let mut errors = volumes::require(source, &["path"]);
    errors.extend(volumes::no_backsteps(&source.get("path")));
    if !spec.has("nodeAffinity") {
        errors.push(spec.get("nodeAffinity").required("Local volume requires node affinity"));
    }
    errors
}

fn csi(source: &At<'_>) -> ErrorList {
    let mut errors = volumes::csi_driver_name(&source.get("driver"));
    errors.extend(volumes::require(source, &["volumeHandle"]));
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    if subresource == "status" {
        return ErrorList::new();
    }
    let (now, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    let mut errors = spec(&now);
    let sources = |spec: &At<'_>| -> Value {
        SOURCES.iter().filter(|kind| spec.has(kind)).map(|kind| ((*kind).to_owned(), spec.raw(kind).clone())).collect()
    };
    if sources(&now) != sources(&before) {
        let at = now.get("persistentvolumesource");
        let shown = go_diff::changes(&sources(&before), &sources(&now), "io.k8s.api.core.v1.PersistentVolumeSpec");
        errors.push(at.forbidden(format!("spec.persistentvolumesource is immutable after creation{shown}")));
    }
    let mode = now.get("volumeMode").named(FieldPath::new("volumeMode"));
    if !same(mode.value, before.raw("volumeMode")) {
        errors.push(mode.invalid("field is immutable"));
    }
    errors
}
