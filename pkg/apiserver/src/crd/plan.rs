// SPDX-License-Identifier: Apache-2.0
//! What the server says about definitions: which of their names they have, whether they are served,
//! and how far their deletion is. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use knarr_schema::crd::{Approval, approval};
use knarr_types::Object;
use knarr_types::tree::{Value, json};

use crate::write::seconds;

/// Keeps a definition until its instances are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The definitions whose status must change, as they are to be. A name goes to the definition that had
/// it first; definitions are looked at in the order in which they were made.
#[must_use]
pub fn settle_names(definitions: &[Object], now: Timestamp) -> Vec<Object> {
    let mut all: Vec<Object> = definitions.to_vec();
    all.sort_by_key(|definition| {
        let text = |field: &str| definition["metadata"][field].as_str().unwrap_or_default().to_owned();
        (text("creationTimestamp"), text("name"))
    });
    let mut changed = Vec::new();
    for at in 0..all.len() {
        let Some(status) = settled(&all, at, now) else { continue };
        all[at]["status"] = status;
        changed.push(all[at].clone());
    }
    changed
}

/// The status that a definition is to have; `None` where it has it.
fn settled(all: &[Object], at: usize, now: Timestamp) -> Option<Value> {
    let (spec, old) = (&all[at]["spec"], &all[at]["status"]);
    let (accepted, condition) = if spec["names"] == old["acceptedNames"] {
        // All names are its own already.
        (spec["names"].clone(), accepted_condition(None))
    } else {
        let (accepted, conflict) = accept(spec, &old["acceptedNames"], &Used::by_others(all, at));
        (accepted, accepted_condition(conflict))
    };
    let mut status = old.clone();
    if let Some(approval) = approval_condition(&all[at]) {
        set_condition(&mut status, &approval, now);
    }
    status["acceptedNames"] = accepted;
    set_condition(&mut status, &condition, now);
    let established = is_true(&status, "Established");
    let condition = match (established, condition["status"] == "True") {
        (true, _) => None,
        (false, true) => Some(("True", "InitialNamesAccepted", "the initial names have been accepted")),
        (false, false) => Some(("False", "NotAccepted", "not all names are accepted")),
    };
    if let Some((value, reason, message)) = condition {
        let condition = json!({"type": "Established", "status": value, "reason": reason, "message": message});
        set_condition(&mut status, &condition, now);
    }
    (status != *old).then_some(status)
}

/// The names that other definitions of the group have.
#[derive(Default)]
struct Used<'a> {
    resources: BTreeSet<&'a str>,
    kinds: BTreeSet<&'a str>,
}

impl<'a> Used<'a> {
    fn by_others(all: &'a [Object], at: usize) -> Self {
        let mut used = Self::default();
        let others = all.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, other)| other);
        for other in others.filter(|other| other["spec"]["group"] == all[at]["spec"]["group"]) {
            let names = &other["status"]["acceptedNames"];
            let text = |field: &str| names[field].as_str().filter(|name| !name.is_empty());
            used.resources.extend(["plural", "singular"].into_iter().filter_map(text));
            used.resources.extend(names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str));
            used.kinds.extend(["kind", "listKind"].into_iter().filter_map(text));
        }
        used
    }
}

