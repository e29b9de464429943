// SPDX-License-Identifier: Apache-2.0
//! The row of a pod: what kubectl shows as its status is computed from its containers.

use knarr_types::tree::{Value, json};

use super::fields::Fields;

pub(super) fn cells(kind: &str, pod: Fields<'_>) -> Option<Vec<Value>> {
    (kind == "Pod").then(|| pod_cells(pod))
}

/// Rows of pods that have ended say so, for clients that grey them out.
pub(super) fn row_condition(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod.pointer("/status/phase").and_then(Value::as_str)? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({ "type": "Completed", "status": "True", "reason": reason, "message": message }))
}

/// What the containers say, counted up.
struct Tally<'a> {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: &'a str,
}

impl<'a> Tally<'a> {
    /// Counts a container's restarts, and when it last ended.
    fn count(&mut self, status: Fields<'a>) {
        self.restarts += status.int("/restartCount");
        // Times are all in one form, so that their texts are in their order.
        self.last_restart = self.last_restart.max(status.text("/lastState/terminated/finishedAt"));
    }
}

fn pod_cells(pod: Fields<'_>) -> Vec<Value> {
    let sidecars = pod.items("/spec/initContainers").filter(|c| is_sidecar(*c)).count();
    let total = pod.list("/spec/containers").len() + sidecars;
    let tally = tally(pod);
    let restarts = if tally.restarts != 0 && !tally.last_restart.is_empty() {
        format!("{} ({} ago)", tally.restarts, super::age::since(tally.last_restart, pod.now))
    } else {
        tally.restarts.to_string()
    };
    let ip = Some(pod.text("/status/podIPs/0/ip")).filter(|ip| !ip.is_empty());
    vec![
        pod.name(),
        format!("{}/{total}", tally.ready).into(),
        status(pod, tally.reason).into(),
        restarts.into(),
        pod.age(),
        ip.unwrap_or_else(|| pod.text_or("/status/podIP", "<none>")).into(),
        pod.text_or("/spec/nodeName", "<none>").into(),
        pod.text_or("/status/nominatedNodeName", "<none>").into(),
        readiness_gates(pod).into(),
    ]
}

/// The deletion has the last word over what the containers say.
fn status(pod: Fields<'_>, reason: String) -> String {
    let ended = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    match pod.is_deleted() {
        true if pod.text("/status/reason") == "NodeLost" => "Unknown".into(),
        true if !ended => "Terminating".into(),
        _ => reason,
    }
}

fn tally(pod: Fields<'_>) -> Tally<'_> {
    let mut reason = pod.text_or("/status/reason", "");
    if reason.is_empty() {
        reason = pod.text("/status/phase");
    }
    if pod.condition("PodScheduled").is_some_and(|c| c.text("/reason") == "SchedulingGated") {
        reason = "SchedulingGated";
    }
    let mut all = Tally { reason: reason.into(), ready: 0, restarts: 0, last_restart: "" };
    let mut sidecars = Tally { reason: String::new(), ready: 0, restarts: 0, last_restart: "" };
    let initializing = init_containers(pod, &mut all, &mut sidecars);
    if initializing && !pod.is_condition("Initialized") {
        return all;
    }
    (all.restarts, all.last_restart) = (sidecars.restarts, sidecars.last_restart);
    containers(pod, &mut all);
    all
}

/// Whether an init container is still in the way; if so the reason says which, or why.
fn init_containers<'a>(pod: Fields<'a>, all: &mut Tally<'a>, sidecars: &mut Tally<'a>) -> bool {
    for (i, status) in pod.items("/status/initContainerStatuses").enumerate() {
        let name = status.text("/name");
        let sidecar = pod.items("/spec/initContainers").any(|c| c.text("/name") == name && is_sidecar(c));
        all.count(status);
        if sidecar {
            sidecars.count(status);
        }
        let terminated = status.at("/state/terminated").is_some();
        if terminated && status.int("/state/terminated/exitCode") == 0 {
            continue;
        }
        if sidecar && status.flag("/started") {
            all.ready += usize::from(status.flag("/ready"));
            continue;
        }
        let waiting = status.text("/state/waiting/reason");
        all.reason = if terminated {
            format!("Init:{}", ended(status))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", pod.list("/spec/initContainers").len())
        };
        return true;
    }
    false
}

