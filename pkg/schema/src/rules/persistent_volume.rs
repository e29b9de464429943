// SPDX-License-Identifier: Apache-2.0

//! Persistent volumes (`pkg/registry/core/persistentvolume`, ValidatePersistentVolume).

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Shown};

use super::Rules;
use super::amount::Amount;
use super::at::{At, same};
use super::fill::{self, empty, object, unset};
use super::go_diff;
use super::go_print;
use super::judging::Judging;
use super::names;
use super::persistent_volume_claim::access_modes;
use super::pod_defaults;
use super::pod_warnings;
use super::security::one_of;
use super::selectors;
use super::volume_sources::{Holder, second, shared};
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
    stamp: |new, old, subresource, now| {
        if subresource == "status" {
            phase_time(&mut new["status"], &old["status"], now);
        }
    },
    validate: |volume| {
        let volume = At::root(volume);
        self::volume(&volume).into_iter().chain(mount_options(&volume)).collect()
    },
    validate_update,
    warnings,
    judging: Judging::WHOLE_TWICE,
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

const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// When the phase changed last: kept where it did not, now where it did and the client does not say when.
fn phase_time(status: &mut Value, before: &Value, now: &str) {
    const FIELD: &str = "lastPhaseTransitionTime";
    let (same_phase, unset) = (status["phase"] == before["phase"], status[FIELD].is_null());
    if same_phase && unset {
        fill::keep(status, before, FIELD);
    } else if !same_phase && (unset || status[FIELD] == before[FIELD]) {
        status[FIELD] = now.into();
    }
}

fn volume(volume: &At<'_>) -> ErrorList {
    let name = volume.str("metadata.name");
    let spec = volume.get("spec");
    let mut errors = ErrorList::new();
    let modes = spec.get("accessModes");
    if spec.len("accessModes") == 0 {
        errors.push(modes.required(""));
    }
    errors.extend(access_modes(&modes));
    errors.extend(capacity(&spec));
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
    errors.extend(source(&spec, name));
    if reclaim.text() == "Recycle" && is_root(spec.str("hostPath.path")) {
        errors.push(reclaim.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.get("storageClassName");
    if !class.text().is_empty() {
        errors.extend(class.faults(names::dns1123_subdomain(class.text())));
    }
    errors.extend(one_of(&spec.get("volumeMode"), &["Block", "Filesystem"]));
    errors.extend(attributes_class(&spec));
    errors
}

/// The old annotation with options of mounting goes with some sources alone.
fn mount_options(volume: &At<'_>) -> Option<FieldError> {
    const MOUNTED_WITH_OPTIONS: &[&str] = &[
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "nfs",
        "rbd",
        "quobyte",
        "iscsi",
        "cinder",
        "cephfs",
        "azureFile",
        "vsphereVolume",
        "azureDisk",
        "photonPersistentDisk",
    ];
    let spec = volume.get("spec");
    let annotations = volume.get("metadata.annotations");
    let refused = annotations.value.get(MOUNT_OPTIONS).is_some() && !MOUNTED_WITH_OPTIONS.iter().any(|s| spec.has(s));
    let path = annotations.path.child(MOUNT_OPTIONS);
    refused.then(|| FieldError::forbidden(&path, "may not specify mount options for this volume type"))
}

/// What is wrong with the spec of a volume that an attachment has in itself: a driver finds it, nobody claims it.
pub(super) fn inline(spec: &At<'_>) -> ErrorList {
    const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
    let unwelcome = |field: &str| spec.has(field).then(|| spec.get(field).forbidden(NOT_INLINE));
    let mut errors: ErrorList = ["claimRef", "capacity"].into_iter().filter_map(unwelcome).collect();
    if !spec.has("csi") {
        errors.push(spec.get("csi").required("has to be specified in the context of inline volumes"));
    }
    let modes = spec.get("accessModes");
    if spec.len("accessModes") == 0 {
        errors.push(modes.required(""));
    }
    errors.extend(access_modes(&modes));
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !["", "Retain"].contains(&reclaim.text()) {
        errors.push(reclaim.forbidden("may only be Retain in the context of inline volumes"));
    }
    errors.extend(unwelcome("nodeAffinity"));
    errors.extend(source(spec, ""));
    if !spec.str("storageClassName").is_empty() {
        errors.extend(unwelcome("storageClassName"));
    }
    if !["", "Filesystem"].contains(&spec.str("volumeMode")) {
        let message = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.push(spec.get("volumeMode").forbidden(message));
    }
    errors.extend(attributes_class(spec));
    errors
}

/// The path of the root, however it is written.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/').filter(|part| !["", "."].contains(part)) {
        depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
    }
    path.starts_with('/') && depth == 0
}

fn attributes_class(spec: &At<'_>) -> ErrorList {
    let class = spec.get("volumeAttributesClassName");
    if !class.is_set() {
        return ErrorList::new();
    }
    let mut errors = if class.text().is_empty() {
        vec![class.required("an empty string is disallowed")]
    } else {
        class.faults(names::dns1123_subdomain(class.text()))
    };
    if !spec.has("csi") {
        errors.push(spec.get("csi").required("has to be specified when using volumeAttributesClassName"));
    }
    errors
}

