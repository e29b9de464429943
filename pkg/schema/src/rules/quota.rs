// SPDX-License-Identifier: Apache-2.0

//! LimitRanges and ResourceQuotas.

use std::cmp::Ordering;

use knarr_types::{ErrorList, FieldError, Object, Quantity};

use super::Rules;
use super::amount::compare;
use super::at::At;
use super::fill::{self, each, object, unset};
use super::go_print;
use super::judging::Judging;
use super::names;
use super::resources;

pub(super) static LIMIT_RANGE: Rules = Rules {
    default: limit_range_defaults,
    validate: limit_range,
    validate_update: |new, _, _| limit_range(new),
    allow_create_on_update: true,
    judging: Judging::WHOLE,
    ..Rules::DEFAULT
};

pub(super) static RESOURCE_QUOTA: Rules = Rules {
    prepare_create: |quota| fill::remove(quota, "status"),
    prepare_update: |new, old, subresource| {
        fill::keep(new, old, if subresource == "status" { "spec" } else { "status" })
    },
    validate: |quota| resource_quota(&At::root(quota).get("spec")),
    validate_update: |new, old, subresource| {
        let quota = At::root(new);
        if subresource == "status" {
            return amounts(&quota, &["status.hard", "status.used"]);
        }
        let mut errors = resource_quota(&quota.get("spec"));
        let (scopes, before) = (quota.get("spec.scopes"), At::root(old).get("spec.scopes"));
        let sorted = |at: &At<'_>| {
            let mut all: Vec<String> = super::at::strings(at.value).into_iter().map(str::to_owned).collect();
            all.sort_unstable();
            all
        };
        if sorted(&scopes) != sorted(&before) {
            errors.push(scopes.invalid("field is immutable"));
        }
        errors
    },
    warnings: resource_quota_warnings,
    ..Rules::DEFAULT
};

/// Requests cannot come to more than limits allow.
fn resource_quota_warnings(quota: &Object) -> Vec<String> {
    let hard = At::root(quota).get("spec.hard");
    let amount = |name: &str| hard.value.get(name).and_then(|amount| amount.as_str()?.parse::<Quantity>().ok());
    let warning = |resource: &&str| {
        let limits = format!("limits.{resource}");
        let bare = matches!(*resource, "cpu" | "memory").then(|| (*resource).to_owned());
        let mut names = std::iter::once(format!("requests.{resource}")).chain(bare);
        let (requests, request) = names.find_map(|name| Some((name.clone(), amount(&name)?)))?;
        let limit = amount(&limits).filter(|limit| request > *limit)?;
        Some(format!("ResourceQuota {requests} ({request}) should be less than {limits} ({limit})"))
    };
    ["cpu", "memory", "storage", "ephemeral-storage"].iter().filter_map(warning).collect()
}

/// A container's limit where none is given is the maximum, its request the limit or the minimum.
fn limit_range_defaults(range: &mut Object) {
    for limit in fill::at(range, "spec").into_iter().flat_map(|spec| each(spec, "limits")) {
        if limit["type"] != "Container" {
            continue;
        }
        for (target, source) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let Some(amounts) = limit[source].as_object().cloned() else { continue };
            let target = object(limit, target);
            amounts.into_iter().for_each(|(name, amount)| unset(target, &name, amount));
        }
    }
}

fn limit_range(range: &Object) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for limit in At::root(range).items("spec.limits") {
        let kind = limit.get("type");
        errors.extend(kind.faults(names::qualified_name(kind.text())));
        if !kind.text().is_empty() && !kind.text().contains('/') {
            let known = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text());
            if !known && names::qualified_name(kind.text()).is_empty() {
                errors.push(kind.invalid("must be a standard limit type or fully qualified"));
            }
        }
        if seen.contains(&kind.text()) {
            errors.push(kind.duplicate());
        }
        seen.push(kind.text());
        errors.extend(limit_names(&limit));
        errors.extend(limit_order(&limit));
    }
    errors
}

fn limit_names(limit: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let kind = limit.str("type");
    let check = |field: &str, errors: &mut ErrorList| {
        for (name, amount) in limit.entries(field) {
            let judged = ["Pod", "Container"].contains(&kind);
            errors.extend(if judged {
                resources::container_resource_name(name, &amount)
            } else {
                resources::resource_name(name, &amount)
            });
        }
    };
    check("max", &mut errors);
    check("min", &mut errors);
    if kind == "Pod" {
        for field in ["default", "defaultRequest"] {
            if limit.len(field) > 0 {
                errors.push(limit.get(field).forbidden("may not be specified when `type` is 'Pod'"));
            }
        }
    } else {
        check("default", &mut errors);
        check("defaultRequest", &mut errors);
    }
    if kind == "PersistentVolumeClaim" && limit.raw("min.storage").is_null() && limit.raw("max.storage").is_null() {
        let message = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(limit.get("limits").required(message));
    }
    check("maxLimitRequestRatio", &mut errors);
    errors
}

