// SPDX-License-Identifier: Apache-2.0

//! Jobs (`pkg/registry/batch/job/strategy.go`, `pkg/apis/batch/validation`).

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldErrorType, Object};

use super::Rules;
use super::at::{At, same};
use super::fill::{self, each, empty, object, unset};
use super::go_print;
use super::ingress::domain_prefixed_path;
use super::job_policies;
use super::job_status;
use super::judging::Judging;
use super::metadata;
use super::names;
use super::pod_spec;
use super::pod_warnings;
use super::selectors;
use super::workload::{self, not_negative, template_defaults};

pub(super) static JOB: Rules = Rules {
    changes_when_read: true,
    default,
    prepare_create,
    complete: labels_from_template,
    prepare_update: |new, old, subresource| {
        workload::prepare_update(new, old, subresource);
        // A write of the status that names no labels is read with those of the pods.
        if !subresource.is_empty() {
            labels_from_template(new);
        }
    },
    validate: |job| validate(&At::root(job)),
    validate_update,
    warnings: |job| {
        let job = At::root(job);
        let mut warnings = pod_warnings::name(&job, "Pod names and hostnames");
        warnings.extend(spec_warnings(&job.get("spec")));
        warnings
    },
    fields: |job| vec![("status.successful", At::root(job).int("status.succeeded").to_string())],
    has_generation: true,
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const MANY_INDEXES: i64 = 100_000;

fn default(job: &mut Object) {
    let spec = object(job, "spec");
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = json!(1);
    }
    unset(spec, "parallelism", 1);
    let retries = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i64::from(i32::MAX) };
    unset(spec, "backoffLimit", retries);
    unset(spec, "completionMode", "NonIndexed");
    unset(spec, "suspend", false);
    unset(spec, "manualSelector", false);
    let replacement = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    unset(spec, "podReplacementPolicy", replacement);
    if let Some(policy) = fill::at(spec, "podFailurePolicy") {
        for rule in each(policy, "rules") {
            each(rule, "onPodConditions").for_each(|condition| empty(condition, "status", "True"));
        }
    }
    template_defaults(spec);
    labels_from_template(job);
}

/// A job without labels has those of its pods.
fn labels_from_template(job: &mut Object) {
    let labels = job["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        empty(object(job, "metadata"), "labels", labels);
    }
}

/// Pods of a job are told apart by its uid, which the server must have set before.
fn prepare_create(job: &mut Object) {
    workload::prepare_create(job);
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let [uid, name] = ["uid", "name"].map(|field| job["metadata"][field].as_str().unwrap_or_default().to_owned());
    let spec = object(job, "spec");
    let labels = object(object(object(spec, "template"), "metadata"), "labels");
    NAME_LABELS.iter().for_each(|label| unset(labels, label, name.clone()));
    UID_LABELS.iter().for_each(|label| unset(labels, label, uid.clone()));
    unset(object(object(spec, "selector"), "matchLabels"), UID_LABELS[1], uid);
}

fn validate(job: &At<'_>) -> ErrorList {
    let job_spec = job.get("spec");
    let mut errors = generated_selector(job);
    errors.extend(spec_with_selector(&job_spec));
    if job_spec.str("completionMode") == "Indexed" && job_spec.int("completions") > 0 {
        let pod = format!("{}-{}", job.str("metadata.name"), job_spec.int("completions") - 1);
        if !names::dns1123_label(&pod).is_empty() {
            let message = format!("will not able to create pod with invalid DNS label: {pod}");
            errors.push(job.get("metadata.name").invalid(message));
        }
    }
    errors
}

fn generated_selector(job: &At<'_>) -> ErrorList {
    let selector = job.get("spec.selector");
    if job.flag("spec.manualSelector") || !selector.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    let labels = job.get("spec.template.metadata.labels");
    let (uid, name) = (job.str("metadata.uid"), job.str("metadata.name"));
    let expected = [(UID_LABELS[0], uid), (NAME_LABELS[0], name), (UID_LABELS[1], uid), (NAME_LABELS[1], name)];
    for (label, value) in expected {
        let path = labels.path.key(label);
        let message = format!("must be '{value}'");
        match labels.value.get(label).and_then(Value::as_str) {
            None => errors.push(FieldError::required(&path, message)),
            Some(given) if given != value => {
                errors.push(FieldError::invalid(&path, labels.value.clone(), message));
            }
            Some(_) => {}
        }
    }
    let generated: Value = expected.iter().map(|(label, value)| ((*label).to_owned(), json!(value))).collect();
    if !selectors::matches(&selector, &At::root(&generated)) {
        errors.push(selector.invalid("`selector` not auto-generated"));
    }
    errors
}

