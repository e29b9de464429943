// SPDX-License-Identifier: Apache-2.0
//! The tables that `kubectl get` prints, and objects cut down to their metadata.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>
//!
//! Each family of kinds has a file below this one with a function from an object to its cells, in
//! the order of the kind's columns. They follow upstream's printers.

mod age;
mod custom;
mod descriptions;
mod fields;
mod network;
mod node;
mod other;
mod pod;
mod policy;
mod storage;
mod workload;

use jiff::Timestamp;
use knarr_types::Object;
use knarr_types::tree::{Value, json};

use crate::kinds::Kind;
pub use age::human_duration;
use fields::Fields;

/// What of the object a row carries (`?includeObject=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata, as PartialObjectMetadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// A whole table; `metadata` is that of the list (`{"resourceVersion": ..}`).
#[must_use]
pub fn table<'a>(
    kind: &Kind,
    metadata: Value,
    objects: impl IntoIterator<Item = &'a Object>,
    include: IncludeObject,
    now: Timestamp,
) -> Value {
    let mut objects: Vec<&Object> = objects.into_iter().collect();
    if &*kind.kind == "FlowSchema" {
        // They show in the order in which they are asked.
        objects
            .sort_by_key(|schema| (schema["spec"]["matchingPrecedence"].as_i64(), schema["metadata"]["name"].as_str()));
    }
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, include, now)).collect();
    // Upstream's table for kinds without columns of their own starts without rows.
    let plain = kind.custom.is_none() && kind.columns.iter().any(|column| &*column.name == "Created At");
    let rows = if rows.is_empty() && plain { Value::Null } else { rows.into() };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(kind), "rows": rows,
    })
}

/// The table of one object, for a get or for an event of a watch; only the first event of a watch
/// brings its `columns`.
#[must_use]
pub fn table_of_one(kind: &Kind, object: &Object, include: IncludeObject, with_columns: bool, now: Timestamp) -> Value {
    // What a dry run makes has none.
    let revision = object["metadata"].get("resourceVersion").filter(|revision| !revision.is_null());
    let metadata = revision.map_or_else(|| json!({}), |revision| json!({"resourceVersion": revision}));
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": if with_columns { columns(kind) } else { Value::Null },
        "rows": [row(kind, object, include, now)],
    })
}

/// The same table for clients that ask for `meta.k8s.io/v1beta1`.
pub fn as_v1beta1(table: &mut Value) {
    let rows = table.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten();
    let objects = rows.filter_map(|row| row.get_mut("object")).filter(|o| o["kind"] == "PartialObjectMetadata");
    objects.for_each(|object| object["apiVersion"] = json!("meta.k8s.io/v1beta1"));
    table["apiVersion"] = json!("meta.k8s.io/v1beta1");
}

/// The `columnDefinitions` of a kind's table.
#[must_use]
pub fn columns(kind: &Kind) -> Value {
    kind.columns
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "type": c.ty, "format": c.format,
                "description": descriptions::of(kind, c), "priority": c.priority,
            })
        })
        .collect()
}

/// One row of a kind's table.
#[must_use]
pub fn row(kind: &Kind, object: &Object, include: IncludeObject, now: Timestamp) -> Value {
    let mut row = json!({ "cells": cells(kind, object, now) });
    if &*kind.kind == "Pod"
        && kind.group.is_empty()
        && let Some(condition) = pod::row_condition(object)
    {
        row["conditions"] = json!([condition]);
    }
    row["object"] = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_metadata(kind, object),
        IncludeObject::Object => object.clone(),
    };
    row
}

/// An object's metadata alone, as PartialObjectMetadata.
#[must_use]
pub fn partial_metadata(kind: &Kind, object: &Object) -> Object {
    let mut metadata = object["metadata"].clone();
    crate::convert::drop_stand_ins(kind, &mut metadata);
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
}

