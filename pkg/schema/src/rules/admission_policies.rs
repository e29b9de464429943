// SPDX-License-Identifier: Apache-2.0

//! Validating and mutating admission policies and their bindings; their expressions are judged in
//! `policy_expressions.rs`.

use knarr_types::{ErrorList, Object};

use super::Rules;
use super::at::At;
use super::conditions::conditions;
use super::fill::{self, each, empty, object, unset};
use super::names;
use super::policy_expressions;
use super::security::one_of;
use super::selectors;
use super::webhooks;
use crate::crd::json_path::JsonPath;

pub(super) static VALIDATING_POLICY: Rules = Rules {
    validate: |policy| validating(&At::root(policy)),
    validate_update: |new, _, subresource| match subresource {
        "status" => status(&At::root(new).get("status")),
        _ => validating(&At::root(new)),
    },
    ..OF_POLICIES
};
pub(super) static MUTATING_POLICY: Rules = Rules {
    validate: |policy| mutating(&At::root(policy).get("spec")),
    validate_update: |new, _, _| mutating(&At::root(new).get("spec")),
    ..OF_POLICIES
};
pub(super) static VALIDATING_BINDING: Rules = Rules {
    validate: |binding| validating_binding(&At::root(binding).get("spec")),
    validate_update: |new, _, _| validating_binding(&At::root(new).get("spec")),
    ..OF_BINDINGS
};
pub(super) static MUTATING_BINDING: Rules = Rules {
    validate: |binding| self::binding(&At::root(binding).get("spec")),
    validate_update: |new, _, _| binding(&At::root(new).get("spec")),
    ..OF_BINDINGS
};

const OF_POLICIES: Rules = Rules {
    default: |policy| {
        let spec = object(policy, "spec");
        unset(spec, "failurePolicy", "Fail");
        if let Some(matching) = fill::at(spec, "matchConstraints") {
            match_defaults(matching);
        }
    },
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    has_generation: true,
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};
const OF_BINDINGS: Rules = Rules {
    default: |binding: &mut Object| {
        if let Some(matching) = fill::at(binding, "spec.matchResources") {
            match_defaults(matching);
        }
    },
    prepare_create: |binding| fill::generation(binding, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["spec"]),
    has_generation: true,
    allow_unconditional_update: false,
    ..Rules::DEFAULT
};

fn match_defaults(matching: &mut serde_json::Value) {
    unset(matching, "matchPolicy", "Equivalent");
    object(matching, "namespaceSelector");
    object(matching, "objectSelector");
    for list in ["resourceRules", "excludeResourceRules"] {
        each(matching, list).for_each(|rule| empty(rule, "scope", "*"));
    }
}

fn of_both(spec: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = one_of(&spec.get("failurePolicy"), &["Fail", "Ignore"]).into_iter().collect();
    let kind = spec.get("paramKind");
    if kind.is_set() {
        let version = kind.get("apiVersion");
        if version.text().is_empty() {
            errors.push(version.required(""));
        } else if version.text().split('/').count() > 2 {
            errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text())));
        }
        if kind.str("kind").is_empty() {
            errors.push(kind.get("kind").required(""));
        }
    }
    let matching = spec.get("matchConstraints");
    if matching.is_set() {
        errors.extend(match_resources(&matching));
        if matching.len("resourceRules") == 0 {
            errors.push(matching.get("resourceRules").required(""));
        }
    } else {
        errors.push(matching.required(""));
    }
    errors.extend(webhooks::match_conditions(spec));
    errors
}

fn match_resources(matching: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = one_of(&matching.get("matchPolicy"), &["Equivalent", "Exact"]).into_iter().collect();
    for selector in ["namespaceSelector", "objectSelector"] {
        errors.extend(selectors::label_selector(&matching.get(selector)));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        errors.extend(matching.items(list).iter().flat_map(webhooks::rule));
    }
    errors
}

/// What is wrong with what was found out about a policy.
fn status(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for found in status.items("typeChecking.expressionWarnings") {
        let (warning, place) = (found.get("warning"), found.get("fieldRef"));
        if warning.text().is_empty() {
            errors.push(warning.required(""));
        }
        match place.text().trim() {
            "" => errors.push(place.required("")),
            text => errors.extend(JsonPath::parse(text).err().map(|why| {
                // Upstream's parser does not repeat what it read.
                let why = why.split(" in \"").next().unwrap_or_default();
                place.invalid_as(text, format!("invalid JSONPath: {why}"))
            })),
        }
    }
    errors.extend(conditions(status, "conditions"));
    errors
}

fn validating(policy: &At<'_>) -> ErrorList {
    const EITHER: &str = "validations or auditAnnotations must contain at least one item";
    let spec = policy.get("spec");
    let mut errors = of_both(&spec);
    let mut scope = policy_expressions::scope(&spec, false);
    errors.extend(policy_expressions::variables(&spec, &mut scope));
    if spec.len("validations") + spec.len("auditAnnotations") == 0 {
        errors.push(spec.get("validations").required(EITHER));
        errors.push(spec.get("auditAnnotations").required(EITHER));
    }
    errors.extend(policy_expressions::validations(&spec, &scope));
    errors.extend(policy_expressions::audit_annotations(policy, &scope));
    errors
}

fn mutating(spec: &At<'_>) -> ErrorList {
    let mut errors = of_both(spec);
    let mut scope = policy_expressions::scope(spec, true);
    errors.extend(policy_expressions::variables(spec, &mut scope));
    errors.extend(policy_expressions::mutations(spec, &scope));
    errors
}

fn binding(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let policy = spec.get("policyName");
    if policy.text().is_empty() {
        errors.push(policy.required(""));
    } else {
        errors.extend(policy.faults(names::dns1123_subdomain(policy.text())));
    }
    errors.extend(param_ref(&spec.get("paramRef")));
    errors.extend(match_resources(&spec.get("matchResources")));
    errors
}

fn param_ref(reference: &At<'_>) -> ErrorList {
    if !reference.is_set() {
        return ErrorList::new();
    }
    let mut errors = ErrorList::new();
    match (reference.str("name").is_empty(), reference.has("selector")) {
        (false, true) => {
            for field in ["name", "selector"] {
                errors.push(reference.get(field).forbidden("name and selector are mutually exclusive"));
            }
        }
        (true, false) => errors.push(reference.required("one of name or selector must be specified")),
        _ => {}
    }
    let action = reference.get("parameterNotFoundAction");
    if action.text().is_empty() {
        errors.push(action.required(""));
    } else {
        errors.extend(one_of(&action, &["Deny", "Allow"]));
    }
    errors
}

fn validating_binding(spec: &At<'_>) -> ErrorList {
    let mut errors = binding(spec);
    let list = spec.get("validationActions");
    let given = spec.strings("validationActions");
    let mut seen = Vec::new();
    for action in spec.items("validationActions") {
        errors.extend(one_of(&action, &["Audit", "Deny", "Warn"]));
        if seen.contains(&action.text()) {
            errors.push(action.duplicate());
        }
        seen.push(action.text());
    }
    if given.contains(&"Deny") && given.contains(&"Warn") {
        errors.push(list.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)",
        ));
    }
    if given.is_empty() {
        errors.push(list.required("at least one validation action is required"));
    }
    errors
}
