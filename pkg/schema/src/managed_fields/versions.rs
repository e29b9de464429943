// SPDX-License-Identifier: Apache-2.0
//! Owners that know an object in another version of its kind: what changed for them
//! (`k8s.io/apimachinery/pkg/util/managedfields/internal/versionconverter.go`).

use std::fmt;

use knarr_types::Object;

use super::{Entries, Manager, reset_fields};
use crate::field_table::{Type, TypeRef};
use crate::typed::{self, Comparison};

/// The versions that a kind has besides the one that is written in.
pub trait Versions: fmt::Debug + Sync {
    /// The object, whose `apiVersion` says what it is in now, in the version of that name, with the type that it has
    /// there; `None` where the kind has no such version (any more).
    ///
    /// # Errors
    /// Says why it cannot be brought into that version.
    fn convert(&self, object: &Object, version: &str) -> Result<Option<(Object, TypeRef)>, String>;
}

/// There is one version only.
#[derive(Clone, Copy, Debug)]
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, _object: &Object, _version: &str) -> Result<Option<(Object, TypeRef)>, String> {
        Ok(None)
    }
}

/// The versions of the entries but the one that is written in, each once.
fn others_of(entries: &Entries<'_>, own: &str) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    for entry in entries.iter().filter(|entry| *entry.version != *own) {
        if !others.iter().any(|other| **other == *entry.version) {
            others.push(entry.version.to_string());
        }
    }
    others
}

/// Forgets the owners whose version of the kind is gone.
pub(crate) fn forget_gone(entries: &mut Entries<'_>, object: &Object, manager: &Manager<'_>) -> Result<(), String> {
    for version in others_of(entries, manager.api_version) {
        if manager.others.convert(object, &version)?.is_none() {
            entries.forget(&version);
        }
    }
    Ok(())
}

/// What differs between two objects for those who own fields in other versions.
pub(crate) fn comparisons(
    entries: &Entries<'_>,
    old: &Object,
    new: &Object,
    manager: &Manager<'_>,
) -> Result<Vec<(String, Comparison<'static>)>, String> {
    let mut all = Vec::new();
    for version in others_of(entries, manager.api_version) {
        let before = manager.others.convert(old, &version)?;
        let after = manager.others.convert(new, &version)?;
        if let (Some((before, ty)), Some((after, _))) = (before, after) {
            let mut found = typed::compare(&before, &after, ty.get()).into_owned();
            reset_fields(&mut found, manager);
            all.push((version, found));
        }
    }
    Ok(all)
}

/// Brings owners in step with a schema that has changed since they were written; true where it had. The types of
/// built-in kinds do not change.
pub(crate) fn reconcile(
    entries: &mut Entries<'_>,
    object: &Object,
    ty: &Type,
    manager: &Manager<'_>,
) -> Result<bool, String> {
    let mut changed = false;
    if !is_custom(ty) {
        return Ok(false);
    }
    for version in others_of(entries, manager.api_version).into_iter().chain([manager.api_version.to_owned()]) {
        let own = version == manager.api_version;
        let converted = if own { None } else { manager.others.convert(object, &version)? };
        let ty = match &converted {
            Some((_, ty)) => ty.get(),
            None if own => ty,
            None => continue,
        };
        for entry in entries.iter_mut().filter(|entry| *entry.version == *version) {
            if let Some(reconciled) = typed::reconcile(&entry.fields, ty) {
                entry.fields = reconciled;
                changed = true;
            }
        }
    }
    Ok(changed)
}

/// It is the type of a custom kind.
pub(crate) fn is_custom(ty: &Type) -> bool {
    matches!(ty, Type::Struct(shape) if shape.name.is_empty())
}
