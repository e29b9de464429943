// SPDX-License-Identifier: Apache-2.0
//! The rows of what makes pods, and of what scales it.

use knarr_types::tree::{Value, json};

use super::age::human_duration;
use super::fields::Fields;

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Deployment" => with_template(
            vec![
                object.name(),
                ready_of_wanted(object),
                object.int("/status/updatedReplicas").into(),
                object.int("/status/availableReplicas").into(),
                object.age(),
            ],
            object,
            Some(object.selector("/spec/selector")),
        ),
        "ReplicaSet" => replicas(object, object.selector("/spec/selector")),
        "ReplicationController" => replicas(object, object.labels("/spec/selector")),
        "StatefulSet" => with_template(vec![object.name(), ready_of_wanted(object), object.age()], object, None),
        "DaemonSet" => daemon_set(object),
        "Job" => job(object),
        "CronJob" => cron_job(object),
        "HorizontalPodAutoscaler" => autoscaler(object),
        "Scale" => {
            vec![
                object.name(),
                object.int("/spec/replicas").into(),
                object.int("/status/replicas").into(),
                object.age(),
            ]
        }
        "ControllerRevision" => {
            vec![object.name(), controller(object), object.int("/revision").into(), object.age()]
        }
        "PodTemplate" => {
            let [names, images] = object.containers("/template/spec");
            vec![object.name(), names, images, object.labels("/template/metadata/labels")]
        }
        _ => return None,
    })
}

fn with_template(mut cells: Vec<Value>, object: Fields<'_>, selector: Option<Value>) -> Vec<Value> {
    cells.extend(object.containers("/spec/template/spec"));
    cells.extend(selector);
    cells
}

fn ready_of_wanted(object: Fields<'_>) -> Value {
    format!("{}/{}", object.int("/status/readyReplicas"), object.int("/spec/replicas")).into()
}

fn replicas(set: Fields<'_>, selector: Value) -> Vec<Value> {
    let counts = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"].map(|path| set.int(path).into());
    let mut cells = vec![set.name()];
    cells.extend(counts);
    cells.push(set.age());
    with_template(cells, set, Some(selector))
}

fn daemon_set(set: Fields<'_>) -> Vec<Value> {
    let counts = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ];
    let mut cells = vec![set.name()];
    cells.extend(counts.map(|field| Value::from(set.int(&format!("/status/{field}")))));
    cells.extend([set.labels("/spec/template/spec/nodeSelector"), set.age()]);
    with_template(cells, set, Some(set.selector("/spec/selector")))
}

