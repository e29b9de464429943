// SPDX-License-Identifier: Apache-2.0

//! What the controller of a job may say about it (`pkg/apis/batch/validation`, ValidateJobStatusUpdate).
//! Most of it is judged only where it changed: what was stored before does not hinder other changes.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError};

use super::at::{At, same};
use super::job::without_value;
use super::job_indexes;
use super::workload::not_negative;

/// A job's status before and after.
struct Change<'a> {
    job: &'a At<'a>,
    status: At<'a>,
    old: At<'a>,
}

/// What is wrong with a change of a job's status.
pub fn validate(job: &At<'_>, before: &At<'_>) -> ErrorList {
    let change = Change { job, status: job.get("status"), old: before.get("status") };
    let mut errors = not_negative(&change.status, &["active", "succeeded", "failed", "ready", "terminating"]);
    errors.extend(uncounted(&change.status));
    errors.extend(change.ends_together());
    errors.extend(change.completion_time());
    errors.extend(change.conditions_before());
    errors.extend(change.finished());
    errors.extend(change.indexes());
    errors.extend(change.pods());
    errors.extend(change.success());
    errors.extend(change.no_way_back());
    errors
}

fn is_true(status: &At<'_>, kind: &str) -> bool {
    status.items("conditions").iter().any(|one| one.str("type") == kind && one.str("status") == "True")
}