fn spec_with_selector(spec: &At<'_>) -> ErrorList {
    let mut errors = self::spec(spec);
    let selector = spec.get("selector");
    let faults = selectors::label_selector(&selector);
    // What is no selector fits nothing and misses nothing.
    let is_one = faults.is_empty();
    if selector.is_set() {
        errors.extend(faults);
    } else {
        errors.push(selector.required(""));
    }
    let labels = spec.get("template.metadata.labels");
    if !selector.is_set() || (is_one && !selectors::matches(&selector, &labels)) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors
}

/// What is wrong with the spec of a job, its selector aside.
pub fn spec(spec: &At<'_>) -> ErrorList {
    let mut errors = not_negative(
        spec,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
        ],
    );
    if spec.has("maxFailedIndexes") {
        errors.extend(not_negative(spec, &["maxFailedIndexes"]));
        if !spec.has("backoffLimitPerIndex") {
            errors.push(spec.get("backoffLimitPerIndex").required("when maxFailedIndexes is specified"));
        }
    }
    let manager = spec.get("managedBy");
    if manager.is_set() {
        errors.extend(domain_prefixed_path(&manager));
        if manager.text().len() > 63 {
            errors.push(FieldError::too_long(&manager.path, 63));
        }
    }
    let mode = spec.get("completionMode");
    errors.extend(super::security::one_of(&mode, &["NonIndexed", "Indexed"]));
    if mode.text() == "Indexed" {
        errors.extend(indexed(spec));
    } else if ["NonIndexed", ""].contains(&mode.text()) {
        let given = ["backoffLimitPerIndex", "maxFailedIndexes"].map(|field| spec.get(field));
        let given = given.iter().filter(|field| field.is_set());
        errors.extend(given.map(|field| field.invalid("requires indexed completion mode")));
    }
    errors.extend(job_policies::failure(spec));
    errors.extend(job_policies::success(spec));
    errors.extend(job_policies::replacement(spec));
    errors.extend(pod_spec::template(&spec.get("template")));
    errors.extend(restart_policy(spec));
    errors
}

/// What the maker of a job should know.
pub fn spec_warnings(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let many = spec.int("completions") > MANY_INDEXES && spec.int("parallelism") > 10_000;
    if many && spec.str("completionMode") == "Indexed" {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path
        ));
    }
    warnings.extend(pod_warnings::template(&spec.get("template")));
    warnings
}

fn indexed(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (parallelism, most_failed) = (spec.get("parallelism"), spec.get("maxFailedIndexes"));
    let completions = spec.opt_int("completions");
    if completions.is_none() {
        errors.push(spec.get("completions").required("when completion mode is Indexed"));
    }
    if spec.int("parallelism") > MANY_INDEXES {
        let message = format!("must be less than or equal to {MANY_INDEXES} when completion mode is Indexed");
        errors.push(parallelism.invalid(message));
    }
    if completions.is_some_and(|completions| spec.int("maxFailedIndexes") > completions) {
        errors.push(most_failed.invalid("must be less than or equal to completions"));
    }
    if spec.int("maxFailedIndexes") > MANY_INDEXES {
        errors.push(most_failed.invalid(format!("must be less than or equal to {MANY_INDEXES}")));
    }
    if completions.is_some_and(|completions| completions > MANY_INDEXES) && spec.has("backoffLimitPerIndex") {
        if !most_failed.is_set() {
            errors.push(most_failed.required(&format!("must be specified when completions is above {MANY_INDEXES}")));
        }
        for number in [&parallelism, &most_failed] {
            if number.value.as_i64().unwrap_or_default() > 10_000 {
                errors.push(number.invalid(format!(
                    "must be less than or equal to 10000 when completions are above {MANY_INDEXES} and used with \
                     backoff limit per index"
                )));
            }
        }
    }
    errors
}

