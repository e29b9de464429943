// SPDX-License-Identifier: Apache-2.0

//! What every object's metadata must be (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go`).

use knarr_types::field_error::is_printable;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Shown, go_json};

use super::at::{At, same};
use super::fill;
use super::names::{self, NameCheck};

/// The most bytes that keys and values of all annotations may take together.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// The longest name of one who owns fields.
const MANAGER_MAX_BYTES: usize = 128;
/// The longest name of what it wrote through.
const SUBRESOURCE_MAX_BYTES: usize = 256;
const ORPHAN: &str = knarr_types::labels::FINALIZER_ORPHAN;
const FOREGROUND: &str = knarr_types::labels::FINALIZER_FOREGROUND;

/// Takes away what a client may not set on a new object.
pub fn prepare_create(object: &mut Object) {
    let metadata = fill::object(object, "metadata");
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"] {
        fill::remove(metadata, field);
    }
}

/// Keeps what an update may leave out or may not change: uid, creation and deletion.
pub fn prepare_update(new: &mut Object, old: &Object) {
    let before = &old["metadata"];
    let metadata = fill::object(new, "metadata");
    fill::remove(metadata, "selfLink");
    for field in ["name", "namespace", "uid"] {
        if metadata[field].as_str().unwrap_or_default().is_empty() {
            fill::keep(metadata, before, field);
        }
    }
    for field in ["creationTimestamp", "generation"] {
        fill::keep(metadata, before, field);
    }
    if !before["deletionTimestamp"].is_null() {
        fill::keep(metadata, before, "deletionTimestamp");
        if metadata["deletionGracePeriodSeconds"].is_null() {
            fill::keep(metadata, before, "deletionGracePeriodSeconds");
        }
    }
}

/// Takes away owners that are named twice; what the client should know of it.
pub fn deduplicate_owners(object: &mut Object) -> Option<String> {
    let owners = object["metadata"].get_mut("ownerReferences")?.as_array_mut()?;
    let (mut kept, mut twice): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
            if !twice.contains(&uid) {
                twice.push(uid);
            }
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    let what = "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix \
         your requests";
    let message = format!(
        ".metadata.ownerReferences contains duplicate entries; {what}; duplicate UID(s) observed: {}",
        twice.join(", ")
    );
    (!twice.is_empty()).then_some(message)
}

/// What is wrong with the metadata of a new object.
#[must_use]
pub fn validate_create(object: &Object, namespaced: bool, name_check: NameCheck) -> ErrorList {
    let mut errors = validate_generic(object, namespaced, name_check);
    errors.extend(kube_finalizers(&At::root(object).get("metadata")));
    errors
}

/// The same for kinds that are not Kubernetes' own: their finalizers may have any name.
pub(crate) fn validate_generic(object: &Object, namespaced: bool, name_check: NameCheck) -> ErrorList {
    let mut errors = validate_names(object, namespaced, name_check);
    errors.extend(validate_contents(object));
    errors
}

/// What is wrong with metadata but for the names.
pub(crate) fn validate_contents(object: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let metadata = At::root(object).get("metadata");
    if metadata.int("generation") < 0 {
        errors.push(metadata.get("generation").invalid(NOT_NEGATIVE));
    }
    errors.extend(labels(&metadata.get("labels")));
    errors.extend(annotations(&metadata.get("annotations")));
    errors.extend(owner_references(&metadata));
    errors.extend(finalizers(&metadata));
    errors.extend(managed_fields(&metadata));
    errors
}

/// What is wrong with the labels that a conversion gave an object.
#[must_use]
pub fn validate_converted_labels(given: &Value) -> ErrorList {
    labels(&At::new(given, FieldPath::new("metadata.labels")))
}

/// What is wrong with the annotations that a conversion gave an object.
#[must_use]
pub fn validate_converted_annotations(given: &Value) -> ErrorList {
    // Upstream's path has this name.
    annotations(&At::new(given, FieldPath::new("metadata.annotation")))
}

