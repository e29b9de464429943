// SPDX-License-Identifier: Apache-2.0
//! Who owns which fields of an object: `metadata.managedFields`.
//!
//! Every write goes through here. A write that is no apply ([`track_update`]) makes its manager the
//! owner of what it changed; [`crate::apply`] does the rest.

mod created;
mod entries;
pub mod folded;
pub mod scale;
mod versions;

use jiff::Timestamp;
use knarr_types::Object;
use knarr_types::tree::{Map, Text, Value};

use crate::field_set::{Element, FieldSet};
use crate::field_table::Type;
use crate::typed::{self, Comparison, Shape};
pub(crate) use entries::{Entries, Id};
pub(crate) use folded::Owners;
pub use versions::{OneVersion, Versions};
pub(crate) use versions::{comparisons, forget_gone, is_custom, reconcile};

/// The fields that a write through a subresource (`""` for the object itself) resets: spec and status are
/// written through their own paths only. Kinds without a status subresource reset nothing.
#[must_use]
pub fn reset_fields_of(kind: &str, subresource: &str, has_status: bool) -> &'static [&'static [&'static str]] {
    match (subresource, kind) {
        _ if !has_status => &[],
        (_, "CertificateSigningRequest") => &[&["spec"], &["status"]],
        ("status", "Deployment") => &[&["spec"], &["metadata", "labels"]],
        (
            "status",
            "APIService"
            | "FlowSchema"
            | "PriorityLevelConfiguration"
            | "ResourceClaim"
            | "ServiceCIDR"
            | "ValidatingAdmissionPolicy"
            | "VolumeAttachment",
        ) => &[&["spec"], &["metadata"]],
        ("status", "Pod") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("status", _) => &[&["spec"]],
        ("" | "finalize", _) => &[&["status"]],
        _ => &[],
    }
}

/// How many managers of updates an object has at most; the oldest become `ancient-changes`.
pub(crate) const MAX_UPDATE_MANAGERS: usize = 10;

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
    /// The other versions of the kind, in which others may own fields.
    pub others: &'a dyn Versions,
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
    track_folded(old, new, ty, manager, now);
    folded::unfold(new);
}

/// As [`track_update`]; the owners of `new` are [folded](folded) then.
pub fn track_folded(old: Option<&Object>, new: &mut Object, ty: &Type, manager: &Manager<'_>, now: Timestamp) {
    let sent = Owners::take(new);
    let kept = old.and_then(Owners::of);
    if !new.is_object() {
        return;
    }
    let through_subresource = !manager.subresource.is_empty();
    let list = match &sent {
        Some(sent) if !through_subresource && sent.is_reset() => &Owners::NONE,
        Some(sent) if !through_subresource && (sent.is_folded() || sent.entries().is_ok()) => sent,
        _ => kept.as_ref().unwrap_or(&Owners::NONE),
    };
    // Nobody has been tracked since they were forgotten: that goes on until the first apply.
    if list.is_empty() && old.is_some() {
        return;
    }
    let is_made = old.is_none();
    let empty = is_made.then(|| {
        let mut empty = typed::empty(ty);
        empty["apiVersion"] = manager.api_version.into();
        empty
    });
    let old = old.or(empty.as_ref()).unwrap_or(&Value::Null);
    // What does not fit its schema (any more) loses its owners.
    if is_custom(ty) && [old, &*new].into_iter().any(|object| typed::validate_stored(object, ty).is_some()) {
        return;
    }
    if is_made && list.is_empty() && manager.reset.iter().all(|path| path.len() == 1) {
        let owned = created::owned(old, new, Shape::of_type(ty), manager).filter(|owned| owned != "{}");
        let owners = owned.and_then(|owned| Entries::of_maker(manager, owned, timestamp(now)).fold());
        folded::put_folded(new, owners);
        return;
    }
    let mut found = typed::compare(old, new, ty);
    strip_server_fields(&mut found);
    // As upstream: better no owners than wrong ones.
    if !found.is_empty() && !typed::tells_apart(new, ty) {
        return;
    }
    let unchanged = found.is_empty() && kept.as_ref().is_some_and(|kept| kept.same(list));
    if unchanged && !is_custom(ty) {
        put(new, kept.map(Owners::into_value));
        return;
    }
    let known = kept.as_ref().unwrap_or(&Owners::NONE);
    // A definition may have changed: all owners of custom objects are looked at.
    let read = if is_custom(ty) { list.entries() } else { list.touched_entries(manager, &found) };
    let mut entries = read.or_else(|_| known.entries()).unwrap_or_default();
    let reconciled = forget_gone(&mut entries, old, manager).and_then(|()| reconcile(&mut entries, old, ty, manager));
    if unchanged && reconciled == Ok(false) {
        put(new, kept.map(Owners::into_value));
        return;
    }
    let for_others = reconciled.and_then(|_| comparisons(&entries, old, new, manager));
    let Ok(for_others) = for_others else { return };
    record(&mut entries, found, &for_others, manager, now);
    entries.cap(MAX_UPDATE_MANAGERS);
    let owners = entries.fold();
    folded::put_folded(new, owners);
}

