// SPDX-License-Identifier: Apache-2.0
//! HorizontalPodAutoscaler: `autoscaling/v1` has one CPU target; what else `v2` says is in
//! annotations there. <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>

use knarr_types::tree::{Map, Value, json};

use super::ordered::{at, at_or_null, list, object};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What this version has no fields for.
pub(super) const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];
const CPU_TARGET: &str = "targetCPUUtilizationPercentage";
const CPU_CURRENT: &str = "currentCPUUtilizationPercentage";
/// No amount, as JSON.
const ZERO: &str = "\"0\"";

// === v2 to v1

pub(super) fn v2_to_v1(fields: &mut Map) {
    let mut annotations = Vec::new();
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = taken_list(spec, "metrics");
        if let Some(target) = metrics.iter().find(|metric| is_cpu(metric)).and_then(|metric| cpu(metric, "target")) {
            spec.insert(CPU_TARGET, target.clone());
        }
        let others: Vec<String> =
            metrics.iter().filter(|metric| cpu(metric, "target").is_none()).map(metric_v1).collect();
        if !others.is_empty() {
            annotations.push((METRICS, list(others)));
        }
        if let Some(behavior) = spec.remove("behavior").filter(|behavior| !behavior.is_null()) {
            annotations.push((BEHAVIOR, behavior_text(&behavior)));
        }
    }
    if let Some(status) = fields.get_mut("status").and_then(Value::as_object_mut) {
        let metrics = taken_list(status, "currentMetrics");
        if let Some(current) = metrics.iter().find_map(|metric| cpu(metric, "current")) {
            status.insert(CPU_CURRENT, current.clone());
        }
        if !metrics.is_empty() {
            annotations.push((CURRENT_METRICS, list(metrics.iter().map(status_v1))));
        }
        let conditions = taken_list(status, "conditions");
        if !conditions.is_empty() {
            annotations.push((CONDITIONS, list(conditions.iter().map(condition_text))));
        }
    }
    annotate(fields, annotations);
}

fn taken_list(tree: &mut Map, name: &str) -> Vec<Value> {
    match tree.remove(name) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The CPU utilization of a metric, which v1 has a field for.
fn cpu<'a>(metric: &'a Value, side: &str) -> Option<&'a Value> {
    metric.pointer(&format!("/resource/{side}/averageUtilization")).filter(|value| is_cpu(metric) && !value.is_null())
}

fn is_cpu(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric.pointer("/resource/name") == Some(&json!("cpu"))
}

fn annotate(fields: &mut Map, annotations: Vec<(&str, String)>) {
    if annotations.is_empty() {
        return;
    }
    let metadata = fields.entry("metadata").or_insert_with(|| json!({})).as_object_mut();
    let on_object = metadata.map(|metadata| metadata.entry("annotations").or_insert_with(|| json!({})));
    if let Some(on_object) = on_object.and_then(Value::as_object_mut) {
        on_object.extend(annotations.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text))));
    }
}

/// A metric's source in both versions has the field of its type's name.
fn source(metric: &Value) -> (&'static str, Value) {
    let name = match metric["type"].as_str() {
        Some("Object") => "object",
        Some("Pods") => "pods",
        Some("ContainerResource") => "containerResource",
        Some("External") => "external",
        _ => "resource",
    };
    (name, metric[name].clone())
}

/// A metric of the spec in v1: what each is to be.
fn metric_v1(metric: &Value) -> String {
    side_v1(metric, "target", None)
}

/// A metric of the status in v1: what each is; values that are not optional there are zero.
fn status_v1(metric: &Value) -> String {
    side_v1(metric, "current", Some(ZERO))
}

