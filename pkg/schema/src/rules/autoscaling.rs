// SPDX-License-Identifier: Apache-2.0

//! HorizontalPodAutoscalers (`pkg/apis/autoscaling/{v1,v2}/defaults.go`, `validation`).

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::amount::Amount;
use super::at::At;
use super::fill::{self, empty, object, unset};
use super::metadata::NOT_NEGATIVE;
use super::names;
use super::resources;
use super::security::one_of;
use super::workload::not_negative;
use crate::convert;

pub(super) static HORIZONTAL_POD_AUTOSCALER: Rules = Rules {
    default,
    prepare_create: |autoscaler| fill::remove(autoscaler, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" })
    },
    validate: |autoscaler| validate(autoscaler, None),
    validate_update: |new, old, subresource| match subresource {
        "status" => not_negative(&At::root(new).get("status"), &["currentReplicas", "desiredReplicas"]),
        _ => validate(new, Some(old)),
    },
    ..Rules::DEFAULT
};

/// In these, objects of the first version carry what it has no fields for; in others they mean nothing.
const ROUND_TRIP: [&str; 4] = ["metrics", "behavior", "conditions", "current-metrics"];
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn default(autoscaler: &mut Object) {
    let second_version = autoscaler["apiVersion"] != "autoscaling/v1";
    let spec = object(autoscaler, "spec");
    unset(spec, "minReplicas", 1);
    if !second_version {
        if !convert::has_other_metrics(autoscaler) {
            unset(object(autoscaler, "spec"), "targetCPUUtilizationPercentage", 80);
        }
        return;
    }
    if let Some(annotations) = fill::at(autoscaler, "metadata.annotations") {
        ROUND_TRIP.iter().for_each(|name| {
            fill::remove(annotations, &format!("autoscaling.alpha.kubernetes.io/{name}"));
        });
    }
    let spec = object(autoscaler, "spec");
    let cpu = json!([{"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
    }}]);
    empty(spec, "metrics", cpu);
    if spec["behavior"].is_object() {
        let up = json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]);
        scaling_rules(object(&mut spec["behavior"], "scaleUp"), up, true);
        let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
        scaling_rules(object(&mut spec["behavior"], "scaleDown"), down, false);
    }
}

fn scaling_rules(rules: &mut Value, policies: Value, up: bool) {
    unset(rules, "selectPolicy", "Max");
    unset(rules, "policies", policies);
    if up {
        unset(rules, "stabilizationWindowSeconds", 0);
    }
}

/// Judges an autoscaler of either version as one of the second.
fn validate(autoscaler: &Object, old: Option<&Object>) -> ErrorList {
    let in_second = |object: &Object| {
        let mut object = object.clone();
        if object["apiVersion"] == "autoscaling/v1" {
            convert::autoscaler_to_v2(&mut object);
        }
        object
    };
    let (new, old) = (in_second(autoscaler), old.map(in_second));
    let old = old.as_ref().map(|old| At::root(old).get("spec"));
    spec(&At::root(&new).get("spec"), old.as_ref())
}

/// Whether a reference to what has this kind and version is refused for its version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Any,
    WithGroup,
    Parsable,
}

fn spec(spec: &At<'_>, old: Option<&At<'_>>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let has_outside_metric =
        spec.items("metrics").iter().any(|metric| ["Object", "External"].contains(&metric.str("type")));
    if least.value.as_i64().is_some_and(|count| count < 1) {
        errors.push(least.invalid("must be greater than or equal to 1"));
    }
    match spec.int("maxReplicas") {
        0 => errors.push(most.required("must be set and greater than 0")),
        count if count < 0 => errors.push(most.invalid("must be greater than or equal to 1")),
        _ => {}
    }
    if least.value.as_i64().is_some_and(|count| spec.int("maxReplicas") < count) {
        errors.push(most.invalid_as(spec.int("maxReplicas"), "must be greater than or equal to `minReplicas`"));
    }
    let target = spec.get("scaleTargetRef");
    let was = old.map(|old| old.get("scaleTargetRef"));
    let version = match was {
        Some(was) if ["apiVersion", "kind"].iter().all(|field| was.str(field) == target.str(field)) => Version::Any,
        _ if target.str("kind") == "ReplicationController" => Version::Parsable,
        _ => Version::WithGroup,
    };
    errors.extend(target_ref(&target, version));
    let described = match old.is_some_and(describes_the_unparsable) {
        true => Version::Any,
        false => Version::Parsable,
    };
    errors.extend(spec.items("metrics").iter().flat_map(|one| metric(one, described)));
    if least.value == 0 && !has_outside_metric {
        let message = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(spec.get("metrics").forbidden(message));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.get("behavior").get(direction);
        if rules.is_set() {
            errors.extend(behavior(&rules));
        }
    }
    errors
}

/// What was there before may go on to be there.
fn describes_the_unparsable(old: &At<'_>) -> bool {
    old.items("metrics").iter().any(|metric| {
        metric.str("type") == "Object"
            && metric.has("object")
            && version_fault(metric.str("object.describedObject.apiVersion"), Version::Parsable).is_some()
    })
}

