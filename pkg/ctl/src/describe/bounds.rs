// SPDX-License-Identifier: Apache-2.0
//! What bounds others: quotas, limits, disruption budgets, priorities.

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::data::{LIMIT_TITLES, limits_of, scope_means};
use super::page::Page;
use super::selector;

pub(super) fn quota(quota: &ResourceQuota) -> Page {
    let mut page = Page::of(&quota.metadata);
    let mut scopes = quota.spec.as_ref().and_then(|spec| spec.scopes.clone()).unwrap_or_default();
    scopes.sort();
    page.some(0, "Scopes", Some(&scopes.join(", ")));
    scopes.iter().filter_map(|scope| scope_means(scope)).for_each(|text| page.line(0, format_args!(" * {text}")));
    page.headings(0, &["Resource", "Used", "Hard"]);
    let status = quota.status.clone().unwrap_or_default();
    let used = status.used.unwrap_or_default();
    for (name, hard) in status.hard.iter().flatten() {
        page.line(0, format_args!("{name}\t{}\t{}", used.get(name).map_or("0", |used| &used.0), hard.0));
    }
    page
}

pub(super) fn limits(range: &LimitRange) -> Page {
    let mut page = Page::of(&range.metadata);
    page.headings(0, &LIMIT_TITLES);
    let items = range.spec.iter().flat_map(|spec| &spec.limits);
    items.flat_map(limits_of).for_each(|row| page.line(0, row));
    page
}

pub(super) fn budget(budget: &PodDisruptionBudget) -> Page {
    let mut page = Page::of(&budget.metadata);
    let (spec, status) = (budget.spec.clone().unwrap_or_default(), budget.status.clone().unwrap_or_default());
    let amount = |value: IntOrString| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text,
    };
    match (spec.min_available, spec.max_unavailable) {
        (Some(least), _) => page.field(0, "Min available", amount(least)),
        (None, Some(most)) => page.field(0, "Max unavailable", amount(most)),
        (None, None) => {}
    }
    match &spec.selector {
        Some(its) => page.field(0, "Selector", selector(Some(its))),
        None => page.field(0, "Selector", "<unset>"),
    }
    page.line(0, "Status:");
    page.field(2, "Allowed disruptions", status.disruptions_allowed.unwrap_or_default());
    page.field(2, "Current", status.current_healthy.unwrap_or_default());
    page.field(2, "Desired", status.desired_healthy.unwrap_or_default());
    page.field(2, "Total", status.expected_pods.unwrap_or_default());
    page
}

pub(super) fn priority(class: &PriorityClass) -> Page {
    let mut page = Page::of(&class.metadata);
    page.field(0, "Value", class.value.unwrap_or_default());
    page.field(0, "GlobalDefault", class.global_default.unwrap_or_default());
    page.field(0, "PreemptionPolicy", class.preemption_policy.as_deref().unwrap_or_default());
    page.field(0, "Description", class.description.as_deref().unwrap_or_default());
    page.pairs("Annotations", class.metadata.annotations.as_ref());
    page
}
