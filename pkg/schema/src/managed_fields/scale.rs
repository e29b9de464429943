// SPDX-License-Identifier: Apache-2.0
//! Owners of a workload's replicas, as a Scale shows them and takes them back
//! (`k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go`).

use knarr_types::tree::Value;

use super::entries::{Entries, Entry};
use crate::field_set::{Element, FieldSet};

const SCALE_VERSION: &str = "autoscaling/v1";
const IN_SCALE: [&str; 2] = ["spec", "replicas"];

fn path<'p>(names: &[&'p str]) -> Vec<Element<'p>> {
    names.iter().map(|name| Element::Field((*name).into())).collect()
}

fn only<'p>(names: &[&'p str]) -> FieldSet<'p> {
    let mut set = FieldSet::default();
    set.insert(&path(names));
    set
}

/// Where the replicas are in a version of the workload: an empty path where that has no scale, `None` where there is no
/// such version.
pub type Place<'f, 'p> = &'f dyn Fn(&str) -> Option<Vec<&'p str>>;

/// It owns the replicas of the workload.
fn owns(entry: &Entry<'_>, names: &[&str]) -> bool {
    !names.is_empty() && entry.fields.contains(&path(names))
}

/// The `managedFields` of a workload's scale: who owns the replicas.
#[must_use]
pub fn to_scale(parent: &[Value], replicas: Place<'_, '_>) -> Option<Value> {
    let entries = Entries::parse(parent).ok()?;
    let mut shown = Entries::default();
    for entry in entries.iter().filter(|entry| replicas(&entry.version).is_some_and(|names| owns(entry, &names))) {
        let mut id = entry.id.clone();
        if !id.version.is_empty() {
            id.version = SCALE_VERSION.into();
        }
        shown.add(Entry::new(id, SCALE_VERSION.into(), entry.time.clone(), only(&IN_SCALE)));
    }
    shown.publish()
}

