// SPDX-License-Identifier: Apache-2.0
//! An object in the other versions of its kind, for those who own fields of it there.
//!
//! Who owns what is worked out without waiting. Where a webhook must be asked for an object in another version, that is
//! written down, and it is worked out again once it has answered.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use knarr_schema::crd::{Conversion, Custom};
use knarr_schema::field_table::TypeRef;
use knarr_schema::managed_fields::Versions;
use knarr_schema::{Kind, convert, typed};
use knarr_types::{GroupVersion, Object};
use parking_lot::Mutex;

use crate::app::App;

/// The versions of a kind.
pub(super) struct OtherVersions<'a> {
    app: &'a App,
    /// In the version that is written in.
    kind: &'a Arc<Kind>,
    deadline: Instant,
    asked: Mutex<Asked>,
}

/// What a webhook is asked during a write.
#[derive(Default)]
struct Asked {
    /// Objects and the version that each is wanted in.
    open: Vec<(Object, String)>,
    answered: Vec<((Object, String), Result<Object, String>)>,
}

impl fmt::Debug for OtherVersions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions of {}", self.kind.kind)
    }
}

impl Versions for OtherVersions<'_> {
    fn convert(&self, object: &Object, version: &str) -> Result<Option<(Object, TypeRef)>, String> {
        match &self.kind.custom {
            Some(custom) => self.custom_in(custom, object, version).map(Some),
            None => Ok(self.builtin_in(object, version)),
        }
    }
}

impl<'a> OtherVersions<'a> {
    pub(super) fn new(app: &'a App, kind: &'a Arc<Kind>, deadline: Instant) -> Self {
        Self { app, kind, deadline, asked: Mutex::default() }
    }

    /// Whether a webhook is asked for them.
    pub(super) fn are_remote(&self) -> bool {
        self.kind.custom.as_ref().is_some_and(|custom| custom.webhook().is_some())
    }

    /// Works something out until all that it wants of other versions is known.
    pub(super) async fn settle<T>(&self, mut work_out: impl FnMut() -> T) -> T {
        loop {
            let result = work_out();
            let open = std::mem::take(&mut self.asked.lock().open);
            if open.is_empty() {
                return result;
            }
            for (object, version) in open {
                let converted = self.app.convert(self.kind, &object, &version, self.deadline).await;
                let answer = converted.map(|converted| converted.unwrap_or_else(|| object.clone()));
                let answer = answer.map_err(|status| status.message);
                self.asked.lock().answered.push(((object, version), answer));
            }
        }
    }

    /// What the webhook made of an object, if it was asked; else it will be.
    fn answer(&self, object: &Object, version: &str) -> Result<Object, String> {
        let mut asked = self.asked.lock();
        let is_it = |question: &(Object, String)| question.1 == version && question.0 == *object;
        if let Some((_, answer)) = asked.answered.iter().find(|(question, _)| is_it(question)) {
            return answer.clone();
        }
        if !asked.open.iter().any(is_it) {
            asked.open.push((object.clone(), version.to_owned()));
        }
        Err(format!("nobody has asked for version {version} of the object yet"))
    }

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

    /// A custom object whose definition asks nobody differs between versions by their names alone; what a version's
    /// schema does not know fails, as upstream. From one other version to another a webhook's way is by that written in.
    fn custom_in(&self, custom: &Custom, object: &Object, version: &str) -> Result<(Object, TypeRef), String> {
        let named = GroupVersion::parse(version).filter(|named| named.group == self.kind.group);
        let known = named.as_ref().and_then(|named| custom.versions.get(&named.version));
        let known = known.ok_or_else(|| format!("request to convert CR to an invalid group/version: {version}"))?;
        let own = self.kind.api_version();
        let object = if object["apiVersion"] == version {
            object.clone()
        } else if !matches!(custom.conversion, Conversion::Webhook(_)) {
            let mut object = object.clone();
            object["apiVersion"] = version.into();
            object
        } else if object["apiVersion"] == own || version == own {
            self.answer(object, version)?
        } else {
            self.answer(&self.answer(object, &own)?, version)?
        };
        let ty = known.object_type();
        match typed::validate(&object, ty.get()) {
            Some(fault) => Err(fault),
            None => Ok((object, ty)),
        }
    }
}