fn version_fault(text: &str, wanted: Version) -> Option<String> {
    let parts: Vec<_> = text.split('/').collect();
    match (wanted, parts.as_slice()) {
        (Version::Any, _) => None,
        (_, [_, _, _, ..]) => Some(format!("unexpected GroupVersion string: {text}")),
        (Version::WithGroup, [_] | ["", _]) => Some("apiVersion must specify API group".to_owned()),
        _ => None,
    }
}

fn target_ref(target: &At<'_>, wanted: Version) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["kind", "name"] {
        let at = target.get(field);
        if at.text().is_empty() {
            errors.push(at.required(""));
        } else {
            errors.extend(at.faults(names::path_segment_name(at.text(), false)));
        }
    }
    let version = target.get("apiVersion");
    errors.extend(version_fault(version.text(), wanted).map(|why| version.invalid_as(version.text(), why)));
    errors
}

fn metric(metric: &At<'_>, described: Version) -> ErrorList {
    let kind = metric.get("type");
    let mut errors = ErrorList::new();
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    let known = METRIC_TYPES.contains(&kind.text());
    if !known {
        errors.push(kind.not_supported(METRIC_TYPES));
    }
    let mut letters = kind.text().chars();
    let wanted: String = letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let sources = ["object", "external", "pods", "resource", "containerResource"];
    let given: Vec<_> = sources.iter().filter(|source| metric.has(source)).collect();
    if let Some(first) = given.first() {
        errors.extend(metric_source(&metric.get(first), first, described));
    }
    if !known {
        errors.push(kind.not_supported(METRIC_TYPES));
    } else if !metric.has(&wanted) {
        errors.push(metric.get(&wanted).required("must populate information for the given metric source"));
    }
    if given.len() > 1 {
        for other in given.iter().filter(|source| ***source != wanted) {
            errors.push(metric.get(other).forbidden("must populate the given metric source only"));
        }
    }
    errors
}

fn metric_source(source: &At<'_>, kind: &str, described: Version) -> ErrorList {
    let target = source.get("target");
    let mut errors = match kind {
        "resource" | "containerResource" => resource_named(source, kind),
        "object" => target_ref(&source.get("describedObject"), described),
        _ => ErrorList::new(),
    };
    if ["object", "external", "pods"].contains(&kind) {
        errors.extend(metric_name(&source.get("metric.name")));
    }
    errors.extend(metric_target(&target));
    let (either, wanted, missing): (&[&str], &str, &str) = match kind {
        "resource" | "containerResource" => (
            &["averageUtilization", "averageValue"],
            "averageUtilization",
            "must set either a target raw value or a target utilization",
        ),
        "pods" => (&["averageValue"], "averageValue", "must specify a positive target averageValue"),
        "object" => (&["value", "averageValue"], "averageValue", "must set either a target value or averageValue"),
        _ => (
            &["value", "averageValue"],
            "averageValue",
            "must set either a target value for metric or a per-pod target",
        ),
    };
    if !either.iter().any(|field| target.has(field)) {
        errors.push(target.get(wanted).required(missing));
    }
    let both = either.iter().all(|field| target.has(field));
    match kind {
        "resource" | "containerResource" if both => {
            let message = "may not set both a target raw value and a target utilization";
            errors.push(target.get("averageValue").forbidden(message));
        }
        "external" if both => {
            let message = "may not set both a target value for metric and a per-pod target";
            errors.push(target.get("value").forbidden(message));
        }
        _ => {}
    }
    errors
}

fn metric_name(name: &At<'_>) -> ErrorList {
    match name.text() {
        "" => vec![name.required("must specify a metric name")],
        text => name.faults(names::path_segment_name(text, false)),
    }
}

/// Of which resource, and of which container, a metric is.
fn resource_named(source: &At<'_>, kind: &str) -> ErrorList {
    let (name, container) = (source.get("name"), source.get("container"));
    let mut errors = ErrorList::new();
    if name.text().is_empty() {
        errors.push(name.required("must specify a resource name"));
    } else if kind == "containerResource" {
        errors.extend(resources::container_resource_name(name.text(), &name));
    }
    if kind != "containerResource" {
        return errors;
    }
    match container.text() {
        "" => errors.push(container.required("must specify a container")),
        text => errors.extend(container.faults(names::dns1123_label(text))),
    }
    errors
}

