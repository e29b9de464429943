//! The tables that `kubectl get` prints, and objects cut down to their metadata.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>

use jiff::Timestamp;
use knarr_types::Object;
use serde_json::{Value, json};

use crate::kinds::Kind;

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
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, include, now)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(kind), "rows": rows,
    })
}

/// The `columnDefinitions` of a kind's table.
#[must_use]
pub fn columns(kind: &Kind) -> Value {
    kind.columns
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "type": c.ty, "format": c.format,
                "description": c.description, "priority": c.priority,
            })
        })
        .collect()
}

/// One row of a kind's table.
#[must_use]
pub fn row(kind: &Kind, object: &Object, include: IncludeObject, now: Timestamp) -> Value {
    let mut row = json!({ "cells": cells(kind, object, now) });
    match include {
        IncludeObject::None => row["object"] = Value::Null,
        IncludeObject::Metadata => row["object"] = partial_metadata(object),
        IncludeObject::Object => row["object"] = object.clone(),
    }
    row
}

/// An object's metadata alone, as PartialObjectMetadata.
#[must_use]
pub fn partial_metadata(object: &Object) -> Object {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

fn cells(kind: &Kind, object: &Object, _now: Timestamp) -> Vec<Value> {
    kind.columns
        .iter()
        .map(|c| if &*c.name == "Name" { object["metadata"]["name"].clone() } else { json!("") })
        .collect()
}
