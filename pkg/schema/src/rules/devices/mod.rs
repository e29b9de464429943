// SPDX-License-Identifier: Apache-2.0

//! Device classes, resource claims, their templates, and resource slices (`pkg/apis/resource/validation`).

mod claim;
mod parts;
mod selector;
mod slice;
mod status;

use knarr_types::ErrorList;
use knarr_types::tree::Value;

use super::Rules;
use super::at::{At, same};
use super::fill::{self, each, empty};
use super::judging::Judging;
use super::metadata;
use super::names;
use super::resources;
use super::volumes::template_metadata;
use parts::{configuration, list};
use selector::selector;

pub(super) static DEVICE_CLASS: Rules = Rules {
    name: names::finished_dns_subdomain_name,
    prepare_create: |class| fill::generation(class, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    validate: |class| class_spec(&At::root(class).get("spec"), &At::root(&Value::Null)),
    validate_update: |new, old, _| class_spec(&At::root(new).get("spec"), &At::root(old).get("spec")),
    has_generation: true,
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_CLAIM: Rules = Rules {
    default: |claim| {
        if let Some(spec) = fill::at(claim, "spec") {
            request_defaults(spec);
        }
    },
    prepare_create: |claim| fill::remove(claim, "status"),
    prepare_update: |new, old, subresource| {
        if subresource == "status" {
            fill::keep(new, old, "spec");
            fill::keep_metadata(new, old);
            status::drop_deallocated(new, old);
        } else {
            fill::keep(new, old, "status");
        }
    },
    validate: |claim| claim::spec(&At::root(claim).get("spec")),
    validate_update: |new, old, subresource| {
        let (claim, before) = (At::root(new), At::root(old));
        if subresource == "status" {
            return status::update(&claim, &before);
        }
        metadata::immutable(&claim.get("spec"), &before.get("spec")).into_iter().collect()
    },
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_CLAIM_TEMPLATE: Rules = Rules {
    default: |template| {
        if let Some(spec) = fill::at(template, "spec.spec") {
            request_defaults(spec);
        }
    },
    validate: |template| {
        let spec = At::root(template).get("spec");
        let mut errors = template_metadata(&spec.get("metadata"));
        errors.extend(claim::spec(&spec.get("spec")));
        errors
    },
    validate_update: |new, old, _| {
        let mut errors = (RESOURCE_CLAIM_TEMPLATE.validate)(new);
        errors.extend(metadata::immutable(&At::root(new).get("spec"), &At::root(old).get("spec")));
        errors
    },
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};
pub(super) static RESOURCE_SLICE: Rules = Rules {
    prepare_create: |slice| {
        fill::generation(slice, 1);
        slice::drop_disabled(slice, &Value::Null);
        let now = slice["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
        slice::date_taints(slice, &now);
    },
    prepare_update: |new, old, _| {
        fill::bump_generation(new, old, &["spec"]);
        slice::drop_disabled(new, old);
    },
    stamp: |new, _, _, now| slice::date_taints(new, now),
    warnings: |slice| {
        let driver = At::root(slice).str("spec.driver");
        let message =
            format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters");
        (driver != driver.to_lowercase()).then_some(message).into_iter().collect()
    },
    validate: |slice| slice::spec(&At::root(slice).get("spec"), None),
    validate_update: |new, old, _| slice::spec(&At::root(new).get("spec"), Some(&At::root(old).get("spec"))),
    fields: |slice| {
        let spec = At::root(slice).get("spec");
        vec![("spec.nodeName", spec.str("nodeName").to_owned()), ("spec.driver", spec.str("driver").to_owned())]
    },
    has_generation: true,
    ..Rules::DEFAULT
};

fn request_defaults(spec: &mut Value) {
    let one = |request: &mut Value| {
        empty(request, "allocationMode", "ExactCount");
        if request["allocationMode"] == "ExactCount" {
            empty(request, "count", 1);
        }
        each(request, "tolerations").for_each(|toleration| empty(toleration, "operator", "Equal"));
    };
    let Some(devices) = fill::at(spec, "devices") else { return };
    for request in each(devices, "requests") {
        if let Some(exactly) = fill::at(request, "exactly") {
            one(exactly);
        }
        each(request, "firstAvailable").for_each(one);
    }
}

/// Expressions and parameters that are stored already are not judged again.
fn class_spec(spec: &At<'_>, before: &At<'_>) -> ErrorList {
    const MOST: usize = 32;
    let stored = |field: &str| before.is_set() && same(spec.raw(field), before.raw(field));
    let mut errors = list(spec, "selectors", MOST, |one| selector(one, stored("selectors")));
    errors.extend(list(spec, "config", MOST, |one| configuration(one, stored("config"))));
    let name = spec.get("extendedResourceName");
    if name.is_set() && !resources::is_extended(name.text()) {
        errors.push(name.invalid("must be a valid extended resource name"));
    }
    errors
}

#[cfg(test)]
mod tests;
