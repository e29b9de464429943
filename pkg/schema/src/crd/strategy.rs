// SPDX-License-Identifier: Apache-2.0
//! What a write may touch of a custom object, and when its generation counts on.

use knarr_types::Object;
use knarr_types::tree::{Map, Text, Value};

use super::custom::Custom;
use crate::rules::names;

impl Custom {
    /// A new object has generation 1, and no status where that is a subresource.
    pub fn prepare_create(&self, object: &mut Object) {
        if let Some(fields) = object.as_object_mut().filter(|_| self.here().status) {
            fields.remove("status");
        }
        object["metadata"]["generation"] = 1.into();
    }

    /// An update leaves the status, an update of the status leaves all else. The generation counts
    /// changes of everything but metadata.
    pub fn prepare_update(&self, new: &mut Object, old: &Object, subresource: &str) {
        if subresource == "status" {
            let status = new.get("status").cloned();
            let managed = new["metadata"].get("managedFields").cloned();
            *new = old.clone();
            put(new, "status", status);
            put(&mut new["metadata"], "managedFields", managed);
            return;
        }
        if self.here().status {
            put(new, "status", old.get("status").cloned());
        }
        let before = old["metadata"]["generation"].as_i64().unwrap_or(1);
        let changed = without_metadata(new) != without_metadata(old);
        new["metadata"]["generation"] = (before + i64::from(changed)).into();
    }
}

impl Custom {
    /// New finalizers whose names could be anybody's.
    #[must_use]
    pub fn warnings(&self, new: &Object, old: Option<&Object>) -> Vec<String> {
        let before = old.map(|old| strings(&old["metadata"]["finalizers"])).unwrap_or_default();
        let mut added = strings(&new["metadata"]["finalizers"]);
        added.retain(|name| !before.contains(name));
        added.sort_unstable();
        let mut warnings: Vec<String> = added.into_iter().flat_map(finalizer_warnings).collect();
        warnings.extend(old.map(|old| self.rule_warnings(new, old)).unwrap_or_default());
        warnings
    }
}

fn finalizer_warnings(name: &str) -> Vec<String> {
    const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
    let said = |why: &str| format!("metadata.finalizers: {name:?}: {why}");
    let mut warnings: Vec<String> = names::qualified_name(name).iter().map(|why| said(why)).collect();
    if !name.contains('/') && !STANDARD.contains(&name) {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        let why = "to avoid accidental conflicts with other finalizer writers";
        warnings.push(said(&format!("prefer a domain-qualified finalizer name{path} {why}")));
    }
    warnings
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn put(tree: &mut Value, name: &str, value: Option<Value>) {
    let Some(fields) = tree.as_object_mut() else { return };
    match value {
        Some(value) => drop(fields.insert(name, value)),
        None => drop(fields.remove(name)),
    }
}

fn without_metadata(object: &Object) -> Vec<(&Text, &Value)> {
    object.as_object().into_iter().flat_map(Map::iter).filter(|(name, _)| *name != "metadata").collect()
}