fn restart_policy(spec: &At<'_>) -> ErrorList {
    let policy = spec.get("template.spec.restartPolicy");
    let mut errors = ErrorList::new();
    match policy.text() {
        "Always" => errors.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.has("podFailurePolicy") => {
            errors.push(policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(policy.not_supported(&["OnFailure", "Never"])),
    }
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (job, before) = (At::root(new), At::root(old));
    if subresource == "status" {
        return job_status::validate(&job, &before);
    }
    let (spec, old_spec) = (job.get("spec"), before.get("spec"));
    // As upstream does, once as a new job and once as a change.
    let mut errors = validate(&job);
    errors.extend(spec_with_selector(&spec));
    errors.extend(completions_update(&spec, &old_spec));
    errors.extend(metadata::immutable(&spec.get("selector"), &old_spec.get("selector")));
    errors.extend(template_change(&spec, &old_spec, stands_still(&before)));
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        errors.extend(metadata::immutable(&spec.get(field), &old_spec.get(field)));
    }
    errors
}

/// A template cannot change, but while the job stands still what places its pods and what they take may.
fn template_change(spec: &At<'_>, old_spec: &At<'_>, stands_still: bool) -> Option<FieldError> {
    let (template, before) = (spec.get("template"), old_spec.raw("template"));
    let pod = template.get("spec");
    let own = || go_print::of_type(pod.value, "io.k8s.api.core.v1.PodSpec");
    if !stands_still {
        let changed = !same(template.value, before);
        let shown = || go_print::of_type(template.value, "io.k8s.api.core.v1.PodTemplateSpec");
        return changed.then(|| template.invalid_as(shown(), metadata::IMMUTABLE));
    }
    let (mut compared, mut before) = (pod.value.clone(), before["spec"].clone());
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        fill::keep(&mut compared, &before, field);
    }
    for pod_spec in [&mut compared, &mut before] {
        if let Some(affinity) = fill::at(pod_spec, "affinity") {
            fill::remove(affinity, "nodeAffinity");
            if affinity.as_object().is_some_and(knarr_types::tree::Map::is_empty) {
                fill::remove(pod_spec, "affinity");
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let old = before[list].as_array().into_iter().flatten();
        for (container, old) in each(&mut compared, list).zip(old) {
            fill::keep(container, old, "resources");
        }
    }
    let changed = !same(&compared, &before);
    changed.then(|| pod.invalid_as(own(), metadata::IMMUTABLE))
}

/// The job is suspended and has no pods: it never started, or says that it stopped.
fn stands_still(job: &At<'_>) -> bool {
    let stopped = |condition: &At<'_>| condition.str("type") == "Suspended" && condition.str("status") == "True";
    let is_still = !job.has("status.startTime") || job.items("status.conditions").iter().any(stopped);
    job.flag("spec.suspend") && job.int("status.active") == 0 && is_still
}

fn completions_update(spec: &At<'_>, old_spec: &At<'_>) -> Option<FieldError> {
    let completions = spec.get("completions");
    if same(completions.value, old_spec.raw("completions")) {
        return None;
    }
    if spec.str("completionMode") != "Indexed" {
        return Some(completions.invalid("field is immutable"));
    }
    if !completions.is_set() {
        return None;
    }
    let in_tandem = completions.value == spec.raw("parallelism");
    (!in_tandem).then(|| completions.invalid("can only be modified in tandem with spec.parallelism"))
}

/// A fault whose message shows no value.
pub fn without_value(at: &At<'_>, detail: impl Into<String>) -> FieldError {
    FieldError { kind: FieldErrorType::Invalid, path: at.path.clone(), value: None, detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_a_job_stands_still_its_pods_may_be_placed_elsewhere() {
        let before = json!({"template": {"spec": {"affinity": {"podAffinity": {}}}}});
        let placed = json!({"template": {"spec": {"nodeSelector": {"a": "b"},
            "affinity": {"podAffinity": {}, "nodeAffinity": {}}}}});
        let renamed = json!({"template": {"spec": {"serviceAccountName": "x", "affinity": {"podAffinity": {}}}}});
        let told = |spec: &Value, stands_still: bool| {
            let error = template_change(&At::root(spec), &At::root(&before), stands_still);
            error.map(|error| error.path.to_string())
        };
        assert_eq!(told(&placed, true), None);
        assert_eq!(told(&placed, false).as_deref(), Some("template"));
        assert_eq!(told(&renamed, true).as_deref(), Some("template.spec"));
    }

    #[test]
    fn indexes_that_succeed_are_counted() {
        let rules = json!([{"succeededCount": 3, "succeededIndexes": "0-1"}, {"succeededIndexes": "4"}]);
        let spec = json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": rules}});
        let told: Vec<_> = job_policies::success(&At::root(&spec)).into_iter().map(|error| error.detail).collect();
        let counted = "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)";
        assert_eq!(told, [counted, "error parsing succeededIndexes: too large index: \"4\""]);
    }

    #[test]
    fn a_job_whose_status_is_written_without_labels_gets_those_of_its_pods() {
        let spec = json!({"template": {"metadata": {"labels": {"a": "b"}}}});
        let old = json!({"metadata": {"labels": {"c": "d"}}, "spec": spec});
        for (subresource, sent, want) in
            [("status", json!({}), json!({"a": "b"})), ("status", json!({"labels": {"e": "f"}}), json!({"e": "f"}))]
        {
            let mut new = json!({"metadata": sent, "spec": {}});
            (JOB.prepare_update)(&mut new, &old, subresource);
            assert_eq!(new["metadata"]["labels"], want);
        }
    }
}
