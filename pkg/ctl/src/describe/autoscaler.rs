// SPDX-License-Identifier: Apache-2.0
//! HorizontalPodAutoscalers.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::generic::{items, map, text, words};
use super::page::{Page, date};

pub(super) fn page(autoscaler: &Value) -> Page {
    let (meta, spec, status) = (&autoscaler["metadata"], &autoscaler["spec"], &autoscaler["status"]);
    let target = &spec["scaleTargetRef"];
    let mut page = Page::default();
    page.field(0, "Name", text(&meta["name"]));
    page.field(0, "Namespace", text(&meta["namespace"]));
    page.labels("Labels", map(&meta["labels"]).as_ref());
    page.annotations("Annotations", map(&meta["annotations"]).as_ref());
    page.field(0, "CreationTimestamp", date(text(&meta["creationTimestamp"]).parse::<Timestamp>().ok()));
    page.field(0, "Reference", [text(&target["kind"]), text(&target["name"])].join("/"));
    page.field(0, "Metrics", "( current / target )");
    for (at, metric) in items(&spec["metrics"]).iter().enumerate() {
        page.line(1, self::metric(metric, &status["currentMetrics"][at]));
    }
    page.field(0, "Min replicas", or(&spec["minReplicas"], "<unset>"));
    page.field(0, "Max replicas", or(&spec["maxReplicas"], "0"));
    if !spec["behavior"].is_null() {
        page.line(0, "Behavior:");
        direction(&mut page, "Scale Up", &spec["behavior"]["scaleUp"]);
        direction(&mut page, "Scale Down", &spec["behavior"]["scaleDown"]);
    }
    let (now, wanted) = (or(&status["currentReplicas"], "0"), or(&status["desiredReplicas"], "0"));
    page.line(0, format_args!("{} pods:\t{now} current / {wanted} desired", text(&target["kind"])));
    let conditions = items(&status["conditions"]);
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.headings(1, &["Type", "Status", "Reason", "Message"]);
        for condition in conditions {
            let cells = ["type", "status", "reason", "message"].map(|name| text(&condition[name]));
            page.line(1, cells.join("\t"));
        }
    }
    page
}

/// A metric, what it is now, and what it is to be.
fn metric(metric: &Value, current: &Value) -> String {
    let kind = text(&metric["type"]);
    let source = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return format!("<unknown metric type {kind:?}>"),
    };
    let (metric, current) = (&metric[source], &current[source]["current"]);
    let (target, name) = (&metric["target"], text(&metric["metric"]["name"]));
    let by_average = !target["averageValue"].is_null();
    let average = || format!("{} / {}", or(&current["averageValue"], "<unknown>"), words(&target["averageValue"]));
    let value = || format!("{} / {}", or(&current["value"], "<unknown>"), words(&target["value"]));
    let utilization = || {
        let now = match current["averageUtilization"].as_i64() {
            Some(percent) => format!("{percent}% ({})", words(&current["averageValue"])),
            None => "<unknown>".to_owned(),
        };
        let wanted = target["averageUtilization"].as_i64().map_or("<auto>".to_owned(), |percent| format!("{percent}%"));
        format!("  (as a percentage of request):\t{now} / {wanted}")
    };
    let resource = |of: String| if by_average { format!("{of}:\t{}", average()) } else { of + &utilization() };
    match source {
        "pods" => format!("{name:?} on pods:\t{}", average()),
        "resource" => resource(format!("resource {} on pods", text(&metric["name"]))),
        "containerResource" => {
            let (name, container) = (text(&metric["name"]), text(&metric["container"]));
            resource(format!("resource {name} of container {container:?} on pods"))
        }
        _ => {
            let described = &metric["describedObject"];
            let on = if source == "object" {
                format!(" on {}/{}", text(&described["kind"]), text(&described["name"]))
            } else {
                String::new()
            };
            if by_average {
                format!("{name:?}{on} (target average value):\t{}", average())
            } else {
                format!("{name:?}{on} (target value):\t{}", value())
            }
        }
    }
}

fn direction(page: &mut Page, title: &str, rules: &Value) {
    if rules.is_null() {
        return;
    }
    page.line(1, format_args!("{title}:"));
    if let Some(seconds) = rules["stabilizationWindowSeconds"].as_i64() {
        page.line(2, format_args!("Stabilization Window: {seconds} seconds"));
    }
    let policies = items(&rules["policies"]);
    if !policies.is_empty() {
        page.line(2, format_args!("Select Policy: {}", or(&rules["selectPolicy"], "Max")));
        page.line(2, "Policies:");
    }
    for policy in policies {
        let (value, period) = (words(&policy["value"]), words(&policy["periodSeconds"]));
        page.line(3, format_args!("- Type: {}\tValue: {value}\tPeriod: {period} seconds", text(&policy["type"])));
    }
}

/// A value as Go prints it, or what stands where there is none.
fn or(value: &Value, none: &str) -> String {
    if value.is_null() { none.to_owned() } else { words(value) }
}