/// The cells of an object, in the order of its kind's columns.
fn cells(kind: &Kind, object: &Object, now: Timestamp) -> Vec<Value> {
    if &*kind.group == "autoscaling" && crate::convert::is_converted(kind) {
        let mut stored = object.clone();
        crate::convert::to_storage(kind, &mut stored);
        return workload::cells(&kind.kind, Fields { object: &stored, now }).unwrap_or_default();
    }
    let fields = Fields { object, now };
    let built_in = match &*kind.group {
        "" => node::cells(&kind.kind, fields)
            .or_else(|| pod::cells(&kind.kind, fields))
            .or_else(|| network::cells(&kind.kind, fields))
            .or_else(|| storage::cells(&kind.kind, fields))
            .or_else(|| workload::cells(&kind.kind, fields))
            .or_else(|| other::cells(&kind.kind, fields)),
        "apps" | "batch" | "autoscaling" => workload::cells(&kind.kind, fields),
        "networking.k8s.io" | "discovery.k8s.io" => network::cells(&kind.kind, fields),
        "storage.k8s.io" => storage::cells(&kind.kind, fields),
        "rbac.authorization.k8s.io" | "admissionregistration.k8s.io" | "policy" | "certificates.k8s.io" => {
            policy::cells(&kind.kind, fields)
        }
        "events.k8s.io"
        | "coordination.k8s.io"
        | "scheduling.k8s.io"
        | "node.k8s.io"
        | "resource.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "apiregistration.k8s.io" => other::cells(&kind.kind, fields),
        _ => None,
    };
    built_in.unwrap_or_else(|| custom::cells(&kind.columns, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn a_row_carries_as_much_of_the_object_as_was_asked_for() {
        let registry = Registry::builtin();
        let kind = registry.by_kind("", "v1", "ConfigMap").unwrap();
        let object =
            json!({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "7"}, "data": {"x": "y"}});
        let now = Timestamp::UNIX_EPOCH;
        let of = |include| table_of_one(kind, &object, include, false, now)["rows"][0]["object"].clone();
        assert_eq!(of(IncludeObject::None), Value::Null);
        assert_eq!(of(IncludeObject::Object), object);
        assert_eq!(of(IncludeObject::Metadata)["metadata"], object["metadata"]);
        let mut table = table_of_one(kind, &object, IncludeObject::Metadata, false, now);
        as_v1beta1(&mut table);
        assert_eq!(table["rows"][0]["object"]["apiVersion"], "meta.k8s.io/v1beta1");
        assert_eq!((&table["columnDefinitions"], &table["metadata"]["resourceVersion"]), (&Value::Null, &json!("7")));
    }

    #[test]
    fn a_scale_has_a_table() {
        let kind = Kind::of_body("autoscaling", "v1", "Scale").unwrap();
        let scale = json!({"metadata": {"name": "a"}, "spec": {"replicas": 3}, "status": {"replicas": 2}});
        let table = table_of_one(&kind, &scale, IncludeObject::None, true, Timestamp::UNIX_EPOCH);
        assert_eq!(table["rows"][0]["cells"], json!(["a", 3, 2, "<unknown>"]));
        let columns = table["columnDefinitions"].as_array().unwrap();
        assert_eq!(columns[1]["description"], "replicas is the desired number of instances for the scaled object.");
        assert!(columns.iter().all(|column| column["format"] == "" && column["description"] != ""));
    }

    #[test]
    fn every_kind_has_a_cell_for_each_of_its_columns() {
        let empty = json!({"metadata": {"name": "x"}});
        for kind in Registry::builtin().iter().filter(|kind| kind.has_verb("list")) {
            let cells = cells(kind, &empty, Timestamp::UNIX_EPOCH);
            // Upstream forgot to name a column there.
            let unnamed = usize::from(&*kind.kind == "IPAddress");
            assert_eq!(cells.len(), kind.columns.len() + unnamed, "{} {}", kind.api_version(), kind.kind);
        }
    }
}
