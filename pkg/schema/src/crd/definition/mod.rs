// SPDX-License-Identifier: Apache-2.0
//! The rules of the kind CustomResourceDefinition itself
//! (`k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`).
//!
//! Upstream lifts what all versions say alike (their schema, subresources, columns, selectable fields)
//! to the top before it validates, and its messages name that place: [`Lifted`] knows which.

mod defaults;
mod formats;
mod lists;
mod schema;
mod selectable;
mod spec;
mod structural;

use knarr_types::{ErrorList, FieldError, FieldPath, Object};
use serde_json::{Value, json};

use crate::rules::at::At;
use crate::rules::{Rules, fill, names};

/// The rules of definitions.
pub(crate) static CUSTOM_RESOURCE_DEFINITION: Rules = Rules {
    default,
    prepare_create: |definition| {
        fill::first_generation(definition);
        definition["status"] =
            json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null});
        store_versions(definition);
    },
    prepare_update,
    name: |_, _| Vec::new(),
    validate: |definition| validate(definition, None),
    validate_update: |new, old, subresource| match subresource {
        "status" => spec::names(&At::root(new).get("status.acceptedNames")),
        _ => validate(new, Some(old)),
    },
    warnings: formats::warnings,
    allow_unconditional_update: false,
    has_generation: true,
    ..Rules::DEFAULT
};

fn default(definition: &mut Object) {
    let storage = storage_versions(definition);
    let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    let names = fill::object(spec, "names");
    if !kind.is_empty() {
        fill::empty(names, "singular", kind.to_lowercase());
        fill::empty(names, "listKind", format!("{kind}List"));
    }
    fill::unset(spec, "conversion", json!({"strategy": "None"}));
    if let Some(service) = fill::at(spec, "conversion.webhook.clientConfig.service") {
        fill::unset(service, "port", 443);
    }
    if definition["status"]["storedVersions"].as_array().is_none_or(Vec::is_empty) && !storage.is_empty() {
        fill::object(definition, "status")["storedVersions"] = storage.into();
    }
}

/// The versions marked for storage; a valid definition has one.
fn storage_versions(definition: &Object) -> Vec<Value> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions.filter(|version| version["storage"] == true).map(|version| version["name"].clone()).collect()
}

/// Remembers the storage version among those in which objects may be stored.
fn store_versions(definition: &mut Object) {
    let Some(version) = storage_versions(definition).into_iter().next() else { return };
    let status = fill::object(definition, "status");
    let mut stored = status["storedVersions"].as_array().cloned().unwrap_or_default();
    if !stored.contains(&version) {
        stored.push(version);
        status["storedVersions"] = stored.into();
    }
}

fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    if subresource == "status" {
        fill::keep(new, old, "spec");
        let (managed, finalizers) =
            (new["metadata"].get("managedFields").cloned(), new["metadata"].get("finalizers").cloned());
        let mut metadata = old["metadata"].clone();
        for (field, value) in [("managedFields", managed), ("finalizers", finalizers)] {
            match value {
                Some(value) => metadata[field] = value,
                None => fill::remove(&mut metadata, field),
            }
        }
        new["metadata"] = metadata;
        return;
    }
    fill::keep(new, old, "status");
    fill::bump_generation(new, old, &["spec"]);
    store_versions(new);
}

fn validate(definition: &Object, old: Option<&Object>) -> ErrorList {
    let at = At::root(definition);
    let spec = at.get("spec");
    let mut errors = ErrorList::new();
    if old.is_none() {
        errors.extend(name(&at));
    }
    errors.extend(spec::spec(&spec, old));
    errors.extend(spec::names(&at.get("status.acceptedNames")));
    errors.extend(stored_versions(&at));
    errors.extend(approval(&at, old));
    if spec.flag("preserveUnknownFields") && old.is_none_or(|old| old["spec"]["preserveUnknownFields"] != true) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(spec.get("preserveUnknownFields").invalid(why));
    }
    errors
}

fn name(definition: &At<'_>) -> ErrorList {
    let name = definition.get("metadata.name");
    if name.text().is_empty() {
        return ErrorList::new();
    }
    let mut faults = names::dns1123_subdomain(name.text());
    if name.text() != format!("{}.{}", definition.str("spec.names.plural"), definition.str("spec.group")) {
        faults.push("must be spec.names.plural+\".\"+spec.group".into());
    }
    name.faults(faults)
}

fn stored_versions(definition: &At<'_>) -> ErrorList {
    let stored = definition.get("status.storedVersions");
    let names = definition.strings("status.storedVersions");
    if names.is_empty() {
        return vec![stored.invalid("must have at least one stored version")];
    }
    let mut errors = ErrorList::new();
    let versions = definition.items("spec.versions");
    for version in versions.iter().filter(|version| version.flag("storage") && !names.contains(&version.str("name"))) {
        errors.push(stored.invalid(format!("must have the storage version {}", version.str("name"))));
    }
    for (i, name) in names.iter().enumerate() {
        if !versions.iter().any(|version| version.str("name") == *name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(&stored.path.index(i), *name, why));
        }
    }
    errors
}

/// The annotation that groups of the Kubernetes community need.
/// <https://github.com/kubernetes/enhancements/pull/1111>
fn approval(definition: &At<'_>, old: Option<&Object>) -> ErrorList {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let group = definition.str("spec.group");
    let is_protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    if !is_protected {
        return ErrorList::new();
    }
    let said = |object: &Object| object["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default().to_owned();
    let value = said(definition.value);
    if old.is_some_and(|old| approved(&said(old)) == approved(&value)) {
        return ErrorList::new();
    }
    let path = FieldPath::new("metadata.annotations").key(ANNOTATION);
    match approved(&value) {
        Approval::Given => ErrorList::new(),
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation {ANNOTATION:?}, {SEE}");
            vec![FieldError::required(&path, why)]
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
            );
            vec![FieldError::invalid(&path, value, why)]
        }
    }
}

#[derive(PartialEq, Eq)]
enum Approval {
    Given,
    Missing,
    Invalid,
}

fn approved(annotation: &str) -> Approval {
    let is_url = annotation.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    match annotation {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") || is_url => Approval::Given,
        _ => Approval::Invalid,
    }
}

/// What all versions of a definition say alike, and where upstream's messages look for it.
pub(super) struct Lifted<'a> {
    versions: &'a [At<'a>],
}

impl<'a> Lifted<'a> {
    pub(super) fn of(versions: &'a [At<'a>]) -> Self {
        Self { versions }
    }

    /// The first version's value of the field where all versions have the same.
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        let first = self.versions.first()?.raw(field);
        let filled = |value: &Value| match value {
            Value::Array(items) => !items.is_empty(),
            other => !other.is_null(),
        };
        (filled(first) && self.versions.iter().all(|version| version.raw(field) == first)).then_some(first)
    }
}

#[cfg(test)]
mod tests;