/// The names that a definition gets, and the last conflict: its reason and its message.
fn accept(spec: &Value, old: &Value, used: &Used<'_>) -> (Value, Option<(&'static str, String)>) {
    let (wanted, mut accepted) = (&spec["names"], old.clone());
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    let own = |name: &str| old["shortNames"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    for (field, reason, taken) in [
        ("plural", "PluralConflict", &used.resources),
        ("singular", "SingularConflict", &used.resources),
        ("shortNames", "ShortNamesConflict", &used.resources),
        ("kind", "KindConflict", &used.kinds),
        ("listKind", "ListKindConflict", &used.kinds),
    ] {
        let why = match &wanted[field] {
            Value::String(name) if old[field] != name.as_str() && taken.contains(name.as_str()) => Some(in_use(name)),
            Value::Array(names) => {
                let lost = names.iter().filter_map(Value::as_str).filter(|name| !own(name) && taken.contains(name));
                let lost: Vec<String> = lost.map(in_use).collect();
                match lost.as_slice() {
                    [] => None,
                    [one] => Some(one.clone()),
                    many => Some(format!("[{}]", many.join(", "))),
                }
            }
            _ => None,
        };
        match why {
            Some(why) => conflict = Some((reason, why)),
            None => put(&mut accepted, field, wanted.get(field)),
        }
    }
    put(&mut accepted, "categories", wanted.get("categories"));
    (accepted, conflict)
}

fn put(names: &mut Value, field: &str, value: Option<&Value>) {
    match (value, names.as_object_mut()) {
        (Some(value), _) => names[field] = value.clone(),
        (None, Some(names)) => drop(names.remove(field)),
        (None, None) => {}
    }
}

fn accepted_condition(conflict: Option<(&'static str, String)>) -> Value {
    match conflict {
        None => {
            json!({"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"})
        }
        Some((reason, message)) => {
            json!({"type": "NamesAccepted", "status": "False", "reason": reason, "message": message})
        }
    }
}

/// Whether a group of the Kubernetes community has approved the definition; other groups need not.
fn approval_condition(definition: &Object) -> Option<Value> {
    let (approval, message) = approval(definition)?;
    let (status, reason) = match approval {
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
    };
    let ty = "KubernetesAPIApprovalPolicyConformant";
    Some(json!({"type": ty, "status": status, "reason": reason, "message": message}))
}

/// Sets a condition; its time moves when its status does.
pub fn set_condition(status: &mut Value, condition: &Value, now: Timestamp) {
    let mut condition = condition.clone();
    condition["lastTransitionTime"] = seconds(now).into();
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|old| old["type"] == condition["type"]) {
        Some(old) => {
            if old["status"] == condition["status"] {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

fn is_true(status: &Value, ty: &str) -> bool {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == ty && c["status"] == "True")
}

/// What a delete makes of a definition: it stays until its instances are gone.
#[must_use]
pub fn begin_deletion(old: &Object, now: Timestamp) -> Object {
    let mut new = old.clone();
    let metadata = &mut new["metadata"];
    metadata["deletionTimestamp"] = seconds(now).into();
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == CLEANUP_FINALIZER) {
        finalizers.push(CLEANUP_FINALIZER.into());
    }
    metadata["finalizers"] = finalizers.into();
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_condition(&mut new["status"], &terminating("True", "InstanceDeletionPending", message), now);
    new
}

/// The definition waits for us to remove its instances.
#[must_use]
pub fn is_to_clean_up(definition: &Object) -> bool {
    let metadata = &definition["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == CLEANUP_FINALIZER))
}

/// The definition while its instances are being deleted.
#[must_use]
pub fn cleaning_up(definition: &Object, now: Timestamp) -> Object {
    let mut new = definition.clone();
    let condition = terminating("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    set_condition(&mut new["status"], &condition, now);
    new
}

/// The definition once no instance is left.
#[must_use]
pub fn cleaned_up(definition: &Object, now: Timestamp) -> Object {
    let mut new = definition.clone();
    let condition = terminating("False", "InstanceDeletionCompleted", "removed all instances");
    set_condition(&mut new["status"], &condition, now);
    if let Some(finalizers) = new["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != CLEANUP_FINALIZER);
    }
    new
}

fn terminating(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Terminating", "status": status, "reason": reason, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Object {
        let names = json!({"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": short});
        json!({"metadata": {"name": format!("{plural}.example.com"), "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"group": "example.com", "names": names},
            "status": {"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": ["v1"]}})
    }

    fn of_type<'a>(object: &'a Object, ty: &str) -> &'a Value {
        object["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == ty).unwrap()
    }

    #[test]
    fn names_go_to_the_first_and_settling_twice_changes_nothing() {
        let first = definition("apples", "Fruit", &["f"]);
        let second = definition("pears", "Fruit", &["f", "p"]);
        let changed = settle_names(&[first, second], Timestamp::UNIX_EPOCH);
        assert_eq!(changed.len(), 2);
        assert_eq!(of_type(&changed[0], "Established")["status"], "True");
        assert_eq!(changed[0]["status"]["acceptedNames"], changed[0]["spec"]["names"]);
        assert_eq!(of_type(&changed[1], "NamesAccepted")["reason"], "ListKindConflict");
        assert_eq!(of_type(&changed[1], "NamesAccepted")["message"], "\"FruitList\" is already in use");
        assert_eq!(of_type(&changed[1], "Established")["reason"], "NotAccepted");
        assert_eq!(changed[1]["status"]["acceptedNames"], json!({"kind": "", "plural": "pears"}));
        assert!(settle_names(&changed, Timestamp::now()).is_empty());
        let freed = settle_names(&changed[1..], Timestamp::now());
        assert_eq!(of_type(&freed[0], "Established")["status"], "True");
    }

    #[test]
    fn groups_of_the_community_say_who_approved() {
        let mut definition = definition("apples", "Apple", &[]);
        definition["spec"]["group"] = "fruit.k8s.io".into();
        for (annotation, status, reason, message) in [
            ("https://x/1", "True", "ApprovedAnnotation", "approved in https://x/1"),
            ("unapproved, a try", "False", "UnapprovedAnnotation", "not approved: \"unapproved, a try\""),
        ] {
            definition["metadata"]["annotations"]["api-approved.kubernetes.io"] = annotation.into();
            let changed = settle_names(&[definition.clone()], Timestamp::UNIX_EPOCH);
            let condition = of_type(&changed[0], "KubernetesAPIApprovalPolicyConformant");
            assert_eq!((&condition["status"], &condition["reason"]), (&json!(status), &json!(reason)));
            assert_eq!(condition["message"], message);
        }
    }

    #[test]
    fn a_deleted_definition_stays_until_it_is_cleaned_up() {
        let settled = settle_names(&[definition("apples", "Apple", &[])], Timestamp::UNIX_EPOCH);
        let marked = begin_deletion(&settled[0], Timestamp::UNIX_EPOCH);
        assert!(is_to_clean_up(&marked));
        assert_eq!(of_type(&marked, "Terminating")["reason"], "InstanceDeletionPending");
        let done = cleaned_up(&marked, Timestamp::UNIX_EPOCH);
        assert!(!is_to_clean_up(&done));
        assert_eq!(of_type(&done, "Terminating")["status"], "False");
    }
}
