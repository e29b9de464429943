// SPDX-License-Identifier: Apache-2.0

//! What the controller of a job may say about it (`pkg/apis/batch/validation`, ValidateJobStatus).

use knarr_types::ErrorList;

use super::at::{At, same};
use super::job::without_value;
use super::workload::not_negative;

/// What is wrong with a change of a job's status.
pub fn validate(job: &At<'_>, before: &At<'_>) -> ErrorList {
    let (status, old) = (job.get("status"), before.get("status"));
    let mut errors = not_negative(&status, &["active", "succeeded", "failed", "ready", "terminating"]);
    errors.extend(uncounted(&status));
    if !same(status.value, old.value) {
        errors.extend(completion(&status));
        errors.extend(finished(&status));
        errors.extend(indexes(job, &status));
        errors.extend(no_way_back(&status, &old));
    }
    errors
}

fn is_true(status: &At<'_>, kind: &str) -> bool {
    status.items("conditions").iter().any(|one| one.str("type") == kind && one.str("status") == "True")
}

/// Pods that are gone but not yet counted, each once.
fn uncounted(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for uid in status.get("uncountedTerminatedPods").items(list) {
            if uid.text().is_empty() {
                errors.push(uid.invalid("must not be empty"));
            } else if seen.contains(&uid.text()) {
                errors.push(uid.duplicate());
            }
            seen.push(uid.text());
        }
    }
    errors
}

fn completion(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (completed, started) = (status.get("completionTime"), status.str("startTime"));
    let complete = is_true(status, "Complete");
    match (complete, completed.is_set()) {
        (true, false) => errors.push(completed.required("completionTime is required for Complete jobs")),
        (false, true) => {
            errors.push(completed.invalid("cannot set completionTime when there is no Complete=True condition"));
        }
        _ => {}
    }
    // Both are RFC 3339 to the second in UTC, so their texts order as they do.
    if completed.is_set() && !started.is_empty() && completed.text() < started {
        errors.push(completed.invalid("must be equal to or after `startTime`"));
    }
    let conditions = status.get("conditions");
    for (end, first) in [("Complete", "SuccessCriteriaMet"), ("Failed", "FailureTarget")] {
        if is_true(status, end) && !is_true(status, first) {
            let message = format!("cannot set {end}=True condition without the {first}=true condition");
            errors.push(without_value(&conditions, message));
        }
    }
    errors
}

fn finished(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !is_true(status, "Complete") && !is_true(status, "Failed") {
        return errors;
    }
    if !status.has("startTime") {
        errors.push(status.get("startTime").required("startTime is required for finished job"));
    }
    if status.int("active") > 0 {
        errors.push(status.get("active").invalid("active>0 is invalid for finished job"));
    }
    errors
}

fn indexes(job: &At<'_>, status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let completed = status.get("completedIndexes");
    if !completed.text().is_empty() && job.str("spec.completionMode") != "Indexed" {
        errors.push(completed.invalid("cannot set non-empty completedIndexes when non-indexed completion mode"));
    }
    let failed = status.get("failedIndexes");
    if failed.is_set() && !job.has("spec.backoffLimitPerIndex") {
        errors.push(failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
    }
    if status.int("ready") > status.int("active") {
        errors.push(status.get("ready").invalid("cannot set more ready pods than active"));
    }
    errors
}

/// What was reached stays reached, and counters do not fall.
fn no_way_back(status: &At<'_>, old: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let conditions = status.get("conditions");
    let lost = |kind: &str| is_true(old, kind) && !is_true(status, kind);
    for kind in ["Failed", "Complete"] {
        if lost(kind) {
            let message = format!("cannot disable the terminal {kind}=True condition");
            errors.push(without_value(&conditions, message));
        }
    }
    for kind in ["FailureTarget", "SuccessCriteriaMet"] {
        if lost(kind) {
            errors.push(without_value(&conditions, format!("cannot disable the {kind}=True condition")));
        }
    }
    for field in ["failed", "succeeded"] {
        if status.int(field) < old.int(field) {
            let message = format!("cannot decrease the {field} counter");
            errors.push(status.get(field).invalid_as(status.int(field), message));
        }
    }
    errors
}