/// A metric with its fields of one `side`; `unset` is a value that v1 must have and v2 has not.
fn side_v1(metric: &Value, side: &str, unset: Option<&str>) -> String {
    let (name, from) = source(metric);
    let names = ["Value", "AverageValue", "AverageUtilization"].map(|field| format!("{side}{field}"));
    let [value, average, utilization] = names.each_ref().map(String::as_str);
    let found = |field: &str| at(&from, &format!("/{side}/{field}"));
    let or = |text: Option<String>, unset: Option<&str>| text.or_else(|| unset.map(str::to_owned));
    let fields = match name {
        "object" => object(&[
            ("target", Some(reference(&from["describedObject"]))),
            ("metricName", at(&from, "/metric/name")),
            (value, or(found("value"), Some(ZERO))),
            ("selector", at(&from, "/metric/selector")),
            ("averageValue", found("averageValue")),
        ]),
        "pods" => object(&[
            ("metricName", at(&from, "/metric/name")),
            (average, found("averageValue")),
            ("selector", at(&from, "/metric/selector")),
        ]),
        "external" => object(&[
            ("metricName", at(&from, "/metric/name")),
            ("metricSelector", at(&from, "/metric/selector")),
            (value, or(found("value"), unset)),
            (average, found("averageValue")),
        ]),
        _ => object(&[
            ("name", at(&from, "/name")),
            (utilization, found("averageUtilization")),
            (average, or(found("averageValue"), unset)),
            ("container", at(&from, "/container")),
        ]),
    };
    object(&[("type", at(metric, "/type")), (name, Some(fields))])
}

fn reference(to: &Value) -> String {
    object(&[("kind", at(to, "/kind")), ("name", at(to, "/name")), ("apiVersion", at(to, "/apiVersion"))])
}

/// The behavior as upstream's internal struct prints it: Go's own field names, all there.
fn behavior_text(behavior: &Value) -> String {
    let side = |name: &str| {
        let rules = &behavior[name];
        if rules.is_null() {
            return Some("null".into());
        }
        let policies = rules["policies"].as_array().map(|policies| {
            list(policies.iter().map(|policy| {
                object(&[
                    ("Type", at(policy, "/type")),
                    ("Value", at(policy, "/value")),
                    ("PeriodSeconds", at(policy, "/periodSeconds")),
                ])
            }))
        });
        Some(object(&[
            ("StabilizationWindowSeconds", at_or_null(rules, "/stabilizationWindowSeconds")),
            ("SelectPolicy", at_or_null(rules, "/selectPolicy")),
            ("Policies", policies.or_else(|| Some("null".into()))),
            ("Tolerance", at_or_null(rules, "/tolerance")),
        ]))
    };
    object(&[("ScaleUp", side("scaleUp")), ("ScaleDown", side("scaleDown"))])
}

fn condition_text(condition: &Value) -> String {
    object(&[
        ("type", at(condition, "/type")),
        ("status", at(condition, "/status")),
        // A time is a struct, which is written also where it is nothing.
        ("lastTransitionTime", at_or_null(condition, "/lastTransitionTime")),
        ("reason", at(condition, "/reason")),
        ("message", at(condition, "/message")),
    ])
}

// === v1 to v2

/// Whether an annotation names metrics, so that none is made up.
pub(super) fn has_other_metrics(autoscaler: &Value) -> bool {
    let text = autoscaler["metadata"]["annotations"][METRICS].as_str().unwrap_or_default();
    serde_json::from_str(text).is_ok_and(|metrics: Vec<Value>| !metrics.is_empty())
}