fn limit_order(limit: &At<'_>) -> ErrorList {
    let mut all: Vec<&str> = Vec::new();
    // What is not allowed at all is not compared either.
    let counts = |field: &str| limit.str("type") != "Pod" || !field.starts_with("default");
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        all.extend(limit.entries(field).into_iter().map(|(name, _)| name).filter(|_| counts(field)));
    }
    all.sort_unstable();
    all.dedup();
    let mut errors = ErrorList::new();
    for name in all {
        let amount = |field: &str| {
            let given = limit.get(field).value.get(name).and_then(knarr_types::tree::Value::as_str);
            given.filter(|_| counts(field))
        };
        let mut ordered = |low: &str, high: &str, at: &str, shown: &str, words: (&str, &str)| {
            if let (Some(less), Some(more)) = (amount(low), amount(high))
                && compare(less, more) == Ordering::Greater
            {
                let path = limit.get(at).path.key(name);
                let shown = amount(shown).unwrap_or_default();
                let message = format!("{} value {less} is greater than {} value {more}", words.0, words.1);
                errors.push(FieldError::invalid(&path, shown, message));
            }
        };
        ordered("min", "max", "min", "min", ("min", "max"));
        ordered("min", "defaultRequest", "defaultRequest", "defaultRequest", ("min", "default request"));
        ordered("defaultRequest", "max", "defaultRequest", "defaultRequest", ("default request", "max"));
        ordered("defaultRequest", "default", "defaultRequest", "defaultRequest", ("default request", "default limit"));
        ordered("min", "default", "default", "min", ("min", "default"));
        ordered("default", "max", "default", "max", ("default", "max"));
        let ratio = limit.get("maxLimitRequestRatio");
        if let Some(given) = amount("maxLimitRequestRatio")
            && compare(given, "1") == Ordering::Less
        {
            let message = format!("ratio {given} is less than 1");
            errors.push(FieldError::invalid(&ratio.path.key(name), given, message));
        }
        if let (Some(ratio_text), Some(least), Some(most)) =
            (amount("maxLimitRequestRatio"), amount("min"), amount("max"))
        {
            errors.extend(
                too_far_apart(ratio_text, least, most)
                    .map(|message| FieldError::invalid(&ratio.path.key(name), ratio_text, message)),
            );
        }
        if let (Some(limit_text), Some(request)) = (amount("default"), amount("defaultRequest"))
            && (!resources::is_native(name) || resources::is_huge_page(name))
            && compare(limit_text, request) != Ordering::Equal
        {
            let path = limit.get("defaultRequest").path.key(name);
            let message = format!("default value {limit_text} must equal to defaultRequest value {request} in {name}");
            errors.push(FieldError::invalid(&path, request, message));
        }
    }
    errors
}

/// No container can reach a ratio beyond that of the greatest to the least.
fn too_far_apart(ratio: &str, least: &str, most: &str) -> Option<String> {
    let milli = |text: &str| text.parse::<Quantity>().ok().map(|quantity| quantity.milli_value() as f64);
    let reached = milli(most)? / milli(least)?;
    (milli(ratio)? / 1000.0 > reached).then(|| format!("ratio {ratio} is greater than max/min = {reached:.6}"))
}

fn amounts(quota: &At<'_>, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, amount) in fields.iter().flat_map(|field| quota.entries(field)) {
        errors.extend(quota_resource_name(name, &amount));
        errors.extend(resources::quantity(name, &amount));
    }
    errors
}

fn quota_resource_name(name: &str, amount: &At<'_>) -> ErrorList {
    let mut errors = resources::resource_name(name, amount);
    if !name.contains('/') && !is_quota_resource(name) {
        errors.push(amount.invalid_as(name, "must be a standard resource for quota"));
    }
    errors
}

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const ONLY_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
     ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
     ResourceQuotaScopeCrossNamespacePodAffinity";

fn resource_quota(spec: &At<'_>) -> ErrorList {
    let mut errors = amounts(spec, &["hard"]);
    errors.extend(scopes(spec));
    errors.extend(scope_selector(spec));
    errors
}