fn metric_target(target: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = target.get("type");
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.text()) {
        errors.push(kind.invalid_as(kind.text(), "must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        let at = target.get(field);
        if Amount::parse(at.text()).is_some_and(|amount| amount.is_negative() || amount.is_zero()) {
            errors.push(at.invalid("must be positive"));
        }
    }
    let utilisation = target.get("averageUtilization");
    if utilisation.value.as_i64().is_some_and(|percent| percent < 1) {
        errors.push(utilisation.invalid("must be greater than 0"));
    }
    errors
}

fn behavior(rules: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let window = rules.get("stabilizationWindowSeconds");
    match window.value.as_i64() {
        Some(seconds) if seconds < 0 => errors.push(window.invalid("must be greater than or equal to zero")),
        Some(seconds) if seconds > 3600 => errors.push(window.invalid("must be less than or equal to 3600")),
        _ => {}
    }
    errors.extend(one_of(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"]));
    if rules.len("policies") == 0 {
        errors.push(rules.get("policies").required("must specify at least one Policy"));
    }
    for policy in rules.items("policies") {
        errors.extend(one_of(&policy.get("type"), &["Percent", "Pods"]));
        errors.extend(positive(&policy, "value"));
        let period = policy.int("periodSeconds");
        errors.extend(positive(&policy, "periodSeconds"));
        if period > 1800 {
            errors.push(policy.get("periodSeconds").invalid("must be less than or equal to 1800"));
        }
    }
    let tolerance = rules.get("tolerance");
    if Amount::parse(tolerance.text()).is_some_and(|amount| amount.is_negative()) {
        errors.push(tolerance.invalid(NOT_NEGATIVE));
    }
    errors
}

fn positive(holder: &At<'_>, field: &str) -> Option<FieldError> {
    let number = holder.int(field);
    (number <= 0).then(|| holder.get(field).invalid_as(number, "must be greater than zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(autoscaler: &Object) -> Vec<String> {
        validate(autoscaler, None).iter().map(ToString::to_string).collect()
    }

    fn measuring(metric: &Value) -> Object {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
        json!({"apiVersion": "autoscaling/v2", "metadata": {"name": "x"},
            "spec": {"maxReplicas": 5, "scaleTargetRef": target, "metrics": [metric]}})
    }

    #[test]
    fn a_metric_says_one_thing_that_can_be_measured() {
        let value = json!({"type": "Value", "value": "1"});
        let both = json!({"type": "Value", "value": "1", "averageValue": "1"});
        let cases = [
            (
                json!({"type": "Object", "object": {"describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
                "metric": {"name": "m"}, "target": both}}),
                vec![],
            ),
            (
                json!({"type": "Object", "object": {"describedObject": {"apiVersion": "a/b/c", "kind": "S", "name": "s"},
                "metric": {"name": "a/b"}, "target": {"type": "Value"}}}),
                vec![
                    "object.describedObject.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                    "object.metric.name: Invalid value: \"a/b\": may not contain '/'",
                    "object.target.averageValue: Required value: must set either a target value or averageValue",
                ],
            ),
            (
                json!({"type": "External", "external": {"metric": {"name": "m"}, "target": both}}),
                vec![
                    "external.target.value: Forbidden: may not set both a target value for metric and a per-pod target",
                ],
            ),
            (
                json!({"type": "Pods", "pods": {"metric": {"name": ""}, "target": value}}),
                vec![
                    "pods.metric.name: Required value: must specify a metric name",
                    "pods.target.averageValue: Required value: must specify a positive target averageValue",
                ],
            ),
            (
                json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 1, "averageValue": "1"}}}),
                vec![
                    "resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
                ],
            ),
        ];
        for (metric, wanted) in cases {
            let wanted: Vec<_> = wanted.iter().map(|fault| format!("spec.metrics[0].{fault}")).collect();
            assert_eq!(found(&measuring(&metric)), wanted, "{metric}");
        }
    }

    #[test]
    fn what_is_scaled_lies_in_a_group_but_for_the_one_kind_that_has_none() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 1}}});
        let mut autoscaler = measuring(&cpu);
        autoscaler["spec"]["scaleTargetRef"]["apiVersion"] = json!("v1");
        let refused = ["spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"];
        assert_eq!(found(&autoscaler), refused);
        assert!(validate(&autoscaler, Some(&autoscaler)).is_empty(), "it was so before");
        autoscaler["spec"]["scaleTargetRef"]["kind"] = json!("ReplicationController");
        assert!(found(&autoscaler).is_empty());
    }

    #[test]
    fn the_first_version_is_judged_with_what_its_annotations_say() {
        let bare = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "x", "annotations": {
            "autoscaling.alpha.kubernetes.io/metrics": r#"[{"type":"Pods"}]"#}},
            "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
        let why = "Required value: must populate information for the given metric source";
        assert_eq!(found(&bare), [format!("spec.metrics[0].pods: {why}")]);
        let mut autoscaler = json!({"apiVersion": "autoscaling/v1", "metadata": {"name": "x", "annotations": {
            "autoscaling.alpha.kubernetes.io/metrics": r#"[{"type":"Pods","pods":{"metricName":"q","targetAverageValue":"0"}}]"#}},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "D", "name": "d"}}});
        default(&mut autoscaler);
        assert_eq!(autoscaler["spec"]["targetCPUUtilizationPercentage"], Value::Null);
        assert_eq!(
            found(&autoscaler),
            ["spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive"]
        );
        autoscaler["spec"]["targetCPUUtilizationPercentage"] = json!(0);
        autoscaler["metadata"]["annotations"] = Value::Null;
        assert_eq!(
            found(&autoscaler),
            ["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]
        );
    }
}
