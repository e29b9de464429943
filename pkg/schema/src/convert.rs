// SPDX-License-Identifier: Apache-2.0
//! Between the version in which an object is stored and the others in which its kind is served.
//!
//! Events are stored as the core group's, autoscalers as `autoscaling/v2`. Objects are in their
//! normal form before and after ([`crate::normalize()`]).

mod autoscaler;
mod ordered;

use knarr_types::Object;
use knarr_types::tree::{Map, Value};

use crate::decode::TEMPLATE_GENERATION;
use crate::field_table::TypeRef;
use crate::kinds::Kind;
use crate::normalize::normalize;

/// Brings an object of a served version into the stored one. The caller sets defaults of the stored
/// version afterwards.
pub fn to_storage(kind: &Kind, object: &mut Object) {
    let Some(fields) = object.as_object_mut().filter(|_| is_converted(kind)) else { return };
    let ty = match &*kind.kind {
        "Event" => {
            rename(fields, |(core, other)| (other, core));
            TypeRef::named("io.k8s.api.core.v1.Event")
        }
        _ => {
            autoscaler::v1_to_v2(fields);
            TypeRef::named("io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler")
        }
    };
    fields.insert("apiVersion", (*kind.storage_version).into());
    if let Some(ty) = ty {
        normalize(object, ty.get());
    }
}

/// Brings a stored object into the version in which the kind is served.
pub fn from_storage(kind: &Kind, object: &mut Object) {
    let Some(fields) = object.as_object_mut().filter(|_| is_converted(kind)) else { return };
    match &*kind.kind {
        "Event" => rename(fields, |names| names),
        _ => autoscaler::v2_to_v1(fields),
    }
    fields.insert("apiVersion", kind.api_version().into());
    normalize(object, kind.ty.get());
}

/// Whether the kind is stored in another version than it is served in, so that bytes must be
/// converted on their way.
#[must_use]
pub fn is_converted(kind: &Kind) -> bool {
    matches!(&*kind.kind, "Event" | "HorizontalPodAutoscaler")
        && kind.custom.is_none()
        && *kind.storage_version != kind.api_version()
}

/// Takes the annotations away that stand for fields which the kind's version does not have. Upstream's inner form
/// has those fields, and its metadata is what tables and objects cut down to their metadata show.
pub(crate) fn drop_stand_ins(kind: &Kind, metadata: &mut Value) {
    let names: &[&str] = match &*kind.kind {
        "DaemonSet" if kind.custom.is_none() => &[TEMPLATE_GENERATION],
        "HorizontalPodAutoscaler" if is_converted(kind) => &autoscaler::ANNOTATIONS,
        _ => return,
    };
    let Some(fields) = metadata.as_object_mut() else { return };
    if let Some(annotations) = fields.get_mut("annotations").and_then(Value::as_object_mut) {
        names.iter().for_each(|name| drop(annotations.remove(name)));
        if annotations.is_empty() {
            fields.remove("annotations");
        }
    }
}

/// An autoscaler of the first version as one of the second, but for its `apiVersion`.
pub(crate) fn autoscaler_to_v2(autoscaler: &mut Object) {
    if let Some(fields) = autoscaler.as_object_mut() {
        autoscaler::v1_to_v2(fields);
    }
}

/// Whether an autoscaler of the first version measures more than it has fields for.
pub(crate) fn has_other_metrics(autoscaler: &Object) -> bool {
    autoscaler::has_other_metrics(autoscaler)
}

