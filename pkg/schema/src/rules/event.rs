// SPDX-License-Identifier: Apache-2.0

//! Events of the core and the events.k8s.io group (`pkg/apis/core/validation/events.go`). Messages name most
//! fields as the core does, whichever group was asked.

use jiff::Timestamp;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Shown};

use super::Rules;
use super::at::{At, same};
use super::go_print;
use super::judging::Judging;
use super::metadata;
use super::names;

pub(super) static EVENT: Rules = Rules {
    name: names::path_segment_name,
    validate: |event| legacy(&At::root(event), &CORE),
    validate_update: |new, _, _| legacy(&At::root(new), &CORE),
    fields: |event| fields(event, &CORE),
    allow_create_on_update: true,
    judging: Judging::NEVER,
    ..Rules::DEFAULT
};

pub(super) static NEW_EVENT: Rules = Rules {
    validate: validate_new,
    validate_update: |new, old, _| update_new(&At::root(new), &At::root(old)),
    fields: |event| fields(event, &EVENTS),
    allow_create_on_update: true,
    judging: Judging::NEVER,
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

/// What both groups ask of an event. One with an eventTime is of the newer form.
fn legacy(event: &At<'_>, naming: &Naming) -> ErrorList {
    let namespace = event.str("metadata.namespace");
    let object = event.get(naming.object).get("namespace").named(FieldPath::new("involvedObject.namespace"));
    let newer = event.has("eventTime");
    let fits = match object.text() {
        "" if newer => ["default", "kube-system"].contains(&namespace),
        "" => ["", "default"].contains(&namespace),
        of_object => newer || of_object == namespace,
    };
    let mut errors = ErrorList::new();
    if !fits {
        errors.push(object.invalid_as(object.text(), "does not match event.namespace"));
    }
    if newer {
        errors.extend(reported(event, naming));
    }
    errors
}

/// What is wrong with who reports, and what.
fn reported(event: &At<'_>, naming: &Naming) -> ErrorList {
    let mut errors = ErrorList::new();
    // Of all names this one is the group's own.
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

fn validate_new(object: &Object) -> ErrorList {
    let event = At::root(object);
    let mut errors = legacy(&event, &EVENTS);
    errors.extend(metadata::validate_create(object, true, names::dns_subdomain_name));
    errors.extend(series(&event));
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
        let empty = at.value.as_object().is_some_and(|source| source.values().all(|part| part == ""));
        if at.is_set() && at.value != 0 && !empty {
            errors.push(at.invalid_as("", "needs to be unset"));
        }
    }
    errors
}

fn series(event: &At<'_>) -> ErrorList {
    let series = event.get("series");
    let mut errors = ErrorList::new();
    if !series.is_set() {
        return errors;
    }
    if series.int("count") < 2 {
        errors.push(series.get("count").invalid_as("", "should be at least 2"));
    }
    if !series.has("lastObservedTime") {
        errors.push(series.get("lastObservedTime").required(""));
    }
    errors
}

/// Of an event of the newer group only the series goes on.
fn update_new(event: &At<'_>, before: &At<'_>) -> ErrorList {
    /// As the group and as the core call them, in the order in which upstream looks at them.
    const FIXED: [(&str, &str); 14] = [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let mut errors = legacy(event, &EVENTS);
    errors.extend(metadata::validate_update(event.value, before.value));
    errors.extend(metadata::kube_finalizers(&event.get("metadata")));
    if !same(event.raw("series"), before.raw("series")) {
        errors.extend(series(event));
    }
    errors.extend(FIXED.iter().filter_map(|(field, shown)| {
        let at = event.get(field).named(FieldPath::new(shown));
        let stays = match *field {
            "eventTime" => microseconds(at.value) == microseconds(before.raw(field)),
            _ => same(at.value, before.raw(field)),
        };
        (!stays).then(|| changed(&at, field))
    }));
    errors
}

/// Clients of old send times with more digits than are kept.
fn microseconds(time: &Value) -> Option<i64> {
    time.as_str().and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_microsecond)
}

fn changed(at: &At<'_>, field: &str) -> FieldError {
    let shown: Shown = match field {
        "regarding" => go_print::of_type(at.value, "io.k8s.api.core.v1.ObjectReference"),
        "related" if at.is_set() => go_print::of_type(at.value, "io.k8s.api.core.v1.ObjectReference"),
        "deprecatedSource" => go_print::of_type(at.value, "io.k8s.api.core.v1.EventSource"),
        "deprecatedCount" => at.value.as_i64().unwrap_or_default().into(),
        "related" | "eventTime" | "deprecatedFirstTimestamp" | "deprecatedLastTimestamp" => at.value.clone().into(),
        _ => at.text().into(),
    };
    at.invalid_as(shown, metadata::IMMUTABLE)
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

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn faults(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn event() -> Object {
        json!({"metadata": {"name": "e", "namespace": "n"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingController": "c", "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal",
            "note": "x", "regarding": {"kind": "Pod", "namespace": "other", "name": "p"}})
    }

    #[test]
    fn an_event_may_lie_elsewhere_than_what_it_is_about_but_not_anywhere() {
        assert_eq!(faults(&(NEW_EVENT.validate)(&event())), Vec::<String>::new());
        for (namespace, allowed) in [("n", false), ("default", true), ("kube-system", true)] {
            let mut event = event();
            event["regarding"] = json!({"kind": "Node", "name": "n"});
            event["metadata"]["namespace"] = json!(namespace);
            assert_eq!((NEW_EVENT.validate)(&event).is_empty(), allowed, "{namespace}");
        }
        let old = |namespace: &str| json!({"metadata": {"namespace": namespace}, "involvedObject": {"kind": "Node"}});
        assert!((EVENT.validate)(&old("default")).is_empty());
        assert!(!(EVENT.validate)(&old("kube-system")).is_empty());
    }

    #[test]
    fn who_reports_goes_by_the_name_of_the_group() {
        let mut new = event();
        new["reportingController"] = json!("");
        assert!(faults(&(NEW_EVENT.validate)(&new))[0].starts_with("reportingController: Required value"));
        let core = json!({"metadata": {"namespace": "default"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingInstance": "i", "action": "A", "reason": "R"});
        assert!(faults(&(EVENT.validate)(&core))[0].starts_with("reportingComponent: Required value"));
    }

    #[test]
    fn only_the_series_of_an_event_goes_on() {
        let mut new = event();
        new["series"] = json!({"count": 2, "lastObservedTime": "2024-01-01T00:00:00.000000Z"});
        assert_eq!(faults(&(NEW_EVENT.validate_update)(&new, &event(), "")), Vec::<String>::new());
        new["series"]["count"] = json!(1);
        new["note"] = json!("y");
        let found = faults(&(NEW_EVENT.validate_update)(&new, &event(), ""));
        assert_eq!(
            found,
            [
                "series.count: Invalid value: \"\": should be at least 2",
                "message: Invalid value: \"y\": field is immutable"
            ]
        );
    }
}
