// SPDX-License-Identifier: Apache-2.0
//! The rules of a kind, built in or custom, as the write path asks for them.

use std::sync::Arc;

use knarr_types::field_error::faults_of;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, Object};

use crate::encode::json;
use crate::field_table::TypeRef;
use crate::kinds::Kind;
use crate::normalize::fill_in;
use crate::{normalize, normalize_sent, rules};

impl Kind {
    /// Fills in what the client left out.
    pub fn default(&self, object: &mut Object) {
        match &self.custom {
            Some(custom) => custom.default(object),
            None => (self.rules.default)(object),
        }
    }

    /// Brings an object into its one form but for empty lists and maps: see [`normalize_sent`]. True
    /// where there is one.
    pub fn normalize_sent(&self, object: &mut Object) -> bool {
        if self.custom.is_none() {
            return normalize_sent(object, self.ty.get());
        }
        self.normalize(object);
        false
    }

    /// Brings an object into its one form. Of a custom object only the metadata have one.
    pub fn normalize(&self, object: &mut Object) {
        if self.custom.is_none() {
            return normalize(object, self.ty.get());
        }
        let ty = TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        if let (Some(ty), Some(metadata)) = (ty, object.get_mut("metadata")) {
            normalize(metadata, ty.get());
        }
    }

    /// Whether the object is as [`Kind::normalize_sent`] leaves it.
    #[must_use]
    pub fn is_normal(&self, object: &Object) -> bool {
        let mut again = object.clone();
        self.normalize_sent(&mut again);
        again == *object
    }

    /// Makes a new object what a client may create.
    pub fn prepare_create(&self, object: &mut Object) {
        match &self.custom {
            Some(custom) => custom.prepare_create(object),
            None => {
                (self.rules.prepare_create)(object);
                fill_in(object, self.ty.get());
            }
        }
    }

    /// Gives the spec of a new object that may have come before, as others of its template have it, its text: by that it
    /// is known, and so written. The object is in its one form.
    pub fn seal(&self, object: &mut Object) {
        if !self.rules.is_templated || self.custom.is_some() {
            return;
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.seal(|spec| {
                let mut text = Vec::with_capacity(4096);
                json::map(&mut text, spec);
                text.into()
            });
        }
    }

    /// Fills into a valid object what it has when it is read back.
    pub fn complete(&self, object: &mut Object) {
        if self.custom.is_none() {
            (self.rules.complete)(object);
        }
    }

    /// Keeps what this write may not touch as `old` has it.
    pub fn prepare_update(&self, new: &mut Object, old: &Object, subresource: &str) {
        match &self.custom {
            Some(custom) => custom.prepare_update(new, old, subresource),
            None => {
                (self.rules.prepare_update)(new, old, subresource);
                fill_in(new, self.ty.get());
            }
        }
    }

    /// Takes empty lists and maps that were sent for a change, where upstream has the kind count them as such: what it
    /// stores has none, and it compares to the letter.
    pub fn count_empties(&self, new: &mut Object, old: &Object, sent: &Object) {
        let generation = |object: &Object| object["metadata"]["generation"].as_i64().unwrap_or_default();
        let is_counted = generation(new) != generation(old);
        if !is_counted && crate::empties::sent_empties(new, sent, self.ty.get()) {
            rules::fill::generation(new, generation(old) + 1);
        }
    }

    /// Writes down when this change came about, where the kind has a place for it.
    pub fn stamp(&self, new: &mut Object, old: &Object, subresource: &str, now: &str) {
        if self.custom.is_none() {
            (self.rules.stamp)(new, old, subresource, now);
        }
    }

    /// These faults of an object of the kind, with what they show printed as upstream prints it.
    #[must_use]
    pub fn printed(&self, faults: ErrorList) -> ErrorList {
        rules::go_values::print(faults, self.ty.get())
    }

    /// All that is wrong with a new object.
    #[must_use]
    pub fn check_create(&self, object: &Object) -> ErrorList {
        faults_of(|| self.find_create_faults(object))
    }

