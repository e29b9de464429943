// SPDX-License-Identifier: Apache-2.0

//! Namespaces (`pkg/registry/core/namespace/strategy.go`).

use knarr_types::tree::json;
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::At;
use super::fill::{self, object};
use super::judging::Judging;
use super::metadata;
use super::names;

pub(super) static NAMESPACE: Rules = Rules {
    default: |namespace| {
        name_label(namespace);
        fill::empty(object(namespace, "status"), "phase", "Active");
    },
    prepare_create,
    prepare_update: |new, old, subresource| match subresource {
        "status" => fill::keep(new, old, "spec"),
        "finalize" => fill::keep(new, old, "status"),
        _ => {
            fill::keep(new, old, "spec");
            fill::keep(new, old, "status");
        }
    },
    name: names::dns_label_name,
    validate: |namespace| finalizers(&At::root(namespace), false),
    validate_update,
    fields: |namespace| vec![("status.phase", At::root(namespace).str("status.phase").to_owned())],
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};

const KUBERNETES: &str = "kubernetes";

/// A namespace is selected by its name; one that is yet to get its name gets the label with it.
fn name_label(namespace: &mut Object) {
    let name = namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        object(object(namespace, "metadata"), "labels")[knarr_types::labels::METADATA_NAME] = json!(name);
    }
}

/// A new namespace is active, and its content is deleted before it goes.
fn prepare_create(namespace: &mut Object) {
    name_label(namespace);
    namespace["status"] = json!({"phase": "Active"});
    let spec = object(namespace, "spec");
    let mut finalizers = spec["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == KUBERNETES) {
        finalizers.push(json!(KUBERNETES));
    }
    spec["finalizers"] = json!(finalizers);
}

/// What is wrong with the finalizers, each named by its place in the list or all by the list.
fn finalizers(namespace: &At<'_>, named: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let list = namespace.get("spec.finalizers");
    for finalizer in namespace.items("spec.finalizers") {
        let finalizer = if named { finalizer } else { finalizer.named(list.path.clone()) };
        errors.extend(finalizer.faults(names::qualified_name(finalizer.text())));
        errors.extend(metadata::unknown_finalizer(&finalizer));
    }
    errors
}

fn validate_update(new: &Object, _old: &Object, subresource: &str) -> ErrorList {
    let namespace = At::root(new);
    match subresource {
        "status" => {
            let (deleted, phase) = (namespace.has("metadata.deletionTimestamp"), namespace.str("status.phase"));
            let path = FieldPath::new("status.Phase");
            match (deleted, phase) {
                (false, "Active") | (true, "Terminating") => ErrorList::new(),
                (false, _) => {
                    let message = "may only be 'Active' if `deletionTimestamp` is empty";
                    vec![FieldError::invalid(&path, phase, message)]
                }
                (true, _) => {
                    let message = "may only be 'Terminating' if `deletionTimestamp` is not empty";
                    vec![FieldError::invalid(&path, phase, message)]
                }
            }
        }
        "finalize" => finalizers(&namespace, true),
        _ => finalizers(&namespace, false),
    }
}
