// SPDX-License-Identifier: Apache-2.0

//! HorizontalPodAutoscalers (`pkg/apis/autoscaling/{v1,v2}/defaults.go`, `validation`).

use knarr_types::{ErrorList, FieldError, Object};
use serde_json::{Value, json};

use super::Rules;
use super::amount::Amount;
use super::at::At;
use super::fill::{self, empty, object, unset};
use super::names;
use super::security::one_of;
use super::workload::not_negative;

pub(super) static HORIZONTAL_POD_AUTOSCALER: Rules = Rules {
    default,
    prepare_create: |autoscaler| fill::remove(autoscaler, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" })
    },
    validate: |autoscaler| spec(&At::root(autoscaler).get("spec")),
    validate_update: |new, _, subresource| match subresource {
        "status" => not_negative(&At::root(new).get("status"), &["currentReplicas", "desiredReplicas"]),
        _ => spec(&At::root(new).get("spec")),
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
        unset(spec, "targetCPUUtilizationPercentage", 80);
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

fn spec(spec: &At<'_>) -> ErrorList {
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
    errors.extend(target_ref(&spec.get("scaleTargetRef")));
    let utilisation = spec.get("targetCPUUtilizationPercentage");
    if utilisation.value.as_i64().is_some_and(|percent| percent < 1) {
        let path = knarr_types::FieldPath::new("spec.metrics[0].resource.target.averageUtilization");
        errors.push(utilisation.named(path).invalid("must be greater than 0"));
    }
    errors.extend(spec.items("metrics").iter().flat_map(metric));
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

fn target_ref(target: &At<'_>) -> ErrorList {
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
    if version.text().split('/').count() > 2 {
        errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text())));
    } else if version.text().is_empty() && target.str("kind") != "ReplicationController" {
        errors.push(version.invalid_as("", "apiVersion must specify API group"));
    }
    errors
}

fn metric(metric: &At<'_>) -> ErrorList {
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
        errors.extend(metric_source(&metric.get(first), first));
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

fn metric_source(source: &At<'_>, kind: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let target = source.get("target");
    match kind {
        "resource" | "containerResource" => {
            if source.str("name").is_empty() {
                errors.push(source.get("name").required("must specify a resource name"));
            }
            if kind == "containerResource" && source.str("container").is_empty() {
                errors.push(source.get("container").required("must specify a container"));
            }
        }
        _ => {
            if source.str("metric.name").is_empty() {
                errors.push(source.get("metric.name").required("must specify a metric name"));
            }
            if kind == "object" {
                errors.extend(target_ref(&source.get("describedObject")));
            }
        }
    }
    errors.extend(metric_target(&target));
    let required: (&[&str], &str, &str) = match kind {
        "resource" | "containerResource" => (
            &["averageUtilization", "averageValue"],
            "averageUtilization",
            "must set either a target raw value or a target utilization",
        ),
        "pods" => (&["averageValue"], "averageValue", "must specify a positive target averageValue"),
        _ => (
            &["value", "averageValue"],
            "averageValue",
            "must set either a target value for metric or a per-pod target",
        ),
    };
    if target.is_set() && !required.0.iter().any(|field| target.has(field)) {
        errors.push(target.get(required.1).required(required.2));
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
    errors
}

fn positive(holder: &At<'_>, field: &str) -> Option<FieldError> {
    let number = holder.int(field);
    (number <= 0).then(|| holder.get(field).invalid_as(number, "must be greater than zero"))
}
