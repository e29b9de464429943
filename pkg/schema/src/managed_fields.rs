// SPDX-License-Identifier: Apache-2.0
//! Who owns which fields of an object: `metadata.managedFields`.
//!
//! Every write goes through here. A write that is no apply ([`track_update`]) makes its manager the
//! owner of what it changed; [`crate::apply`] does the rest.

mod entries;
pub mod scale;

use jiff::Timestamp;
use knarr_types::Object;
use serde_json::Value;

use crate::field_set::{Element, FieldSet};
use crate::field_table::Type;
use crate::typed::{self, Comparison};
pub(crate) use entries::{Entries, Id};

/// The fields that a write through a subresource (`""` for the object itself) resets: spec and status are
/// written through their own paths only. Kinds without a status subresource reset nothing.
#[must_use]
pub fn reset_fields_of(kind: &str, subresource: &str, has_status: bool) -> &'static [&'static [&'static str]] {
    match (subresource, kind) {
        _ if !has_status => &[],
        (_, "CertificateSigningRequest") => &[&["spec"], &["status"]],
        ("status", "Deployment") => &[&["spec"], &["metadata", "labels"]],
        ("status", "Pod") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("status", _) => &[&["spec"]],
        ("" | "finalize", _) => &[&["status"]],
        _ => &[],
    }
}

/// How many managers of updates an object has at most; the oldest become `ancient-changes`.
pub const MAX_UPDATE_MANAGERS: usize = 10;

/// Who writes, and through what.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `fieldManager` of the request, or the front of its user agent: see [`manager_name`].
    pub name: &'a str,
    /// The version written in: `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, ...; empty for the object itself.
    pub subresource: &'a str,
    /// The fields that a write through this path resets, and that its manager does not come to own:
    /// `&[&["status"]]`.
    pub reset: &'a [&'a [&'a str]],
}

/// The manager of a request: its `fieldManager`, else its user agent up to the first `/`.
#[must_use]
pub fn manager_name<'a>(field_manager: &'a str, user_agent: &'a str) -> &'a str {
    const MAX_BYTES: usize = 128;
    if !field_manager.is_empty() {
        return field_manager;
    }
    let name = user_agent.split('/').next().unwrap_or_default();
    let end = name.char_indices().map(|(at, c)| (at + c.len_utf8(), c));
    let end = end.take_while(|(end, c)| *end <= MAX_BYTES && !c.is_control()).last();
    end.map_or("", |(end, _)| &name[..end])
}

/// Makes the manager the owner of what the write changed. `new` comes with the `managedFields` that the
/// client sent: none keep those of `old`, an empty list or `[{}]` forget all owners.
///
/// A write that changes nothing leaves `managedFields` as they were.
pub fn track_update(old: Option<&Object>, new: &mut Object, ty: &Type, manager: &Manager<'_>, now: Timestamp) {
    let sent = take(new);
    let kept = old.and_then(managed_of);
    if !new.is_object() {
        return;
    }
    let through_subresource = !manager.subresource.is_empty();
    let list: &[Value] = match &sent {
        Some(list) if !through_subresource && is_reset(list) => &[],
        Some(list) if !through_subresource => list,
        _ => kept.unwrap_or_default(),
    };
    // Nobody has been tracked since they were forgotten: that goes on until the first apply.
    if list.is_empty() && old.is_some() {
        return;
    }
    let empty = old.is_none().then(|| typed::empty(ty));
    let old = old.or(empty.as_ref()).unwrap_or(&Value::Null);
    let mut found = typed::compare(old, new, ty);
    strip_server_fields(&mut found);
    if found.is_empty() && kept == Some(list) {
        let list = list.to_vec();
        put(new, Some(Value::Array(list)));
        return;
    }
    let entries = Entries::parse(list).or_else(|_| Entries::parse(kept.unwrap_or_default()));
    let mut entries = entries.unwrap_or_default();
    record(&mut entries, found, manager, now);
    entries.cap(MAX_UPDATE_MANAGERS);
    let list = entries.publish();
    put(new, list);
}

