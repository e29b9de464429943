// SPDX-License-Identifier: Apache-2.0
//! An object in the other versions of its kind, for those who own fields of it there.

use std::fmt;
use std::sync::Arc;

use knarr_schema::crd::{Conversion, Custom};
use knarr_schema::field_table::TypeRef;
use knarr_schema::managed_fields::Versions;
use knarr_schema::{Kind, convert, typed};
use knarr_types::{GroupVersion, Object};

use crate::app::App;

/// The versions of a kind.
pub(super) struct OtherVersions<'a> {
    pub app: &'a App,
    /// In the version that is written in.
    pub kind: &'a Arc<Kind>,
}

impl fmt::Debug for OtherVersions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions of {}", self.kind.kind)
    }
}

impl Versions for OtherVersions<'_> {
    fn convert(&self, object: &Object, version: &str) -> Result<Option<(Object, TypeRef)>, String> {
        match &self.kind.custom {
            Some(custom) => custom_in(self.kind, custom, object, version).map(Some),
            None => Ok(self.builtin_in(object, version)),
        }
    }
}

impl OtherVersions<'_> {
    fn builtin_in(&self, object: &Object, version: &str) -> Option<(Object, TypeRef)> {
        let registry = self.app.registry.load();
        let served = |version: &str| {
            let named = GroupVersion::parse(version)?;
            let kind = registry.by_kind(&named.group, &named.version, &self.kind.kind)?;
            (kind.storage == self.kind.storage).then_some(kind)
        };
        let (from, to) = (served(object["apiVersion"].as_str()?)?, served(version)?);
        let mut object = object.clone();
        convert::to_storage(from, &mut object);
        convert::from_storage(to, &mut object);
        Some((object, to.ty.clone()))
    }
}

/// A custom object whose definition asks nobody differs between versions by their names alone; what a version's schema
/// does not know fails, as upstream. Who asks a webhook is taken at the version written in: nobody can be asked here.
fn custom_in(kind: &Kind, custom: &Custom, object: &Object, version: &str) -> Result<(Object, TypeRef), String> {
    if matches!(custom.conversion, Conversion::Webhook(_)) {
        return Ok((object.clone(), kind.ty.clone()));
    }
    let named = GroupVersion::parse(version).filter(|named| named.group == kind.group);
    let known = named.as_ref().and_then(|named| custom.versions.get(&named.version));
    let known = known.ok_or_else(|| format!("request to convert CR to an invalid group/version: {version}"))?;
    let mut object = object.clone();
    object["apiVersion"] = version.into();
    let ty = known.object_type();
    match typed::validate(&object, ty.get()) {
        Some(fault) => Err(fault),
        None => Ok((object, ty)),
    }
}
