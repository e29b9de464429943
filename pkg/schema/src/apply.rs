// SPDX-License-Identifier: Apache-2.0
//! Server-side apply: a configuration becomes part of an object, and its manager the owner of it.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

mod prune;

use jiff::Timestamp;
use knarr_types::tree::Value;
use knarr_types::{Cause, Object, Reason, Status, StatusDetails};

use crate::builtin_types;
use crate::field_set::{Element, FieldSet, path_text};
use crate::field_table::Type;
use crate::managed_fields::{self, Entries, Id, Manager, Owners};
use crate::patch::restore_fault;
use crate::typed::{self, Comparison};
use prune::Pruned;

/// Who owns fields until the first apply of an object that nobody was tracked for.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// A field that another manager owns, with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager as upstream shows it: `"hpa" with subresource "scale" using apps/v1`.
    pub manager: String,
    /// The field: `.spec.replicas`.
    pub path: String,
}

/// A configuration that was not applied. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Other managers own fields of it, and it was not to be forced.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
    /// It is of another kind.
    #[error("invalid object type: {0}")]
    WrongType(String),
    /// It says who owns what.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsSent,
    /// It does not fit its type.
    #[error("failed to create typed patch object ({object}): {fault}")]
    NotTyped {
        /// `namespace/name; group/version, Kind=kind`.
        object: String,
        /// What does not fit.
        fault: String,
    },
    /// The object does not fit its type.
    #[error("failed to create typed live object ({object}): {fault}")]
    LiveNotTyped {
        /// `namespace/name; group/version, Kind=kind`.
        object: String,
        /// What does not fit.
        fault: String,
    },
    /// It makes of the object what does not fit the kind's struct.
    #[error(
        "failed to convert new object ({object}) to proper version: unable to convert unstructured object to {kind}: {fault}"
    )]
    NotConvertible {
        /// `namespace/name; group/version, Kind=kind`.
        object: String,
        /// `group/version, Kind=kind`.
        kind: String,
        /// What does not fit.
        fault: String,
    },
    /// The owners of the object's fields cannot be read.
    #[error("failed to decode managed fields: {0}")]
    ManagedFields(String),
    /// The object cannot be brought into a version in which others own fields of it.
    #[error("{0}")]
    OtherVersion(String),
}

impl ApplyError {
    /// As the client gets it.
    #[must_use]
    pub fn to_status(&self) -> Status {
        match self {
            Self::Conflicts(conflicts) => {
                let cause = |conflict: &Conflict| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {}", conflict.manager),
                    field: conflict.path.clone(),
                };
                let causes = conflicts.iter().map(cause).collect();
                Status::new(409, Reason::Conflict, self.to_string())
                    .with_details(StatusDetails { causes, ..Default::default() })
            }
            Self::WrongType(_) | Self::ManagedFieldsSent => Status::bad_request(self.to_string()),
            Self::NotTyped { .. }
            | Self::LiveNotTyped { .. }
            | Self::NotConvertible { .. }
            | Self::ManagedFields(_)
            | Self::OtherVersion(_) => Status::new(500, Reason::Unknown, self.to_string()),
        }
    }
}

fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.path);
    }
    let mut lines = Vec::new();
    let mut shown = "";
    for conflict in conflicts {
        if shown != conflict.manager {
            lines.push(format!("conflicts with {}:", conflict.manager));
            shown = &conflict.manager;
        }
        lines.push(format!("- {}", conflict.path));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Applies a configuration to an object, or makes the object of it. `kind` is what the request's path
/// names; the result has its `managedFields`, and has yet to get its defaults and to be validated.
///
/// Applying the same again gives the same object, times included.
///
/// # Errors
/// Where other managers own fields of it with other values (unless `force`), or it is no such object.
pub fn apply(
    live: Option<&Object>,
    config: &Object,
    ty: &Type,
    kind: &str,
    manager: &Manager<'_>,
    force: bool,
    now: Timestamp,
) -> Result<Object, ApplyError> {
    check(config, ty, kind, manager)?;
    let mut bare = live.cloned().unwrap_or_else(|| typed::empty(ty));
    let owners = Owners::take(&mut bare).unwrap_or(Owners::NONE);
    let mut entries = owners.entries().map_err(|error| ApplyError::ManagedFields(error.to_string()))?;
    let nothing = typed::empty(ty);
    if live.is_some() && entries.is_empty() {
        let mut found = typed::compare(&nothing, &bare, ty);
        managed_fields::strip(&mut found.added);
        managed_fields::strip(&mut found.modified);
        let before = Manager { name: BEFORE_FIRST_APPLY, ..*manager };
        managed_fields::record(&mut entries, found, &[], &before, now);
    }
    if managed_fields::is_custom(ty)
        && let Some(fault) = live.and_then(|_| typed::validate_stored(&bare, ty))
    {
        return Err(ApplyError::LiveNotTyped { object: shown_as(&bare), fault });
    }
    managed_fields::forget_gone(&mut entries, &bare, manager).map_err(ApplyError::OtherVersion)?;
    managed_fields::reconcile(&mut entries, &bare, ty, manager).map_err(ApplyError::OtherVersion)?;
    let applied = Applied { bare: &bare, config, ty, manager };
    let mut outcome = applied.run(entries.clone(), force);
    if let (Err(Refused::Taken(conflicts)), "kubectl") = (&outcome, manager.name) {
        let left = applied.not_from_last_applied(conflicts);
        outcome = match left {
            Some(left) if left.is_empty() => applied.run(entries, true),
            Some(left) => Err(Refused::Taken(left)),
            None => outcome,
        };
    }
    let (mut object, mut entries) = outcome.map_err(|refused| match refused {
        Refused::Taken(found) => ApplyError::Conflicts(shown(found)),
        Refused::OtherVersion(why) => ApplyError::OtherVersion(why),
    })?;
    if object != bare {
        entries.set_time(&Id::apply(manager.name, manager.subresource), managed_fields::timestamp(now));
    }
    if let Type::Struct(shape) = ty
        && builtin_types::find(&shape.name).is_some()
        && let Some(fault) = restore_fault(config, ty)
    {
        return Err(ApplyError::NotConvertible { object: shown_as(config), kind: shown_kind(config), fault });
    }
    let owners = if owners.is_folded() { entries.fold().map(Value::from) } else { entries.publish() };
    if manager.name == "kubectl" {
        renew_last_applied(&mut object, config);
    }
    managed_fields::put(&mut object, owners);
    Ok(object)
}

/// A field that another manager owns.
struct Taken<'a> {
    id: Id<'a>,
    path: Vec<Element<'a>>,
}

/// Why a configuration was not applied.
enum Refused<'a> {
    /// Others own fields of it.
    Taken(Vec<Taken<'a>>),
    /// The object cannot be brought into a version in which others own fields.
    OtherVersion(String),
}

fn shown(mut taken: Vec<Taken<'_>>) -> Vec<Conflict> {
    taken.sort_by_cached_key(|taken| taken.id.order());
    taken.iter().map(|taken| Conflict { manager: taken.id.shown(), path: path_text(&taken.path) }).collect()
}

/// The request is one for an object of that kind, and the configuration fits the type.
fn check(config: &Object, ty: &Type, kind: &str, manager: &Manager<'_>) -> Result<(), ApplyError> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, sent_kind) = (text(config.get("apiVersion")), text(config.get("kind")));
    if version != manager.api_version || sent_kind != kind {
        return Err(ApplyError::WrongType(shown_kind(config)));
    }
    let metadata = config.get("metadata");
    // What is no list of entries is told by the type.
    let owners = metadata.and_then(|m| m.get("managedFields")).and_then(Value::as_array);
    if owners.is_some_and(|list| list.iter().all(Value::is_object)) {
        return Err(ApplyError::ManagedFieldsSent);
    }
    let Some(fault) = typed::validate(config, ty) else { return Ok(()) };
    Err(ApplyError::NotTyped { object: shown_as(config), fault })
}

/// A configuration as messages name it: `namespace/name; group/version, Kind=kind`.
fn shown_as(config: &Object) -> String {
    let text =
        |name: &str| config.get("metadata").and_then(|m| m.get(name)).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}; {}", text("namespace"), text("name"), shown_kind(config))
}

fn shown_kind(config: &Object) -> String {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion").matches('/').count() > 1 {
        return "/, Kind=".to_owned();
    }
    let slash = if text("apiVersion").contains('/') { "" } else { "/" };
    format!("{slash}{}, Kind={}", text("apiVersion"), text("kind"))
}