pub(super) fn v1_to_v2(fields: &mut Map) {
    let mut annotation = |name: &str| -> Option<Value> {
        let annotations = fields.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
        let text = annotations.remove(name)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let [metrics, current, conditions, behavior] = ANNOTATIONS.map(&mut annotation);
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        let mut all: Vec<Value> = listed(metrics).iter().map(|metric| metric_v2(metric, "target")).collect();
        if let Some(target) = spec.remove(CPU_TARGET).filter(|target| !target.is_null()) {
            let target = json!({ "type": "Utilization", "averageUtilization": target });
            all.push(json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } }));
        }
        if !all.is_empty() {
            spec.insert("metrics", all.into());
        }
        let behavior = behavior.as_ref().map(behavior_v2).unwrap_or_default();
        if !behavior["scaleUp"].is_null() || !behavior["scaleDown"].is_null() {
            spec.insert("behavior", behavior);
        }
    }
    let status = fields.entry("status").or_insert_with(|| json!({}));
    if let Some(status) = status.as_object_mut() {
        let cpu = status.remove(CPU_CURRENT).filter(|current| !current.is_null());
        let mut all: Vec<Value> = listed(current).iter().map(|metric| metric_v2(metric, "current")).collect();
        if let Some(cpu) = cpu.filter(|_| all.is_empty()) {
            all.push(
                json!({ "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": cpu } } }),
            );
        }
        for (name, items) in [("currentMetrics", all), ("conditions", listed(conditions))] {
            if !items.is_empty() {
                status.insert(name, items.into());
            }
        }
    }
}

fn listed(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// A metric (`target`) or its status (`current`) out of an annotation.
fn metric_v2(metric: &Value, side: &str) -> Value {
    let (name, from) = source(metric);
    // A type that nothing is said about stays one.
    if from.is_null() {
        return json!({ "type": metric["type"] });
    }
    let is_status = side == "current";
    let field = |of_target: &str, of_status: &str| from[if is_status { of_status } else { of_target }].clone();
    let utilization = field("targetAverageUtilization", "currentAverageUtilization");
    let value = field("targetValue", "currentValue");
    let average = match name {
        "object" => from["averageValue"].clone(),
        _ => field("targetAverageValue", "currentAverageValue"),
    };
    let ty = match () {
        () if !utilization.is_null() => "Utilization",
        () if !average.is_null() => "AverageValue",
        () => "Value",
    };
    let mut amounts = json!({});
    for (name, amount) in [("averageUtilization", utilization), ("averageValue", average), ("value", value)] {
        // v1 prints a plain value even where an average is meant.
        let filler = ty != "Value" && name == "value" && amount == "0";
        if !amount.is_null() && !filler {
            amounts[name] = amount;
        }
    }
    if !is_status {
        amounts["type"] = json!(ty);
    }
    let mut to = match name {
        "resource" | "containerResource" => json!({ "name": from["name"], "container": from["container"] }),
        "external" => json!({ "metric": { "name": from["metricName"], "selector": from["metricSelector"] } }),
        "object" => json!({
            "describedObject": from["target"],
            "metric": { "name": from["metricName"], "selector": from["selector"] },
        }),
        _ => json!({ "metric": { "name": from["metricName"], "selector": from["selector"] } }),
    };
    to[side] = amounts;
    json!({ "type": metric["type"], name: to })
}

/// The behavior of an annotation, whose names Go reads in any case.
fn behavior_v2(behavior: &Value) -> Value {
    let side = |name: &str| {
        let rules = any_case(behavior, name);
        if rules.is_null() {
            return Value::Null;
        }
        let policies: Vec<Value> = listed(Some(any_case(rules, "policies").clone()))
            .iter()
            .map(|policy| {
                let [ty, value, period] = ["type", "value", "periodSeconds"].map(|name| any_case(policy, name));
                json!({ "type": ty, "value": value, "periodSeconds": period })
            })
            .collect();
        let [window, select, tolerance] =
            ["stabilizationWindowSeconds", "selectPolicy", "tolerance"].map(|name| any_case(rules, name));
        json!({
            "stabilizationWindowSeconds": window, "selectPolicy": select, "policies": policies, "tolerance": tolerance,
        })
    };
    json!({ "scaleUp": side("scaleUp"), "scaleDown": side("scaleDown") })
}

fn any_case<'v>(value: &'v Value, name: &str) -> &'v Value {
    let mut fields = value.as_object().into_iter().flatten();
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map_or(&Value::Null, |(_, value)| value)
}
