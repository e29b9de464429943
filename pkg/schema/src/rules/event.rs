// SPDX-License-Identifier: Apache-2.0

//! Events of the core and the events.k8s.io group (`pkg/apis/core/validation/events.go`).

use knarr_types::{ErrorList, FieldPath, Object};

use super::Rules;
use super::at::At;
use super::names;

pub(super) static EVENT: Rules = Rules {
    name: names::path_segment_name,
    validate: |event| legacy(&At::root(event), &CORE),
    validate_update: |new, _, _| legacy(&At::root(new), &CORE),
    fields: |event| fields(event, &CORE),
    allow_create_on_update: true,
    ..Rules::DEFAULT
};

pub(super) static NEW_EVENT: Rules = Rules {
    validate: validate_new,
    validate_update: |new, _, _| legacy(&At::root(new), &EVENTS),
    fields: |event| fields(event, &EVENTS),
    allow_create_on_update: true,
    ..Rules::DEFAULT
};

/// How a group calls the fields of an event.
struct Naming {
    object: &'static str,
    controller: &'static str,
    note: &'static str,
    source: &'static str,
    fields: [&'static str; 7],
    controller_selector: &'static str,
}

const CORE: Naming = Naming {
    object: "involvedObject",
    controller: "reportingComponent",
    note: "message",
    source: "source.component",
    fields: [
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
    ],
    controller_selector: "reportingComponent",
};
const EVENTS: Naming = Naming {
    object: "regarding",
    controller: "reportingController",
    note: "note",
    source: "deprecatedSource.component",
    fields: [
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
    ],
    controller_selector: "reportingController",
};

/// What both groups ask of an event.
fn legacy(event: &At<'_>, naming: &Naming) -> ErrorList {
    let mut errors = ErrorList::new();
    let namespace = event.str("metadata.namespace");
    let of_object = event.get(naming.object).str("namespace");
    let fits = of_object == namespace || (of_object.is_empty() && ["", "default"].contains(&namespace));
    let mismatch = || {
        let at = event.get(naming.object).get("namespace").named(FieldPath::new("involvedObject.namespace"));
        at.invalid_as(of_object, "does not match event.namespace")
    };
    if !event.has("eventTime") {
        if !fits {
            errors.push(mismatch());
        }
        return errors;
    }
    if !fits {
        errors.push(mismatch());
    }
    let controller = event.get(naming.controller);
    if controller.text().is_empty() {
        errors.push(controller.required(""));
    }
    errors.extend(controller.faults(names::qualified_name(controller.text())));
    for field in ["reportingInstance", "action", "reason"] {
        let at = event.get(field);
        if at.text().is_empty() {
            errors.push(at.required(""));
        }
        if at.text().len() > 128 {
            errors.push(at.invalid_as("", "can have at most 128 characters"));
        }
    }
    let note = event.get(naming.note).named(FieldPath::new("message"));
    if note.text().len() > 1024 {
        errors.push(note.invalid_as("", "can have at most 1024 characters"));
    }
    errors
}

fn validate_new(event: &Object) -> ErrorList {
    let event = At::root(event);
    let mut errors = legacy(&event, &EVENTS);
    if !event.has("eventTime") {
        errors.push(event.get("eventTime").required(""));
    }
    if !["Normal", "Warning"].contains(&event.str("type")) {
        errors.push(event.get("type").invalid_as("", format!("has invalid value: {}", event.str("type"))));
    }
    let deprecated = [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ];
    for (field, shown) in deprecated {
        let at = event.get(field).named(FieldPath::new(shown));
        let empty = at.value.as_object().is_some_and(serde_json::Map::is_empty);
        if at.is_set() && at.value != 0 && !empty {
            errors.push(at.invalid_as("", "needs to be unset"));
        }
    }
    errors
}

fn fields(event: &Object, naming: &Naming) -> Vec<(&'static str, String)> {
    let event = At::root(event);
    let text = |field: &str| event.str(field).to_owned();
    let mut fields: Vec<_> = naming.fields.iter().map(|field| (*field, text(field))).collect();
    let source = [text(naming.source), text(naming.controller)].into_iter().find(|name| !name.is_empty());
    fields.extend([
        ("reason", text("reason")),
        (naming.controller_selector, text(naming.controller)),
        ("source", source.unwrap_or_default()),
        ("type", text("type")),
    ]);
    fields
}