/// A configuration and what it is applied to.
struct Applied<'a> {
    bare: &'a Value,
    config: &'a Value,
    ty: &'a Type,
    manager: &'a Manager<'a>,
}

impl<'a> Applied<'a> {
    /// The object and its managers after the apply.
    fn run(&self, mut entries: Entries<'a>, force: bool) -> Result<(Value, Entries<'static>), Refused<'a>> {
        let id = Id::apply(self.manager.name, self.manager.subresource);
        let own = self.manager.api_version;
        let last = Self::last(&entries, &id);
        let mut claimed = typed::extract(self.config, self.ty);
        managed_fields::without_reset(&mut claimed, self.manager);
        entries.set(id.clone(), own, claimed);
        let merged = typed::merge(self.bare, self.config, self.ty);
        let Pruned { object, compared } = self.prune(merged, &entries, last).map_err(Refused::OtherVersion)?;
        let for_others = managed_fields::comparisons(&entries, self.bare, &compared, self.manager);
        let for_others = for_others.map_err(Refused::OtherVersion)?;
        let mut found = typed::compare(self.bare, &compared, self.ty);
        managed_fields::reset_fields(&mut found, self.manager);
        let changed = found.modified.clone().union(found.added.clone());
        if !force {
            let mut taken = conflicts(&entries, &id, own, &changed);
            for (version, found) in &for_others {
                let changed = found.modified.clone().union(found.added.clone());
                taken.extend(conflicts(&entries, &id, version, &changed));
            }
            if !taken.is_empty() {
                return Err(Refused::Taken(taken));
            }
        }
        entries.lose(own, [&changed, &found.removed], Some(&id));
        for (version, found) in &for_others {
            entries.lose(version, [&found.modified, &found.added], Some(&id));
            entries.lose(version, [&found.removed], Some(&id));
        }
        let mut claimed = entries.get(&id).map(|entry| entry.fields.clone()).unwrap_or_default();
        managed_fields::strip(&mut claimed);
        entries.set(id, own, claimed);
        entries.retain_owners();
        let entries = entries.into_owned();
        Ok((object, entries))
    }

    /// The conflicts that client-side apply does not explain: with fields that have another value than it
    /// last applied. `None` where the object was never applied by a client.
    fn not_from_last_applied(&self, taken: &[Taken<'a>]) -> Option<Vec<Taken<'a>>> {
        let annotations = self.bare.get("metadata")?.get("annotations")?;
        let text = annotations.get(knarr_types::labels::LAST_APPLIED)?.as_str()?;
        let last: Value = serde_json::from_str(text).ok()?;
        let version = last.get("apiVersion")?.as_str()?;
        if version != self.manager.api_version || typed::validate(&last, self.ty).is_some() {
            return None;
        }
        let Comparison { added, modified, removed } = typed::compare(&last, self.bare, self.ty);
        let allowed = typed::extract(&last, self.ty).difference(&modified).difference(&added).difference(&removed);
        let left = taken.iter().filter(|taken| !allowed.contains(&taken.path));
        Some(left.map(|taken| Taken { id: taken.id.clone(), path: taken.path.clone() }).collect())
    }
}

/// What other managers own of the paths that changed in a version.
fn conflicts<'a>(entries: &Entries<'a>, id: &Id<'_>, version: &str, changed: &FieldSet<'_>) -> Vec<Taken<'a>> {
    let others = entries.iter().filter(|entry| entry.id != *id && *entry.version == *version);
    others
        .flat_map(|entry| {
            let paths = entry.fields.intersection(changed).paths();
            paths.into_iter().map(|path| Taken { id: entry.id.clone(), path })
        })
        .collect()
}

/// Keeps what client-side apply last applied in step with a server-side apply by the same tool.
fn renew_last_applied(object: &mut Value, config: &Value) {
    let annotation = object.pointer_mut("/metadata/annotations");
    let Some(last) = annotation.and_then(|a| a.get_mut(knarr_types::labels::LAST_APPLIED)) else { return };
    if last.as_str().is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    let annotations = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(knarr_types::labels::LAST_APPLIED);
    }
    *last = Value::from(format!("{config}\n"));
}

#[cfg(test)]
mod tests;