fn job(job: Fields<'_>) -> Vec<Value> {
    let done = job.int("/status/succeeded");
    let completions = match (job.at("/spec/completions"), job.int("/spec/parallelism")) {
        (Some(completions), _) => format!("{done}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    };
    let states = [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("", "Terminating"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ];
    let state = states.iter().find(|(condition, _)| match *condition {
        "" => job.is_deleted(),
        condition => job.is_condition(condition),
    });
    let cells = vec![
        job.name(),
        state.map_or("Running", |(_, name)| name).into(),
        completions.into(),
        duration(job).into(),
        job.age(),
    ];
    with_template(cells, job, Some(job.selector("/spec/selector")))
}

/// How long a job has run, or ran.
fn duration(job: Fields<'_>) -> String {
    let time = |path: &str| job.text(path).parse::<jiff::Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return String::new() };
    let end = time("/status/completionTime").unwrap_or(job.now);
    human_duration(end.duration_since(start).as_secs())
}

fn cron_job(job: Fields<'_>) -> Vec<Value> {
    let last = if job.text("/status/lastScheduleTime").is_empty() {
        "<none>".into()
    } else {
        job.since("/status/lastScheduleTime")
    };
    let suspend = match job.at("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let mut cells = vec![
        job.name(),
        job.text("/spec/schedule").into(),
        job.text_or("/spec/timeZone", "<none>").into(),
        suspend.into(),
        job.list("/status/active").len().into(),
        last.into(),
        job.age(),
    ];
    cells.extend(job.containers("/spec/jobTemplate/spec/template/spec"));
    cells.push(job.selector("/spec/jobTemplate/spec/selector"));
    cells
}

fn controller(revision: Fields<'_>) -> Value {
    let owner = revision.items("/metadata/ownerReferences").find(|owner| owner.flag("/controller"));
    owner.map_or("<none>".into(), |owner| {
        let group = owner.text("/apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        format!("{}{group}/{}", owner.text("/kind").to_lowercase(), owner.text("/name")).into()
    })
}

/// An autoscaler, in the shape of `autoscaling/v2`.
fn autoscaler(scaler: Fields<'_>) -> Vec<Value> {
    let reference =
        format!("{}/{}", scaler.text("/spec/scaleTargetRef/kind"), scaler.text("/spec/scaleTargetRef/name"));
    vec![
        scaler.name(),
        reference.into(),
        metrics(scaler).into(),
        scaler.at("/spec/minReplicas").map_or_else(|| "<unset>".into(), Value::to_string).into(),
        scaler.int("/spec/maxReplicas").into(),
        scaler.int("/status/currentReplicas").into(),
        scaler.age(),
    ]
}

/// What is measured against what is wanted, for the first two metrics.
fn metrics(scaler: Fields<'_>) -> String {
    let null = json!(null);
    let now = scaler.now;
    let statuses = scaler.list("/status/currentMetrics");
    let all: Vec<String> = scaler
        .items("/spec/metrics")
        .enumerate()
        .map(|(i, spec)| metric(spec, Fields { object: statuses.get(i).unwrap_or(&null), now }))
        .collect();
    match all.len() {
        0 => "<none>".into(),
        1 | 2 => all.join(", "),
        more => format!("{} + {} more...", all[..2].join(", "), more - 2),
    }
}

fn metric(spec: Fields<'_>, status: Fields<'_>) -> String {
    let ty = spec.text("/type");
    let source = match ty {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".into(),
    };
    let wanted = |field: &str| spec.at(&format!("/{source}/target/{field}"));
    let current = |field: &str| match status.at(&format!("/{source}/current/{field}")) {
        // Go prints an amount that is not there.
        None if prints_none(source, field) && status.at(&format!("/{source}")).is_some() => "<nil>".into(),
        None => "<unknown>".into(),
        Some(value) if field == "averageUtilization" => format!("{value}%"),
        Some(value) => value.as_str().unwrap_or_default().to_owned(),
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let average = || format!("{}/{}", current("averageValue"), text(wanted("averageValue")));
    match (source, wanted("averageValue").is_some()) {
        ("pods", _) => average(),
        ("resource" | "containerResource", true) => {
            format!("{}: {}", spec.text(&format!("/{source}/name")), average())
        }
        ("resource" | "containerResource", false) => {
            let target = wanted("averageUtilization").map_or("<auto>".into(), |percent| format!("{percent}%"));
            format!("{}: {}/{target}", spec.text(&format!("/{source}/name")), current("averageUtilization"))
        }
        (_, true) => format!("{} (avg)", average()),
        (_, false) => format!("{}/{}", current("value"), text(wanted("value"))),
    }
}

/// Whether upstream shows this part of a metric's status without a look whether it is there.
fn prints_none(source: &str, field: &str) -> bool {
    match source {
        "object" | "external" => field == "value",
        _ => field == "averageValue",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_show_what_is_against_what_should_be() {
        let shown = |spec: Value, status: Value| {
            let object = json!({"spec": {"metrics": [spec]}, "status": {"currentMetrics": [status]}});
            metrics(Fields { object: &object, now: jiff::Timestamp::UNIX_EPOCH })
        };
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        assert_eq!(shown(cpu.clone(), json!({})), "cpu: <unknown>/80%");
        assert_eq!(shown(cpu, json!({"resource": {"current": {"averageUtilization": 7}}})), "cpu: 7%/80%");
        let queue = json!({"type": "External", "external": {"target": {"value": "3"}}});
        assert_eq!(shown(queue.clone(), json!({})), "<unknown>/3");
        assert_eq!(shown(queue, json!({"external": {"current": {}}})), "<nil>/3");
        let average = json!({"type": "External", "external": {"target": {"averageValue": "3"}}});
        assert_eq!(shown(average, json!({"external": {"current": {}}})), "<unknown>/3 (avg)");
    }
}