/// Takes what a write changed from its owners and gives it to the manager.
pub(crate) fn record<'a>(entries: &mut Entries<'a>, mut found: Comparison<'a>, manager: &Manager<'a>, now: Timestamp) {
    reset_fields(&mut found, manager);
    let changed = found.modified.union(found.added);
    entries.lose(&changed, None);
    entries.lose(&found.removed, None);
    entries.retain_owners();
    if !changed.is_empty() {
        let id = Id::update(manager.name, manager.api_version, manager.subresource);
        // What comes by way of a scale bears no time: upstream loses it on the way back.
        let time = (manager.subresource != "scale").then(|| timestamp(now));
        entries.gain(id, manager.api_version, changed, time);
    }
}

/// Takes the fields that the write resets out of what was found.
pub(crate) fn reset_fields(found: &mut Comparison<'_>, manager: &Manager<'_>) {
    for set in [&mut found.added, &mut found.modified, &mut found.removed] {
        without_reset(set, manager);
    }
}

/// Takes the fields that the write resets out of a set.
pub(crate) fn without_reset(set: &mut FieldSet<'_>, manager: &Manager<'_>) {
    for path in manager.reset {
        let path: Vec<Element<'_>> = path.iter().map(|name| Element::Field((*name).into())).collect();
        set.remove_tree(&path);
    }
}

/// Fields that nobody comes to own: the server sets them, or they name the object.
pub(crate) fn strip(set: &mut FieldSet<'_>) {
    const METADATA: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let metadata = || Element::Field("metadata".into());
    for name in ["apiVersion", "kind", "metadata"] {
        set.remove(&[Element::Field(name.into())]);
    }
    if set.below(&metadata()).is_some() {
        for name in METADATA {
            set.remove(&[metadata(), Element::Field(name.into())]);
        }
    }
}

fn strip_server_fields(found: &mut Comparison<'_>) {
    strip(&mut found.added);
    strip(&mut found.modified);
    strip(&mut found.removed);
}

/// Gives the times of `managedFields` back to a write that changed nothing else, so that it is none.
pub fn keep_times(old: &Object, new: &mut Object) {
    let (Some(before), Some(after)) = (managed_of(old), managed_of(new)) else { return };
    let same = before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| {
            let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return false };
            let fields = |entry: &'_ serde_json::Map<String, Value>| {
                entry
                    .iter()
                    .filter(|(name, _)| *name != "time")
                    .map(|(n, v)| (n.clone(), v.clone()))
                    .collect::<Vec<_>>()
            };
            fields(before) == fields(after)
        });
    if !same || before == after {
        return;
    }
    let before = Value::Array(before.to_vec());
    let now = take(new);
    if equal_but_managed(old, new) {
        put(new, Some(before));
    } else {
        put(new, now.map(Value::Array));
    }
}

/// Both are the same but for `managedFields` (which `new` has not).
fn equal_but_managed(old: &Object, new: &Object) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    old.len() == new.len()
        && old.iter().zip(new).all(|((a, old), (b, new))| {
            a == b
                && match (old.as_object(), new.as_object()) {
                    (Some(old), Some(new)) if a == "metadata" => {
                        old.iter().filter(|(name, _)| *name != "managedFields").eq(new.iter())
                    }
                    _ => old == new,
                }
        })
}

/// The client wants all owners forgotten.
fn is_reset(list: &[Value]) -> bool {
    match list {
        [] => true,
        [one] => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

pub(crate) fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The entries of an object.
pub(crate) fn managed_of(object: &Object) -> Option<&[Value]> {
    object.get("metadata")?.get("managedFields")?.as_array().map(Vec::as_slice)
}

/// Takes the entries out of an object.
pub(crate) fn take(object: &mut Object) -> Option<Vec<Value>> {
    match object.get_mut("metadata")?.as_object_mut()?.remove("managedFields") {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    }
}

/// Gives an object its entries.
pub(crate) fn put(object: &mut Object, list: Option<Value>) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(metadata), Some(list)) = (metadata, list.filter(|list| list.as_array().is_some_and(|l| !l.is_empty())))
    {
        metadata.insert("managedFields".to_owned(), list);
    }
}

#[cfg(test)]
mod tests;