/// The `managedFields` of a workload after its scale was applied in `version`: who lost the replicas in the scale loses
/// them here, who came to own them owns them here, without a time. Owners in versions that are gone are forgotten.
#[must_use]
pub fn to_parent(parent: &[Value], scale: &[Value], replicas: Place<'_, '_>, version: &str) -> Option<Value> {
    let (Ok(mut entries), Ok(scale)) = (Entries::parse(parent), Entries::parse(scale)) else { return None };
    let mut owners: Vec<Entry<'_>> = scale.iter().cloned().collect();
    for entry in entries.iter_mut() {
        let Some(names) = replicas(&entry.version) else {
            entry.fields = FieldSet::default();
            continue;
        };
        if !owns(entry, &names) {
            continue;
        }
        // An updater's name has its version in it, so that it is another one in the scale: it loses the replicas, and
        // gets them back by its other name. Who owns anything of the scale keeps them.
        match owners.iter().position(|owner| owner.id == entry.id) {
            Some(at) => drop(owners.swap_remove(at)),
            None => entry.fields = entry.fields.difference(&only(&names)),
        }
    }
    entries.retain_owners();
    let names = replicas(version).unwrap_or_default();
    for owner in owners.into_iter().filter(|owner| owner.fields.contains(&path(&IN_SCALE))) {
        entries.add(Entry::new(owner.id, version.into(), None, only(&names)));
    }
    entries.publish()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "fieldsType": "FieldsV1",
            "time": "2026-01-01T00:00:00Z", "fieldsV1": fields})
    }

    #[test]
    fn replicas_change_hands_by_way_of_the_scale() {
        let parent = [
            entry("m1", "Apply", "apps/v1", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}})),
            entry("u", "Update", "apps/v1", json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
        ];
        let names: Place<'_, '_> = &|_| Some(vec!["spec", "replicas"]);
        let shown = to_scale(&parent, names).unwrap();
        assert_eq!(shown, json!([entry("m1", "Apply", "autoscaling/v1", json!({"f:spec": {"f:replicas": {}}}))]));
        let mut taken = entry("m2", "Apply", "autoscaling/v1", json!({"f:spec": {"f:replicas": {}}}));
        taken["subresource"] = "scale".into();
        let after = to_parent(&parent, &[taken], names, "apps/v1").unwrap();
        assert_eq!(after[0]["manager"], "m2");
        assert_eq!(after[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
        assert!(after[0].get("time").is_none());
        assert_eq!(after[1], entry("m1", "Apply", "apps/v1", json!({"f:spec": {"f:paused": {}}})));
        assert_eq!(after[2]["manager"], "u");
    }

    #[test]
    fn who_owns_anything_of_the_scale_keeps_the_replicas() {
        let names: Place<'_, '_> = &|_| Some(vec!["spec", "replicas"]);
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let parent = [entry("m", "Apply", "apps/v1", replicas.clone())];
        for (scale, kept) in [(json!({"f:spec": {}}), true), (json!({"f:metadata": {"f:labels": {}}}), true)] {
            let scale = [entry("m", "Apply", "autoscaling/v1", scale)];
            let after = to_parent(&parent, &scale, names, "apps/v1").unwrap();
            assert_eq!(after[0]["fieldsV1"] == replicas, kept, "{scale:?}");
        }
        assert!(to_parent(&parent, &[], names, "apps/v1").is_none_or(|left| left == json!([])));
        let other = [entry("o", "Apply", "autoscaling/v1", json!({"f:spec": {}}))];
        assert!(
            to_parent(&parent, &other, names, "apps/v1").is_none_or(|left| left == json!([])),
            "it owns no replicas"
        );
    }

    #[test]
    fn an_updater_of_the_replicas_is_split_by_any_write_of_the_scale() {
        let names: Place<'_, '_> = &|_| Some(vec!["spec", "replicas"]);
        let fields = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let parent = [entry("u", "Update", "apps/v1", fields)];
        let shown = to_scale(&parent, names).unwrap();
        let after = to_parent(&parent, shown.as_array().unwrap(), names, "apps/v1").unwrap();
        let halves: Vec<_> = after.as_array().unwrap().iter().map(|half| half["fieldsV1"].clone()).collect();
        assert_eq!(halves, [json!({"f:spec": {"f:replicas": {}}}), json!({"f:spec": {"f:paused": {}}})]);
        assert_eq!((&after[0]["apiVersion"], &after[0]["time"]), (&json!("apps/v1"), &Value::Null));
    }

    #[test]
    fn each_version_has_its_place_of_the_replicas() {
        let place: Place<'_, '_> = &|version| match version {
            "g/v1" => Some(vec!["spec", "replicas"]),
            "g/v2" => Some(vec!["spec", "count"]),
            "g/v3" => Some(Vec::new()),
            _ => None,
        };
        let parent = [
            entry("one", "Apply", "g/v1", json!({"f:spec": {"f:replicas": {}, "f:a": {}}})),
            entry("two", "Apply", "g/v2", json!({"f:spec": {"f:count": {}}})),
            entry("three", "Apply", "g/v3", json!({"f:spec": {"f:replicas": {}}})),
            entry("gone", "Apply", "g/v0", json!({"f:spec": {"f:replicas": {}}})),
        ];
        let shown = to_scale(&parent, place).unwrap();
        let names = |entries: &Value| {
            let name = |entry: &Value| entry["manager"].as_str().unwrap().to_owned();
            entries.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&shown), ["one", "two"]);
        let taken = entry("four", "Apply", "autoscaling/v1", json!({"f:spec": {"f:replicas": {}}}));
        let after = to_parent(&parent, &[taken], place, "g/v2").unwrap();
        assert_eq!(names(&after), ["four", "one", "three"]);
        assert_eq!(after[0]["fieldsV1"], json!({"f:spec": {"f:count": {}}}));
        assert_eq!(after[1]["fieldsV1"], json!({"f:spec": {"f:a": {}}}));
    }
}
