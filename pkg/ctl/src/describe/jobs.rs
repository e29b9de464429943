// SPDX-License-Identifier: Apache-2.0
//! Jobs and CronJobs.

use std::fmt::Display;

use k8s_openapi::api::batch::v1::{CronJob, Job};

use super::page::{Page, date};
use super::{controller, pod, selector};

/// A value, or that there is none.
fn or_unset(value: Option<impl Display>) -> String {
    value.map_or_else(|| "<unset>".to_owned(), |value| value.to_string())
}

pub(super) fn job(job: &Job) -> Page {
    let (meta, spec) = (&job.metadata, job.spec.clone().unwrap_or_default());
    let status = job.status.clone().unwrap_or_default();
    let mut page = Page::of(meta);
    if let Some(its) = &spec.selector {
        page.field(0, "Selector", selector(Some(its)));
    }
    page.labels_and_annotations(meta);
    page.some(0, "Controlled By", controller(meta).as_ref());
    page.some(0, "Parallelism", spec.parallelism.as_ref());
    page.field(0, "Completions", or_unset(spec.completions));
    page.some(0, "Completion Mode", spec.completion_mode.as_ref());
    page.some(0, "Suspend", spec.suspend.as_ref());
    page.some(0, "Backoff Limit", spec.backoff_limit.as_ref());
    let (began, ended) = (status.start_time.map(|time| time.0), status.completion_time.map(|time| time.0));
    page.some(0, "Start Time", began.map(|time| date(Some(time))).as_ref());
    page.some(0, "Completed At", ended.map(|time| date(Some(time))).as_ref());
    if let (Some(began), Some(ended)) = (began, ended) {
        page.field(0, "Duration", knarr_schema::table::human_duration(ended.duration_since(began).as_secs()));
    }
    page.some(0, "Active Deadline Seconds", spec.active_deadline_seconds.map(|seconds| format!("{seconds}s")).as_ref());
    let count = |number: Option<i32>| number.unwrap_or_default();
    let ready = status.ready.map(|ready| format!(" ({ready} Ready)")).unwrap_or_default();
    let (active, failed) = (count(status.active), count(status.failed));
    page.field(
        0,
        "Pods Statuses",
        format_args!("{active} Active{ready} / {} Succeeded / {failed} Failed", count(status.succeeded)),
    );
    if spec.completion_mode.as_deref() == Some("Indexed") {
        page.field(
            0,
            "Completed Indexes",
            status.completed_indexes.as_deref().filter(|all| !all.is_empty()).unwrap_or("<none>"),
        );
    }
    pod::template(&mut page, &spec.template);
    page
}

pub(super) fn cron_job(job: &CronJob) -> Page {
    let (meta, spec) = (&job.metadata, job.spec.clone());
    let status = job.status.clone().unwrap_or_default();
    let runs = spec.job_template.spec.clone().unwrap_or_default();
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page.field(0, "Schedule", &spec.schedule);
    page.field(0, "Concurrency Policy", spec.concurrency_policy.as_deref().unwrap_or_default());
    page.field(0, "Suspend", or_unset(spec.suspend.map(|suspend| if suspend { "True" } else { "False" })));
    page.field(0, "Time Zone", or_unset(spec.time_zone.as_ref()));
    page.field(0, "Successful Job History Limit", or_unset(spec.successful_jobs_history_limit));
    page.field(0, "Failed Job History Limit", or_unset(spec.failed_jobs_history_limit));
    let late = spec.starting_deadline_seconds.map(|seconds| format!("{seconds}s"));
    page.field(0, "Starting Deadline Seconds", or_unset(late));
    page.field(0, "Selector", or_unset(runs.selector.as_ref().map(|its| selector(Some(its)))));
    page.field(0, "Parallelism", or_unset(runs.parallelism));
    page.field(0, "Completions", or_unset(runs.completions));
    page.some(0, "Active Deadline Seconds", runs.active_deadline_seconds.map(|seconds| format!("{seconds}s")).as_ref());
    pod::template(&mut page, &runs.template);
    page.field(0, "Last Schedule Time", or_unset(status.last_schedule_time.map(|time| date(Some(time.0)))));
    let active: Vec<_> = status.active.into_iter().flatten().filter_map(|job| job.name).collect();
    page.field(0, "Active Jobs", if active.is_empty() { "<none>".to_owned() } else { active.join(", ") });
    page
}
