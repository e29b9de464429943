// SPDX-License-Identifier: Apache-2.0

//! Claims for storage (`pkg/registry/core/persistentvolumeclaim`, ValidatePersistentVolumeClaim).

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object, Shown};

use super::Rules;
use super::amount::Amount;
use super::at::{At, same};
use super::fill;
use super::go_diff;
use super::judging::Judging;
use super::names;
use super::security::one_of;
use super::selectors;

pub(super) static PERSISTENT_VOLUME_CLAIM: Rules = Rules {
    changes_when_read: true,
    default,
    prepare_create,
    prepare_update,
    validate,
    validate_update,
    warnings,
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

/// The ways to mount a volume.
pub(super) const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn default(claim: &mut Object) {
    fill::empty(fill::object(claim, "status"), "phase", "Pending");
    fill::unset(fill::object(claim, "spec"), "volumeMode", "Filesystem");
}

fn prepare_create(claim: &mut Object) {
    claim["status"] = knarr_types::tree::json!({"phase": "Pending"});
    let spec = fill::object(claim, "spec");
    drop_foreign_source(spec);
    drop_odd_source(spec);
    mirror_data_source(spec);
}

/// A source of a kind that cannot fill a volume is dropped, as if it had never been given.
fn drop_odd_source(spec: &mut Value) {
    if spec["dataSourceRef"].is_null() && !spec["dataSource"].is_null() && !is_core_source(&spec["dataSource"]) {
        fill::remove(spec, "dataSource");
    }
}

/// A source in another namespace is behind a switch that is off.
fn drop_foreign_source(spec: &mut Value) {
    if !spec["dataSourceRef"]["namespace"].as_str().unwrap_or_default().is_empty() {
        fill::remove(spec, "dataSourceRef");
    }
}

/// A claim or a snapshot.
fn is_core_source(source: &Value) -> bool {
    let text = |field: &str| source[field].as_str().unwrap_or_default();
    matches!(
        (text("apiGroup"), text("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// `dataSource` and `dataSourceRef` say the same where only one is given.
fn mirror_data_source(spec: &mut Value) {
    if spec["dataSource"].is_object() && spec["dataSourceRef"].is_null() {
        spec["dataSourceRef"] = spec["dataSource"].clone();
    } else if spec["dataSourceRef"].is_object()
        && spec["dataSource"].is_null()
        && spec["dataSourceRef"]["namespace"].as_str().unwrap_or_default().is_empty()
    {
        let mut source = spec["dataSourceRef"].clone();
        fill::remove(&mut source, "namespace");
        spec["dataSource"] = source;
    }
}

fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    if subresource == "status" {
        fill::keep(new, old, "spec");
    } else {
        fill::keep(new, old, "status");
        let spec = fill::object(new, "spec");
        if old["spec"]["dataSourceRef"].is_null() {
            drop_foreign_source(spec);
        }
        if old["spec"]["dataSource"].is_null() {
            drop_odd_source(spec);
        }
        mirror_data_source(spec);
    }
}

fn validate(claim: &Object) -> ErrorList {
    spec(&At::root(claim).get("spec"))
}

/// What is wrong with what a claim asks for.
pub(super) fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let modes = spec.get("accessModes");
    if spec.len("accessModes") == 0 {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    errors.extend(selectors::label_selector(&spec.get("selector")));
    errors.extend(access_modes(&modes));
    errors.extend(storage(spec));
    let class = spec.get("storageClassName");
    if !class.text().is_empty() {
        errors.extend(class.faults(names::dns1123_subdomain(class.text())));
    }
    errors.extend(one_of(&spec.get("volumeMode"), &["Block", "Filesystem"]));
    errors.extend(data_sources(spec));
    let attributes = spec.get("volumeAttributesClassName");
    if !attributes.text().is_empty() {
        errors.extend(attributes.faults(names::dns1123_subdomain(attributes.text())));
    }
    errors
}

/// What is wrong with the ways in which a volume may be mounted.
pub(super) fn access_modes(modes: &At<'_>) -> ErrorList {
    let given = super::at::strings(modes.value);
    let mut errors: ErrorList = given
        .iter()
        .filter(|mode| !ACCESS_MODES.contains(mode))
        .map(|mode| FieldError::not_supported(&modes.path, *mode, ACCESS_MODES))
        .collect();
    let others = given.iter().any(|mode| ACCESS_MODES.contains(mode) && *mode != "ReadWriteOncePod");
    if given.contains(&"ReadWriteOncePod") && others {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

fn storage(spec: &At<'_>) -> ErrorList {
    let path = spec.get("resources").path.key("storage");
    let request = spec.get("resources.requests.storage").named(path);
    match Amount::parse(request.text()) {
        None => vec![request.required("")],
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            vec![request.invalid("must be greater than zero")]
        }
        Some(_) => ErrorList::new(),
    }
}

fn data_sources(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["dataSource", "dataSourceRef"] {
        let source = spec.get(field);
        if !source.is_set() {
            continue;
        }
        for part in ["name", "kind"] {
            if source.str(part).is_empty() {
                errors.push(source.get(part).required(""));
            }
        }
        let group = source.get("apiGroup");
        if group.text().is_empty() && source.str("kind") != "PersistentVolumeClaim" {
            let shown = source.get("kind");
            errors.push(
                source
                    .invalid_as(shown.text(), "must be 'PersistentVolumeClaim' when referencing the default apiGroup"),
            );
        }
        if !group.text().is_empty() {
            errors.extend(group.faults(names::dns1123_subdomain(group.text())));
        }
    }
    if spec.has("dataSource") && spec.has("dataSourceRef") && !same(spec.raw("dataSource"), spec.raw("dataSourceRef")) {
        errors.push(spec.invalid_as(Shown::Printed("{}".to_owned()), "must match dataSourceRef"));
    }
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (claim, before) = (At::root(new), At::root(old));
    if subresource == "status" {
        return status(&claim);
    }
    let mut errors = validate(new);
    let (spec, old_spec) = (claim.get("spec"), before.get("spec"));
    let (mut munged, mut kept) = (spec.value.clone(), old_spec.value.clone());
    if old_spec.str("volumeName").is_empty() {
        fill::keep(&mut kept, spec.value, "volumeName");
    }
    errors.extend(class_change(&claim, &before, &mut munged));
    if before.str("status.phase") == "Bound" {
        if let Some(requests) = fill::at(&mut munged, "resources.requests") {
            fill::keep(requests, old_spec.raw("resources.requests"), "storage");
        }
        fill::keep(&mut munged, old_spec.value, "volumeAttributesClassName");
    }
    // An empty class is another than none.
    let classes = |spec: &Value| ["storageClassName", "volumeAttributesClassName"].map(|class| spec[class].is_string());
    if !same(&munged, &kept) || classes(&munged) != classes(&kept) {
        let shown = go_diff::changes(&kept, &munged, "io.k8s.api.core.v1.PersistentVolumeClaimSpec");
        errors.push(spec.forbidden(format!("{IMMUTABLE}{shown}")));
    }
    let asks = "resources.requests.storage";
    let (amount, old_amount) = (Amount::parse(spec.str(asks)), Amount::parse(old_spec.str(asks)));
    let capacity = Amount::parse(before.str("status.capacity.storage"));
    if amount < old_amount && amount <= capacity {
        errors.push(spec.get(asks).forbidden("field can not be less than status.capacity"));
    }
    if !same(spec.raw("volumeMode"), old_spec.raw("volumeMode")) {
        errors.push(
            spec.get("volumeMode").named(knarr_types::FieldPath::new("volumeMode")).invalid("field is immutable"),
        );
    }
    errors.extend(attributes_change(&spec, &before));
    errors
}

/// A claim that was made without a class, or with one in the old annotation, may be given it as a field.
fn class_change(claim: &At<'_>, before: &At<'_>, munged: &mut Value) -> Option<FieldError> {
    let annotation = |claim: &At<'_>| {
        claim.get("metadata.annotations").value.get(CLASS_ANNOTATION).and_then(Value::as_str).map(str::to_owned)
    };
    let (new_class, old_class) = (annotation(claim), annotation(before));
    let field = claim.get("spec.storageClassName").value.as_str();
    let had_field = before.has("spec.storageClassName");
    let upgraded = old_class.is_some()
        && !had_field
        && field == old_class.as_deref()
        && (new_class.is_none() || new_class == old_class);
    if upgraded {
        fill::remove(munged, "storageClassName");
        return None;
    }
    if field.is_some() && !had_field && old_class.as_deref().is_none_or(|old| field == Some(old)) {
        fill::remove(munged, "storageClassName");
    }
    let (new_class, old_class) = (new_class.unwrap_or_default(), old_class.unwrap_or_default());
    let path = claim.get("metadata.annotations").path.child(CLASS_ANNOTATION);
    (new_class != old_class).then(|| FieldError::invalid(&path, new_class, "field is immutable"))
}

/// How a volume performs may change, but once it does in some way it goes on to in one.
fn attributes_change(spec: &At<'_>, before: &At<'_>) -> Option<FieldError> {
    let class = spec.get("volumeAttributesClassName");
    let has_one = before.has("status.currentVolumeAttributesClassName");
    if !has_one || !class.text().is_empty() || same(class.value, before.raw("spec.volumeAttributesClassName")) {
        return None;
    }
    let to = if class.is_set() { "empty string" } else { "nil" };
    let why = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
    Some(class.forbidden(why))
}

/// What the maker of a claim should know.
fn warnings(claim: &Object) -> Vec<String> {
    let claim = At::root(claim);
    let annotations = claim.get("metadata.annotations");
    let mut warnings = Vec::new();
    if annotations.value.get(CLASS_ANNOTATION).is_some() {
        let why = "deprecated since v1.8; use \"storageClassName\" attribute instead";
        warnings.push(format!("{}: {why}", annotations.path.key(CLASS_ANNOTATION)));
    }
    warnings.extend(spec_warnings(&claim.get("spec")));
    warnings
}

/// Bytes come whole.
pub(super) fn spec_warnings(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let amounts = spec.get("resources").get(list);
        let amount = amounts.get("storage").named(amounts.path.key("storage"));
        if Amount::parse(amount.text()).is_some_and(|amount| !amount.is_whole()) {
            let text = amount.text();
            warnings.push(format!("{}: fractional byte value {text:?} is invalid, must be an integer", amount.path));
        }
    }
    warnings
}

fn status(claim: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if claim.str("metadata.resourceVersion").is_empty() {
        errors.push(claim.get("metadata.resourceVersion").required(""));
    }
    if claim.len("spec.accessModes") == 0 {
        errors.push(FieldError::required(&knarr_types::FieldPath::new("Spec.accessModes"), ""));
    }
    errors.extend(claim.entries("status.capacity").iter().filter_map(|(_, amount)| negative(amount)));
    let states = claim.get("status.allocatedResourceStatuses");
    for (name, state) in states.entries_here() {
        errors.extend(resource_key(&states, name));
        if !RESIZE_STATES.contains(&state.text()) {
            // Upstream shows the resource here, not its state.
            errors.push(FieldError::not_supported(&states.path, name, RESIZE_STATES));
        }
    }
    let allocated = claim.get("status.allocatedResources");
    for (name, amount) in allocated.entries_here() {
        let faults = resource_key(&allocated, name);
        errors.extend(if faults.is_empty() { negative(&amount).into_iter().collect() } else { faults });
    }
    errors
}

const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn negative(amount: &At<'_>) -> Option<FieldError> {
    let parsed = Amount::parse(amount.text()).filter(|parsed| parsed.is_negative())?;
    Some(amount.invalid_as(parsed.rounded(), "must be a valid resource quantity"))
}

/// Of the cluster's own resources a claim can only have storage.
fn resource_key(map: &At<'_>, name: &str) -> ErrorList {
    let faults = super::metadata::faults(&map.path, name, names::qualified_name(name));
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if faults.is_empty() && native && name != "storage" {
        return vec![FieldError::not_supported(&map.path, name, &["storage"])];
    }
    faults
}
