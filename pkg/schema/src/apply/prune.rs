// SPDX-License-Identifier: Apache-2.0
//! What a manager applied last time and does not apply now goes from the object, unless somebody else owns it. Owners
//! may know the object in other versions of its kind: each is asked about it there.

use std::borrow::Cow;

use knarr_types::tree::Value;

use super::Applied;
use crate::field_set::FieldSet;
use crate::field_table::{Type, TypeRef};
use crate::managed_fields::{Entries, Id};
use crate::typed;

/// What a configuration makes of an object.
pub(super) struct Pruned {
    /// The object.
    pub object: Value,
    /// The same where what pruning left empty is `null`: it is no longer there, but its owners keep it.
    pub compared: Value,
}

/// An object in a version of its kind.
struct Versioned<'v> {
    object: Cow<'v, Value>,
    ty: Known<'v>,
    version: String,
}

enum Known<'v> {
    Own(&'v Type),
    Other(TypeRef),
}

impl Versioned<'_> {
    fn ty(&self) -> &Type {
        match &self.ty {
            Known::Own(ty) => ty,
            Known::Other(ty) => ty.get(),
        }
    }

    /// The paths of an object of this version, the fields above them among them.
    fn paths_of(&self, object: &Value) -> FieldSet<'static> {
        self.named(&typed::extract(object, self.ty()))
    }

    fn named(&self, set: &FieldSet<'_>) -> FieldSet<'static> {
        typed::name_fields(&set.clone().into_owned(), self.ty())
    }

    fn without(&self, paths: &FieldSet<'_>, tidy: bool) -> Value {
        typed::remove(&self.object, paths, self.ty(), tidy)
    }

    /// What is left of it where `part` is left and `owned` comes back.
    fn restored(&self, part: &Value, owned: &FieldSet<'_>) -> Value {
        let left = self.paths_of(part).union(self.named(owned));
        self.without(&self.paths_of(&self.object).difference(&left), false)
    }
}

impl<'a> Applied<'a> {
    /// What the manager applied last time, and in which version.
    pub(super) fn last(entries: &Entries<'a>, id: &Id<'_>) -> Option<(String, FieldSet<'a>)> {
        entries.get(id).map(|entry| (entry.version.to_string(), entry.fields.clone()))
    }

    /// What is left of the merged object, of which `last` was applied last time.
    pub(super) fn prune(
        &self,
        merged: Value,
        entries: &Entries<'a>,
        last: Option<(String, FieldSet<'a>)>,
    ) -> Result<Pruned, String> {
        let Some((version, last)) = last.filter(|(_, last)| !last.is_empty()) else {
            return Ok(Pruned { compared: merged.clone(), object: merged });
        };
        let own = version == self.manager.api_version;
        let then = if own {
            Some(Versioned { object: Cow::Borrowed(&merged), ty: Known::Own(self.ty), version })
        } else {
            self.convert(&merged, &version)?
        };
        let Some(then) = then else { return Ok(Pruned { compared: merged.clone(), object: merged }) };
        let last = then.named(&last);
        let left = self.owned(&then, then.without(&last, false), entries)?;
        let gone = then.paths_of(&then.object).difference(&left).intersection(&last);
        let now = |object: Value| {
            if own {
                return Ok(object);
            }
            let converted = self.convert(&object, self.manager.api_version)?;
            Ok::<_, String>(converted.map_or(object, |converted| converted.object.into_owned()))
        };
        Ok(Pruned { object: now(then.without(&gone, true))?, compared: now(then.without(&gone, false))? })
    }

    /// The paths that are left of an object of which `pruned` was left, with what its owners add again.
    fn owned(
        &self,
        then: &Versioned<'_>,
        mut pruned: Value,
        entries: &Entries<'a>,
    ) -> Result<FieldSet<'static>, String> {
        // First the version that was pruned: what goes may be what others need to be converted.
        let mut versions = vec![then.version.clone()];
        for entry in entries.iter() {
            if !versions.iter().any(|known| **known == *entry.version) {
                versions.push(entry.version.to_string());
            }
        }
        let mut other: Option<Versioned<'_>> = None;
        for version in versions {
            let of_version = entries.iter().filter(|entry| *entry.version == *version);
            let owned = of_version.fold(FieldSet::default(), |owned, entry| owned.union(entry.fields.clone()));
            let now = other.as_ref().unwrap_or(then);
            if now.version == version {
                pruned = now.restored(&pruned, &owned);
            } else if let (Some(whole), Some(part)) =
                (self.convert(&now.object, &version)?, self.convert(&pruned, &version)?)
            {
                pruned = whole.restored(&part.object, &owned);
                other = Some(whole);
            }
        }
        if other.is_some() {
            let left = self.convert(&pruned, &then.version)?;
            pruned = left.map_or_else(|| then.object.clone().into_owned(), |left| left.object.into_owned());
        }
        Ok(then.paths_of(&pruned))
    }

    /// An object in another version; `None` where there is none of that name.
    fn convert(&self, object: &Value, version: &str) -> Result<Option<Versioned<'static>>, String> {
        let converted = self.manager.others.convert(object, version)?;
        Ok(converted.map(|(object, ty)| Versioned {
            object: Cow::Owned(object),
            ty: Known::Other(ty),
            version: version.to_owned(),
        }))
    }
}