/// What is wrong with a change of metadata.
pub(crate) fn validate_update(new: &Object, old: &Object) -> ErrorList {
    let (metadata, before) = (At::root(new).get("metadata"), At::root(old).get("metadata"));
    let mut errors = ErrorList::new();
    if before.has("deletionTimestamp") {
        errors.extend(no_new_finalizers(&metadata, &before));
    }
    if metadata.int("generation") < before.int("generation") {
        errors.push(metadata.get("generation").invalid("must not be decremented"));
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        errors.extend(immutable(&metadata.get(field), &before.get(field)));
    }
    errors.extend(labels(&metadata.get("labels")));
    errors.extend(annotations(&metadata.get("annotations")));
    errors.extend(owner_references(&metadata));
    errors.extend(managed_fields(&metadata));
    errors
}

/// What an update without a resourceVersion is told where the kind does not allow it.
#[must_use]
pub fn resource_version_required() -> ErrorList {
    vec![FieldError::invalid(&FieldPath::new("metadata.resourceVersion"), 0, "must be specified for an update")]
}

/// What is said of a negative number.
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

fn validate_names(object: &Object, namespaced: bool, name_check: NameCheck) -> ErrorList {
    let metadata = At::root(object).get("metadata");
    let mut errors = ErrorList::new();
    let generate_name = metadata.get("generateName");
    if !generate_name.text().is_empty() {
        errors.extend(generate_name.faults(name_check(generate_name.text(), true)));
    }
    let name = metadata.get("name");
    if name.text().is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else {
        errors.extend(name.faults(name_check(name.text(), false)));
    }
    let namespace = metadata.get("namespace");
    match (namespaced, namespace.text().is_empty()) {
        (true, true) => errors.push(namespace.required("")),
        (true, false) => errors.extend(namespace.faults(names::dns_label_name(namespace.text(), false))),
        (false, false) => errors.push(namespace.forbidden("not allowed on this type")),
        (false, true) => {}
    }
    errors
}

/// What is wrong with a map of labels.
pub(super) fn labels(labels: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.entries_here() {
        errors.extend(faults(&labels.path, key, names::qualified_name(key)));
        errors.extend(faults(&labels.path, value.text(), names::label_value(value.text())));
    }
    errors
}

/// What is wrong with a map of annotations.
pub(super) fn annotations(annotations: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut total_bytes = 0;
    for (key, value) in annotations.entries_here() {
        errors.extend(faults(&annotations.path, key, names::qualified_name(&key.to_lowercase())));
        total_bytes += key.len() + value.text().len();
    }
    if total_bytes > ANNOTATIONS_MAX_BYTES {
        errors.push(FieldError::too_long(&annotations.path, ANNOTATIONS_MAX_BYTES));
    }
    errors
}

/// These faults of a value that is not where the path points.
pub(super) fn faults(path: &FieldPath, value: &str, faults: Vec<String>) -> ErrorList {
    faults.into_iter().map(|fault| FieldError::invalid(path, value, fault)).collect()
}

/// What is said of a field that may not change.
pub(super) const IMMUTABLE: &str = "field is immutable";

/// It must be as it was.
pub(super) fn immutable(new: &At<'_>, old: &At<'_>) -> Option<FieldError> {
    (!same(new.value, old.value)).then(|| new.invalid(IMMUTABLE))
}

fn owner_references(metadata: &At<'_>) -> ErrorList {
    let list = metadata.get("ownerReferences");
    let mut errors = ErrorList::new();
    let mut first_controller: Option<String> = None;
    for owner in metadata.items("ownerReferences") {
        let owner = owner.named(list.path.clone());
        errors.extend(owner_reference(&owner));
        if !owner.flag("controller") {
            continue;
        }
        let name = format!("{}/{}", owner.str("kind"), owner.str("name"));
        match &first_controller {
            None => first_controller = Some(name),
            Some(first) => {
                let shown: Vec<_> = list.value.as_array().into_iter().flatten().map(show_owner).collect();
                errors.push(list.invalid_as(
                    Shown::Printed(go_json(format!("[{}]", shown.join(",")))),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {name}"
                    ),
                ));
            }
        }
    }
    errors
}