fn containers<'a>(pod: Fields<'a>, all: &mut Tally<'a>) {
    let mut running = false;
    for status in pod.items("/status/containerStatuses").rev() {
        all.count(status);
        let waiting = status.text("/state/waiting/reason");
        if !waiting.is_empty() {
            all.reason = waiting.into();
        } else if status.at("/state/terminated").is_some() {
            all.reason = ended(status);
        } else if status.flag("/ready") && status.at("/state/running").is_some() {
            running = true;
            all.ready += 1;
        }
    }
    if running && all.reason == "Completed" {
        all.reason = if pod.is_condition("Ready") { "Running".into() } else { "NotReady".into() };
    }
}

/// Why a container ended.
fn ended(status: Fields<'_>) -> String {
    let reason = status.text("/state/terminated/reason");
    match status.int("/state/terminated/signal") {
        _ if !reason.is_empty() => reason.into(),
        0 => format!("ExitCode:{}", status.int("/state/terminated/exitCode")),
        signal => format!("Signal:{signal}"),
    }
}

fn is_sidecar(container: Fields<'_>) -> bool {
    container.text("/restartPolicy") == "Always"
}

fn readiness_gates(pod: Fields<'_>) -> String {
    let gates = pod.items("/spec/readinessGates");
    let total = gates.len();
    if total == 0 {
        return "<none>".into();
    }
    let open = gates.filter(|gate| pod.is_condition(gate.text("/conditionType"))).count();
    format!("{open}/{total}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &Value) -> String {
        let now = "2024-01-01T00:10:00Z".parse().unwrap();
        let cells = pod_cells(Fields { object: pod, now });
        let cell = |i: usize| cells[i].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", cell(1), cell(2), cell(3))
    }

    #[test]
    fn the_status_is_what_kubectl_shows() {
        let spec = json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}, {"name": "b"}]});
        let last = json!({"terminated": {"finishedAt": "2024-01-01T00:05:00Z"}});
        let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
        let sidecar = json!({"name": "s", "started": true, "ready": true, "restartCount": 1, "lastState": last, "state": {"running": {}}});
        let running = json!({"name": "a", "ready": true, "state": {"running": {}}});
        for (status, want) in [
            (json!({"phase": "Pending"}), "0/3 Pending 0"),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]}),
                "0/3 Init:0/2 0",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "restartCount": 3, "lastState": last, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "0/3 Init:CrashLoopBackOff 3 (5m ago)",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]}),
                "0/3 Init:ExitCode:2 0",
            ),
            (
                json!({"phase": "Running", "initContainerStatuses": [done, sidecar], "containerStatuses": [running,
                {"name": "b", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                "2/3 CrashLoopBackOff 3 (5m ago)",
            ),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [running,
                {"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                "1/3 NotReady 0",
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), "0/3 Evicted 0"),
        ] {
            assert_eq!(row(&json!({"spec": spec, "status": status})), want);
        }
    }

    #[test]
    fn a_deleted_pod_is_terminating_until_it_has_ended() {
        let metadata = json!({"deletionTimestamp": "2024-01-01T00:00:00Z"});
        let of = |status: Value| row(&json!({"metadata": metadata, "status": status}));
        assert_eq!(of(json!({"phase": "Running"})), "0/0 Terminating 0");
        assert_eq!(of(json!({"phase": "Running", "reason": "NodeLost"})), "0/0 Unknown 0");
        assert_eq!(of(json!({"phase": "Succeeded"})), "0/0 Succeeded 0");
    }
}