fn scopes(spec: &At<'_>) -> ErrorList {
    let list = spec.get("scopes");
    let given = spec.strings("scopes");
    let mut errors = ErrorList::new();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.push(list.invalid("unsupported scope"));
            continue;
        }
        for (name, _) in spec.entries("hard") {
            if !fits_scope(name, scope) {
                errors.push(list.invalid("unsupported scope applied to resource"));
            }
        }
    }
    errors.extend(conflicts(&given, &list, spec));
    errors
}

/// A quota knows this resource by itself; storage it knows only as what is asked for.
fn is_quota_resource(name: &str) -> bool {
    resources::is_standard(name) && name != "storage"
}

/// Only pods have a quality of service and a deadline, only claims have attributes.
fn fits_scope(resource: &str, scope: &str) -> bool {
    const COMPUTED: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    if !is_quota_resource(resource) {
        return true;
    }
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        scope if SCOPES.contains(&scope) => resource == "pods" || COMPUTED.contains(&resource),
        _ => true,
    }
}

fn scope_selector(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let expressions = spec.get("scopeSelector.matchExpressions");
    let mut given = Vec::new();
    for requirement in spec.items("scopeSelector.matchExpressions") {
        let (scope, operator) = (requirement.str("scopeName"), requirement.str("operator"));
        given.push(scope);
        if !SCOPES.contains(&scope) {
            errors.push(expressions.get("scopeName").invalid_as(scope, "unsupported scope"));
        }
        for _ in spec.entries("hard").iter().filter(|(name, _)| !fits_scope(name, scope)) {
            let shown = go_print::of_type(spec.raw("scopeSelector"), "io.k8s.api.core.v1.ScopeSelector");
            errors.push(expressions.invalid_as(shown, "unsupported scope applied to resource"));
        }
        let named = SCOPES.contains(&scope) && !["PriorityClass", "VolumeAttributesClass"].contains(&scope);
        if named && operator != "Exists" {
            errors.push(expressions.get("operator").invalid_as(operator, ONLY_EXISTS));
        }
        let values = expressions.get("values");
        match (operator, requirement.len("values")) {
            ("In" | "NotIn", 0) => {
                let message = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(values.required(message));
            }
            ("In" | "NotIn", _) | ("Exists" | "DoesNotExist", 0) => {}
            ("Exists" | "DoesNotExist", _) => {
                let message = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(values.invalid_as(requirement.raw("values").clone(), message));
            }
            _ => errors.push(expressions.get("operator").invalid_as(operator, "not a valid selector operator")),
        }
    }
    errors.extend(conflicts(&given, &expressions, spec));
    errors
}

/// Scopes that leave nothing between them.
fn conflicts(given: &[&str], at: &At<'_>, spec: &At<'_>) -> ErrorList {
    let pairs = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
    let both = pairs.iter().filter(|pair| pair.iter().all(|scope| given.contains(scope)));
    both.map(|_| at.invalid_as(spec.raw("scopes").clone(), "conflicting scopes")).collect()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn amounts_of_a_limit_must_fit_together() {
        for (limit, expected) in [
            (json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}), Vec::new()),
            (
                json!({"type": "Container", "default": {"cpu": "3"}, "max": {"cpu": "2"}}),
                vec!["spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2"],
            ),
            // A pod has no defaults, so nothing is said of their amounts.
            (
                json!({"type": "Pod", "default": {"cpu": "3"}, "max": {"cpu": "2"}}),
                vec!["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
            ),
        ] {
            let errors = limit_range(&json!({"spec": {"limits": [limit]}}));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn requests_above_the_limits_are_warned_of() {
        for (hard, told) in [
            (
                json!({"requests.cpu": "2", "limits.cpu": "1"}),
                vec!["requests.cpu (2) should be less than limits.cpu (1)"],
            ),
            (
                json!({"memory": "2Gi", "limits.memory": "1Gi"}),
                vec!["memory (2Gi) should be less than limits.memory (1Gi)"],
            ),
            (json!({"storage": "2Gi", "limits.storage": "1Gi"}), vec![]),
            (json!({"requests.cpu": "1", "cpu": "3", "limits.cpu": "2"}), vec![]),
        ] {
            let told: Vec<_> = told.iter().map(|words| format!("ResourceQuota {words}")).collect();
            assert_eq!(resource_quota_warnings(&json!({"spec": {"hard": hard}})), told);
        }
    }
}