fn owner_reference(owner: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (group, version) = match owner.str("apiVersion").split('/').collect::<Vec<_>>().as_slice() {
        [version] => ("", *version),
        [group, version] => (*group, *version),
        _ => ("", ""),
    };
    if version.is_empty() {
        errors.push(owner.get("apiVersion").invalid_as(owner.str("apiVersion"), "version must not be empty"));
    }
    for field in ["kind", "name", "uid"] {
        if owner.str(field).is_empty() {
            errors.push(owner.get(field).invalid_as("", "must not be empty"));
        }
    }
    if (group, version, owner.str("kind")) == ("", "v1", "Event") {
        errors.push(owner.invalid_as(
            Shown::Printed(go_json(show_owner(owner.value))),
            "/v1, Kind=Event is disallowed from being an owner",
        ));
    }
    errors
}

fn show_owner(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let shown: Vec<_> =
        fields.iter().filter_map(|field| owner.get(*field).map(|value| format!("\"{field}\":{value}"))).collect();
    format!("{{{}}}", shown.join(","))
}

fn finalizers(metadata: &At<'_>) -> ErrorList {
    let list = metadata.get("finalizers");
    let all = metadata.strings("finalizers");
    let mut errors: ErrorList =
        all.iter().flat_map(|finalizer| faults(&list.path, finalizer, names::qualified_name(finalizer))).collect();
    if all.contains(&ORPHAN) && all.contains(&FOREGROUND) {
        errors.push(list.invalid(format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set")));
    }
    errors
}

/// A finalizer without a domain must be one that the cluster knows.
pub(super) fn kube_finalizers(metadata: &At<'_>) -> ErrorList {
    metadata.items("finalizers").iter().filter_map(unknown_finalizer).collect()
}

/// What is wrong with a finalizer that has no domain.
pub(super) fn unknown_finalizer(finalizer: &At<'_>) -> Option<FieldError> {
    let known = finalizer.text().contains('/') || ["kubernetes", ORPHAN, FOREGROUND].contains(&finalizer.text());
    (!known).then(|| finalizer.invalid("name is neither a standard finalizer name nor is it fully qualified"))
}

fn no_new_finalizers(metadata: &At<'_>, before: &At<'_>) -> Option<FieldError> {
    let old = before.strings("finalizers");
    let mut new: Vec<_> = metadata.strings("finalizers").into_iter().filter(|f| !old.contains(f)).collect();
    if new.is_empty() {
        return None;
    }
    new.sort_unstable();
    new.dedup();
    let shown: Vec<_> = new.iter().map(|f| format!("{f:?}")).collect();
    Some(metadata.get("finalizers").forbidden(format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        shown.join(", ")
    )))
}

fn managed_fields(metadata: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for entry in metadata.items("managedFields") {
        let operation = entry.get("operation");
        if !["Apply", "Update"].contains(&operation.text()) {
            errors.push(operation.invalid_as(operation.text(), "must be `Apply` or `Update`"));
        }
        let fields_type = entry.get("fieldsType");
        if !["", "FieldsV1"].contains(&fields_type.text()) {
            errors.push(fields_type.invalid("must be `FieldsV1`"));
        }
        let manager = entry.get("manager");
        if manager.text().len() > MANAGER_MAX_BYTES {
            errors.push(FieldError::too_long(&manager.path, MANAGER_MAX_BYTES));
        }
        if !manager.text().chars().all(is_printable) {
            errors.push(manager.invalid("should only contain printable characters"));
        }
        if entry.str("subresource").len() > SUBRESOURCE_MAX_BYTES {
            errors.push(FieldError::too_long(&entry.get("subresource").path, SUBRESOURCE_MAX_BYTES));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn metadata_of_a_new_object_is_judged_in_upstreams_order() {
        let object = json!({"metadata": {
            "name": "Bad", "namespace": "x", "labels": {"a": "b c"}, "finalizers": ["unqualified"],
        }});
        let paths: Vec<_> = validate_create(&object, true, names::dns_subdomain_name)
            .iter()
            .map(|error| error.path.to_string())
            .collect();
        assert_eq!(paths, ["metadata.name", "metadata.labels", "metadata.finalizers[0]"]);
    }

    #[test]
    fn an_object_in_deletion_takes_no_new_finalizers() {
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "t", "finalizers": ["e.com/a"]}});
        let mut new = json!({"metadata": {"name": "a", "finalizers": ["e.com/a", "e.com/b"]}});
        prepare_update(&mut new, &old);
        let errors = validate_update(&new, &old);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].detail.ends_with("[]string{\"e.com/b\"}"), "{errors:?}");
    }
}