fn capacity(spec: &At<'_>) -> ErrorList {
    let capacity = spec.get("capacity");
    let mut errors = ErrorList::new();
    if spec.len("capacity") == 0 {
        errors.push(capacity.required(""));
    }
    if !capacity.has("storage") || spec.len("capacity") > 1 {
        errors.push(FieldError::not_supported(&capacity.path, capacity.value.clone(), &["storage"]));
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

/// What is wrong with where the volume of this name keeps its data.
fn source(spec: &At<'_>, name: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for kind in SOURCES.iter().filter(|kind| spec.has(kind)) {
        let at = spec.get(kind);
        if found {
            errors.push(second(spec, kind));
            continue;
        }
        found = true;
        errors.extend(match *kind {
            "local" => local(&at, spec),
            other => shared(&at, other, Holder::Persistent(name)),
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

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    if subresource == "status" {
        return ErrorList::new();
    }
    let (now, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    // Upstream judges the whole twice here.
    let mut errors = volume(&At::root(new));
    errors.extend(mount_options(&At::root(new)));
    errors.extend(volume(&At::root(new)));
    let sources = |spec: &At<'_>| -> Value {
        SOURCES.iter().filter(|kind| spec.has(kind)).map(|kind| ((*kind).to_owned(), spec.raw(kind).clone())).collect()
    };
    let mut given = sources(&now);
    if before.has("csi") && !before.has("csi.controllerExpandSecretRef") {
        // Who may expand the volume may be said later.
        if let Some(csi) = fill::at(&mut given, "csi") {
            fill::remove(csi, "controllerExpandSecretRef");
        }
    }
    if given != sources(&before) {
        let at = now.get("persistentvolumesource");
        let shown = go_diff::changes_of_sources(&sources(&before), &given);
        errors.push(at.forbidden(format!("spec.persistentvolumesource is immutable after creation{shown}")));
    }
    let mode = now.get("volumeMode").named(FieldPath::new("volumeMode"));
    if !same(mode.value, before.raw("volumeMode")) {
        errors.push(mode.invalid("field is immutable"));
    }
    errors.extend(node_affinity_change(&now, &before));
    let class = now.get("volumeAttributesClassName");
    if before.has("volumeAttributesClassName") && !class.is_set() {
        errors.push(class.forbidden("update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Where a volume can be reached stays, but for newer names of the same labels.
fn node_affinity_change(now: &At<'_>, before: &At<'_>) -> Option<FieldError> {
    let affinity = now.get("nodeAffinity").named(FieldPath::new("nodeAffinity"));
    let old = before.get("nodeAffinity");
    if !old.is_set() || same(&with_new_labels(affinity.value, old.value), affinity.value) {
        return None;
    }
    let shown = if affinity.is_set() {
        go_print::of_type(affinity.value, "io.k8s.api.core.v1.VolumeNodeAffinity")
    } else {
        Shown::Value(Value::Null)
    };
    Some(affinity.invalid_as(shown, "field is immutable, except for updating from beta label to GA"))
}

/// The old affinity with the label keys of the new one, where these are only newer names.
fn with_new_labels(new: &Value, old: &Value) -> Value {
    let mut renamed = old.clone();
    let terms = new["required"]["nodeSelectorTerms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(required) = fill::at(&mut renamed, "required") else { return renamed };
    for (old, new) in fill::each(required, "nodeSelectorTerms").zip(terms) {
        for list in ["matchExpressions", "matchFields"] {
            let given = new[list].as_array().into_iter().flatten();
            for (old, new) in fill::each(old, list).zip(given) {
                let newer = old["key"].as_str().and_then(pod_warnings::newer_label);
                if newer.is_some_and(|newer| new["key"] == newer) {
                    old["key"] = new["key"].clone();
                }
            }
        }
    }
    renamed
}

fn warnings(volume: &Object) -> Vec<String> {
    let volume = At::root(volume);
    let mut warnings = Vec::new();
    for (key, why) in [
        (
            "volume.beta.kubernetes.io/storage-class",
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        (MOUNT_OPTIONS, "deprecated since v1.31; use the \"mountOptions\" attribute instead"),
    ] {
        if !volume.raw("metadata.annotations")[key].is_null() {
            warnings.push(format!("metadata.annotations[{key}]: {why}"));
        }
    }
    let spec = volume.get("spec");
    if spec.str("persistentVolumeReclaimPolicy") == "Recycle" {
        let what = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
             provisioning.";
        warnings.push(format!("spec.persistentVolumeReclaimPolicy: {what}"));
    }
    for term in spec.items("nodeAffinity.required.nodeSelectorTerms") {
        warnings.extend(pod_warnings::node_selector_term(&term, false));
    }
    for (kind, why) in [
        ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ] {
        if spec.has(kind) {
            let field = if kind == "storageos" { "storageOS" } else { kind };
            warnings.push(format!("spec.{field}: {why}"));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_says_when_its_phase_changed() {
        let before = json!({"phase": "Pending", "lastPhaseTransitionTime": "t0"});
        for (status, want) in [
            (json!({"phase": "Pending"}), "t0"),
            (json!({"phase": "Bound"}), "t1"),
            (json!({"phase": "Bound", "lastPhaseTransitionTime": "t0"}), "t1"),
            (json!({"phase": "Bound", "lastPhaseTransitionTime": "t2"}), "t2"),
        ] {
            let mut new = status.clone();
            phase_time(&mut new, &before, "t1");
            assert_eq!(new["lastPhaseTransitionTime"], want, "{status}");
        }
    }
}