/// Takes what a write changed from its owners and gives it to the manager; `for_others` is the same for those
/// who own fields in other versions.
pub(crate) fn record<'a>(
    entries: &mut Entries<'a>,
    mut found: Comparison<'a>,
    for_others: &[(String, Comparison<'static>)],
    manager: &Manager<'a>,
    now: Timestamp,
) {
    reset_fields(&mut found, manager);
    let changed = found.modified.union(found.added);
    entries.lose(manager.api_version, [&changed, &found.removed], None);
    for (version, found) in for_others {
        entries.lose(version, [&found.added, &found.modified], None);
        entries.lose(version, [&found.removed], None);
    }
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
const UNOWNED_ROOT: [&str; 2] = ["apiVersion", "kind"];

/// The same of `metadata`, which is not owned itself either.
const UNOWNED_METADATA: [&str; 9] = [
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

/// Takes out fields that nobody comes to own.
pub(crate) fn strip(set: &mut FieldSet<'_>) {
    let metadata = || Element::Field("metadata".into());
    for name in UNOWNED_ROOT {
        set.remove(&[Element::Field(name.into())]);
    }
    set.remove(&[metadata()]);
    if set.below(&metadata()).is_some() {
        for name in UNOWNED_METADATA {
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
    let (Some(before), Some(after)) = (Owners::of(old), Owners::of(new)) else { return };
    if before.same(&after) || !equal_but_managed(old, new) {
        return;
    }
    let same = match (before.entries(), after.entries()) {
        (Ok(before), Ok(after)) => before.equal_but_times(&after),
        _ => false,
    };
    if same {
        put(new, Some(before.into_value()));
    }
}

/// Both are the same but for `managedFields`.
fn equal_but_managed(old: &Object, new: &Object) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    // From the end: a status differs more often than what is before it.
    old.len() == new.len()
        && old.iter().rev().zip(new.iter().rev()).all(|((a, old), (b, new))| {
            a == b
                && match (old.as_object(), new.as_object()) {
                    (Some(old), Some(new)) if a == "metadata" => but_owners(old).eq(but_owners(new)),
                    _ => old == new,
                }
        })
}

fn but_owners(metadata: &Map) -> impl Iterator<Item = (&Text, &Value)> {
    metadata.iter().filter(|(name, _)| *name != "managedFields")
}

pub(crate) fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives an object its entries, unless there are none.
pub(crate) fn put(object: &mut Object, owners: Option<Value>) {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let is_none = |owners: &Value| owners.as_array().is_some_and(Vec::is_empty);
    if let (Some(metadata), Some(owners)) = (metadata, owners.filter(|owners| !is_none(owners))) {
        metadata.insert("managedFields".to_owned(), owners);
    }
}

#[cfg(test)]
mod tests;