fn is_finished(status: &At<'_>) -> bool {
    is_true(status, "Complete") || is_true(status, "Failed")
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

impl Change<'_> {
    fn is(&self, kind: &str) -> bool {
        is_true(&self.status, kind)
    }

    /// A condition became or ceased to be true.
    fn turned(&self, kind: &str) -> bool {
        self.is(kind) != is_true(&self.old, kind)
    }

    fn changed(&self, field: &str) -> bool {
        !same(self.status.raw(field), self.old.raw(field))
    }

    fn finish_turned(&self) -> bool {
        is_finished(&self.status) != is_finished(&self.old)
    }

    fn of_conditions(&self, message: impl Into<String>) -> FieldError {
        without_value(&self.status.get("conditions"), message)
    }

    fn ends_together(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        for (other, shown) in [("Failed", "Failed=true"), ("FailureTarget", "FailureTarget=true")] {
            if (self.turned("Complete") || self.turned(other)) && self.is("Complete") && self.is(other) {
                errors.push(self.of_conditions(format!("cannot set Complete=True and {shown} conditions")));
            }
        }
        errors
    }

    fn completion_time(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        let (completed, started) = (self.status.get("completionTime"), self.status.str("startTime"));
        if self.turned("Complete") || self.changed("completionTime") {
            match (self.is("Complete"), completed.is_set()) {
                (true, false) => errors.push(completed.required("completionTime is required for Complete jobs")),
                (false, true) => {
                    let message = "cannot set completionTime when there is no Complete=True condition";
                    errors.push(completed.invalid(message));
                }
                _ => {}
            }
        }
        // Both are RFC 3339 to the second in UTC, so their texts order as they do.
        let before_start = completed.is_set() && !started.is_empty() && completed.text() < started;
        if before_start && (self.changed("startTime") || self.changed("completionTime")) {
            errors.push(completed.invalid("must be equal to or after `startTime`"));
        }
        errors
    }

    fn conditions_before(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        for (end, first) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
            if (self.turned(end) || self.turned(first)) && self.is(end) && !self.is(first) {
                let message = format!("cannot set {end}=True condition without the {first}=true condition");
                errors.push(self.of_conditions(message));
            }
        }
        errors
    }

    fn finished(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        if !is_finished(&self.status) {
            return errors;
        }
        let judged = |field: &str| self.finish_turned() || self.changed(field);
        if judged("active") && self.status.int("active") > 0 {
            errors.push(self.status.get("active").invalid("active>0 is invalid for finished job"));
        }
        let spec = self.job.get("spec");
        let nothing_to_do = spec.flag("suspend") && spec.opt_int("completions") == Some(0);
        if judged("startTime") && !self.status.has("startTime") && !nothing_to_do {
            errors.push(self.status.get("startTime").required("startTime is required for finished job"));
        }
        let uncounted = self.status.get("uncountedTerminatedPods");
        if judged("uncountedTerminatedPods") && uncounted.len("succeeded") + uncounted.len("failed") > 0 {
            let message = "uncountedTerminatedPods needs to be empty for finished job";
            errors.push(uncounted.invalid(message));
        }
        errors
    }

    fn indexes(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        let (completed, failed) = (self.status.get("completedIndexes"), self.status.get("failedIndexes"));
        let (completed_changed, failed_changed) = (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let spec = self.job.get("spec");
        let completions = spec.opt_int("completions");
        let parsed = |at: &At<'_>, field: &str| {
            let error = job_indexes::count(at.text(), completions?).err()?;
            Some(at.invalid(format!("error parsing {field}: {error}")))
        };
        if completed_changed {
            errors.extend(parsed(&completed, "completedIndexes"));
        }
        if failed_changed && spec.has("backoffLimitPerIndex") {
            errors.extend(parsed(&failed, "failedIndexes"));
        }
        if completed_changed && !completed.text().is_empty() && spec.str("completionMode") != "Indexed" {
            errors.push(completed.invalid("cannot set non-empty completedIndexes when non-indexed completion mode"));
        }
        if failed_changed && failed.is_set() && !spec.has("backoffLimitPerIndex") {
            errors.push(failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
        }
        let overlap = || job_indexes::overlap(completed.text(), failed.text(), completions?);
        if let Some(index) = overlap().filter(|_| failed_changed || completed_changed) {
            errors.push(failed.invalid(format!("failedIndexes and completedIndexes overlap at index: {index}")));
        }
        errors
    }

    fn pods(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        let (ready, terminating) = (self.status.get("ready"), self.status.get("terminating"));
        let still = is_finished(&self.status) && self.status.int("terminating") > 0;
        if still && (self.finish_turned() || self.changed("terminating")) {
            errors.push(terminating.invalid("terminating>0 is invalid for finished job"));
        }
        let judged = self.changed("ready") || self.changed("active");
        if judged && ready.is_set() && self.status.int("ready") > self.status.int("active") {
            errors.push(ready.invalid("cannot set more ready pods than active"));
        }
        errors
    }

    fn success(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        if self.is("SuccessCriteriaMet") {
            for (other, shown) in [("Failed", "Failed=true"), ("FailureTarget", "FailureTarget=true")] {
                if self.is(other) {
                    let message = format!("cannot set SuccessCriteriaMet=True and {shown} conditions");
                    errors.push(self.of_conditions(message));
                }
            }
        } else if self.job.has("spec.successPolicy") && self.is("Complete") {
            let message = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            errors.push(self.of_conditions(message));
        }
        errors
    }

    /// What was reached stays reached, and counters do not fall.
    fn no_way_back(&self) -> ErrorList {
        let mut errors = ErrorList::new();
        let was = |kind: &str| is_true(&self.old, kind);
        for kind in ["Failed", "Complete", "FailureTarget"] {
            if was(kind) && !self.is(kind) {
                errors.push(self.of_conditions(format!("cannot disable the terminal {kind}=True condition")));
            }
        }
        let spec = self.job.get("spec");
        let elastic = spec.str("completionMode") == "Indexed" && spec.raw("completions") == spec.raw("parallelism");
        for field in ["failed", "succeeded"] {
            let judged = field == "failed" || !elastic;
            if judged && self.status.int(field) < self.old.int(field) {
                let message = format!("cannot decrease the {field} counter");
                errors.push(self.status.get(field).invalid_as(self.status.int(field), message));
            }
        }
        let set = |field: &str| [&self.status, &self.old].map(|status| status.raw(field) != &Value::Null);
        if set("completionTime") == [true, true] && self.changed("completionTime") {
            errors.push(self.status.get("completionTime").invalid("completionTime cannot be mutated"));
        }
        if set("startTime")[1] && self.changed("startTime") && !spec.flag("suspend") {
            errors.push(self.status.get("startTime").required("startTime cannot be removed for unsuspended job"));
        }
        if was("SuccessCriteriaMet") && !self.is("SuccessCriteriaMet") {
            errors.push(self.of_conditions("cannot disable the SuccessCriteriaMet=True condition"));
        }
        if was("Complete") && !was("SuccessCriteriaMet") && self.is("SuccessCriteriaMet") {
            let message = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.push(self.of_conditions(message));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn told(spec: Value, before: Value, after: Value) -> Vec<String> {
        let (old, new) = (json!({"spec": spec, "status": before}), json!({"spec": spec, "status": after}));
        validate(&At::root(&new), &At::root(&old)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_did_not_change_is_not_judged_again() {
        let wrong = json!({"active": 1, "ready": 2, "completedIndexes": "x"});
        assert!(told(json!({"completions": 1}), wrong.clone(), wrong).is_empty());
    }

    #[test]
    fn a_finished_job_has_no_pods() {
        let conditions = json!([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}]);
        let after = json!({"startTime": "2026-01-01T00:00:00Z", "terminating": 1, "conditions": conditions,
            "uncountedTerminatedPods": {"failed": ["a"]}});
        assert_eq!(
            told(json!({}), json!({}), after),
            [
                "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\"]}: \
                 uncountedTerminatedPods needs to be empty for finished job",
                "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
            ]
        );
    }

    #[test]
    fn times_stay() {
        let (first, later) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        assert_eq!(
            told(json!({}), json!({"startTime": first}), json!({"startTime": later})),
            ["status.startTime: Required value: startTime cannot be removed for unsuspended job"]
        );
    }
}
