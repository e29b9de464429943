// SPDX-License-Identifier: Apache-2.0
//! The rules of the kind CustomResourceDefinition itself
//! (`k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`).
//!
//! Upstream lifts what all versions say alike (their schema, subresources, columns, selectable fields)
//! to the top before it validates, and its messages name that place: [`Lifted`] knows which.

mod approval;
mod defaults;
mod formats;
mod internal;
mod lists;
mod schema;
mod selectable;
mod spec;
mod structural;
mod unsupported;

pub use approval::{Approval, approval};
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use crate::rules::at::At;
use crate::rules::judging::Judging;
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
    judging: Judging::CHANGE.with_any_finalizers(),
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
        // Metadata are not reset: upstream means to, and leaves them as sent.
        // <https://github.com/kubernetes/kubernetes/issues/137681>
        fill::keep(new, old, "spec");
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
    errors.extend(approved(&at, old));
    if spec.flag("preserveUnknownFields") && old.is_none_or(|old| old["spec"]["preserveUnknownFields"] != true) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(spec.get("preserveUnknownFields").invalid(why));
    }
    errors
}

fn name(definition: &At<'_>) -> ErrorList {
    let wanted = format!("{}.{}", definition.str("spec.names.plural"), definition.str("spec.group"));
    let of = |field: &str, prefix: bool| {
        let name = definition.get(field);
        if name.text().is_empty() {
            return ErrorList::new();
        }
        let mut faults = names::dns_subdomain_name(name.text(), prefix);
        if name.text() != wanted {
            faults.push("must be spec.names.plural+\".\"+spec.group".into());
        }
        name.faults(faults)
    };
    let mut errors = of("metadata.generateName", true);
    errors.extend(of("metadata.name", false));
    errors
}

fn stored_versions(definition: &At<'_>) -> ErrorList {
    let stored = definition.get("status.storedVersions");
    let names = definition.strings("status.storedVersions");
    if names.is_empty() {
        return vec![stored.invalid("must have at least one stored version")];
    }
    let mut errors = ErrorList::new();
    let versions = definition.items("spec.versions");
    // A version that is listed twice is found once.
    let mut unmet = names.clone();
    for version in &versions {
        let name = version.str("name");
        if version.flag("storage") && !unmet.contains(&name) {
            errors.push(stored.invalid(format!("must have the storage version {name}")));
        }
        unmet.retain(|stored| *stored != name);
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

/// A group of the Kubernetes community needs an approval, unless nothing about it changes.
fn approved(definition: &At<'_>, old: Option<&Object>) -> ErrorList {
    let Some((approval, why)) = approval(definition.value) else { return ErrorList::new() };
    let before = old.and_then(approval::approval).map(|(approval, _)| approval);
    let path = FieldPath::new("metadata.annotations").key(approval::ANNOTATION);
    match approval {
        _ if before == Some(approval) => ErrorList::new(),
        Approval::Approved | Approval::Bypassed => ErrorList::new(),
        Approval::Missing => vec![FieldError::required(&path, why)],
        Approval::Invalid => {
            let said = definition.value["metadata"]["annotations"][approval::ANNOTATION].clone();
            vec![FieldError::invalid(&path, said, why)]
        }
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