/// Fields of an Event in the core group, and in events.k8s.io.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(fields: &mut Map, direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    for (from, to) in EVENT_FIELDS.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn an_event_has_other_names_in_its_own_group() {
        let registry = Registry::builtin();
        let kind = registry.by_kind("events.k8s.io", "v1", "Event").unwrap();
        let mut event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "note": "m", "regarding": {"kind": "Pod"}, "reportingController": "c", "eventTime": "2024-01-01T00:00:00.000000Z"});
        to_storage(kind, &mut event);
        assert_eq!(event["apiVersion"], "v1");
        assert_eq!((&event["message"], &event["involvedObject"]["kind"]), (&json!("m"), &json!("Pod")));
        assert_eq!(event["firstTimestamp"], Value::Null);
        from_storage(kind, &mut event);
        assert_eq!(
            event,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "m",
                "regarding": {"kind": "Pod"}, "reportingController": "c", "eventTime": "2024-01-01T00:00:00.000000Z",
                "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null, "deprecatedSource": {}})
        );
    }

    #[test]
    fn what_stands_for_fields_is_no_part_of_the_metadata_alone() {
        let registry = Registry::builtin();
        let generation = "deprecated.daemonset.template.generation";
        let behavior = "autoscaling.alpha.kubernetes.io/behavior";
        for (group, version, kind, annotations, left) in [
            ("apps", "v1", "DaemonSet", json!({generation: "1"}), Value::Null),
            ("apps", "v1", "DaemonSet", json!({generation: "1", "a": "b"}), json!({"a": "b"})),
            ("apps", "v1", "Deployment", json!({generation: "1"}), json!({generation: "1"})),
            ("autoscaling", "v1", "HorizontalPodAutoscaler", json!({behavior: "{}"}), Value::Null),
            ("autoscaling", "v2", "HorizontalPodAutoscaler", json!({behavior: "{}"}), json!({behavior: "{}"})),
        ] {
            let mut metadata = json!({"name": "x", "annotations": annotations});
            drop_stand_ins(registry.by_kind(group, version, kind).unwrap(), &mut metadata);
            assert_eq!(metadata["annotations"], left, "{group}/{version} {kind}");
        }
    }

    #[test]
    fn kinds_of_one_version_stay_as_they_are() {
        let registry = Registry::builtin();
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "odd": 1});
        to_storage(registry.by_kind("", "v1", "Pod").unwrap(), &mut pod);
        assert_eq!(pod["odd"], 1);
        assert_eq!(registry.iter().filter(|kind| is_converted(kind)).count(), 2);
    }

    #[test]
    fn what_an_autoscalers_v1_cannot_say_goes_into_annotations_and_back() {
        let registry = Registry::builtin();
        let v1 = registry.by_kind("autoscaling", "v1", "HorizontalPodAutoscaler").unwrap();
        let stored = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"},
            "spec": {"maxReplicas": 5, "minReplicas": 1, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10, "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}]}},
                "metrics": [
                    {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                        "target": {"type": "AverageValue", "averageValue": "100Mi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "qps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"},
                        "metric": {"name": "hits"}, "target": {"type": "Value", "value": "2"}}},
                    {"type": "External", "external": {"metric": {"name": "queue"},
                        "target": {"type": "AverageValue", "averageValue": "30"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]},
            "status": {"currentMetrics": null, "desiredReplicas": 0,
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": null}]}});
        let mut object = stored.clone();
        from_storage(v1, &mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 50);
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations["autoscaling.alpha.kubernetes.io/metrics"],
            r#"[{"type":"ContainerResource","containerResource":{"name":"memory","targetAverageValue":"100Mi","container":"c"}},{"type":"Pods","pods":{"metricName":"qps","targetAverageValue":"1k","selector":{"matchLabels":{"a":"b"}}}},{"type":"Object","object":{"target":{"kind":"Ingress","name":"i","apiVersion":"networking.k8s.io/v1"},"metricName":"hits","targetValue":"2"}},{"type":"External","external":{"metricName":"queue","targetAverageValue":"30"}}]"#
        );
        assert_eq!(
            annotations["autoscaling.alpha.kubernetes.io/behavior"],
            r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":10,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":5}],"Tolerance":null}}"#
        );
        assert_eq!(
            annotations["autoscaling.alpha.kubernetes.io/conditions"],
            r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":null}]"#
        );
        to_storage(v1, &mut object);
        assert_eq!(object, stored);
        let policy = json!({"type": "Pods", "value": 1, "periodSeconds": 5});
        for (text, expected) in [
            (format!(r#"{{"scaleUp":{{"policies":[{policy}]}}}}"#), json!([policy])),
            (format!(r#"{{"ScaleUp":{{"POLICIES":[{policy}]}}}}"#), json!([policy])),
            ("{}".to_owned(), Value::Null),
            ("1".to_owned(), Value::Null),
        ] {
            let mut object = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "spec": {},
                "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/behavior": text}}});
            to_storage(v1, &mut object);
            assert_eq!(object["spec"]["behavior"]["scaleUp"]["policies"], expected, "{text}");
        }
    }
}