    fn find_create_faults(&self, object: &Object) -> ErrorList {
        let Some(custom) = &self.custom else {
            let errors = rules::check_create(self.rules, self.namespaced, object);
            return rules::go_values::print(errors, self.ty.get());
        };
        let mut errors = rules::metadata::validate_generic(object, self.namespaced, rules::names::dns_subdomain_name);
        errors.extend(custom.validate(object));
        errors
    }

    /// All that is wrong with a change.
    #[must_use]
    pub fn check_update(&self, new: &Object, old: &Object, subresource: &str) -> ErrorList {
        faults_of(|| self.find_update_faults(new, old, subresource))
    }

    fn find_update_faults(&self, new: &Object, old: &Object, subresource: &str) -> ErrorList {
        if self.custom.is_none() && &*self.group != "apiextensions.k8s.io" {
            let errors = rules::check_update(self.rules, new, old, subresource);
            return rules::go_values::print(errors, self.ty.get());
        }
        // Upstream judges metadata for every kind and once more for these.
        let mut errors = rules::metadata::validate_contents(new);
        errors.extend(rules::metadata::validate_update(new, old));
        errors.extend(rules::metadata::validate_update(new, old));
        match &self.custom {
            Some(custom) => errors.extend(custom.validate_update(new, old, subresource)),
            None => errors.extend((self.rules.validate_update)(new, old, subresource)),
        }
        errors
    }

    /// What a client should know about a new object before it is judged.
    #[must_use]
    pub fn early_warnings(&self, object: &Object) -> Vec<String> {
        if self.custom.is_some() { Vec::new() } else { (self.rules.early_warnings)(object) }
    }

    /// What a client should know about an object that is accepted.
    #[must_use]
    pub fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        if let (None, Some(warnings), Some(old)) = (&self.custom, self.rules.update_warnings, old) {
            return faults_of(|| warnings(object, old));
        }
        match &self.custom {
            Some(custom) => custom.warnings(object, old),
            None if &*self.group == "apiextensions.k8s.io" => {
                let before = old.map(|old| (self.rules.warnings)(old)).unwrap_or_default();
                (self.rules.warnings)(object).into_iter().filter(|warning| !before.contains(warning)).collect()
            }
            None if old.is_some_and(|old| !self.warns_of(object, old)) => Vec::new(),
            None => {
                let mut warnings = faults_of(|| (self.rules.warnings)(object));
                // Nothing can be done any more about what cannot change.
                let fixed = ["metadata.name: this is used", "spec.addressType: "];
                warnings.retain(|text| old.is_none() || !fixed.iter().any(|field| text.starts_with(field)));
                warnings
            }
        }
    }

    /// What a client should know about a status that is accepted.
    #[must_use]
    pub fn status_warnings(&self, object: &Object) -> Vec<String> {
        if self.custom.is_some() { Vec::new() } else { faults_of(|| (self.rules.status_warnings)(object)) }
    }

    /// Upstream says nothing of what was there before.
    fn warns_of(&self, object: &Object, old: &Object) -> bool {
        let generation = |object: &Object| object["metadata"]["generation"].as_i64();
        self.rules.warns_of_updates && !(self.rules.has_generation && generation(object) == generation(old))
    }

    /// What every answer about this kind warns of.
    #[must_use]
    pub fn deprecation(&self) -> Option<&str> {
        match &self.custom {
            Some(custom) => custom.here().deprecation.as_deref(),
            None => self.rules.deprecation,
        }
    }

    /// The values of the fields that selectors may name, beyond name and namespace.
    #[must_use]
    pub fn fields(&self, object: &Object) -> Vec<(Arc<str>, String)> {
        match &self.custom {
            Some(custom) => custom.fields(object),
            None => (self.rules.fields)(object).into_iter().map(|(name, value)| (name.into(), value)).collect(),
        }
    }

    /// An update must say which state it saw.
    #[must_use]
    pub fn needs_resource_version(&self) -> bool {
        self.custom.is_some() || !self.rules.allow_unconditional_update
    }

    /// `metadata.generation` counts changes.
    #[must_use]
    pub fn has_generation(&self) -> bool {
        self.custom.is_some() || self.rules.has_generation
    }
}
