// SPDX-License-Identifier: Apache-2.0

//! Validating and mutating admission policies and their bindings; their expressions are judged in
//! `policy_expressions.rs`.

use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::At;
use super::conditions::conditions;
use super::fill::{self, each, object, unset};
use super::judging::Judging;
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
    validate: |binding| mutating_binding(&At::root(binding).get("spec")),
    validate_update: |new, _, _| mutating_binding(&At::root(new).get("spec")),
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
    prepare_update: fill::spec_and_bare_status,
    has_generation: true,
    allow_unconditional_update: false,
    judging: Judging::WHOLE.with_any_finalizers(),
    warnings: names::static_name_warning,
    update_warnings: Some(|policy, _| names::static_name_warning(policy)),
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
    judging: Judging::WHOLE.with_any_finalizers(),
    warnings: names::static_name_warning,
    update_warnings: Some(|policy, _| names::static_name_warning(policy)),
    ..Rules::DEFAULT
};

fn match_defaults(matching: &mut knarr_types::tree::Value) {
    unset(matching, "matchPolicy", "Equivalent");
    object(matching, "namespaceSelector");
    object(matching, "objectSelector");
    for list in ["resourceRules", "excludeResourceRules"] {
        each(matching, list).for_each(|rule| unset(rule, "scope", "*"));
    }
}

fn of_both(spec: &At<'_>, mutates: bool) -> ErrorList {
    let mut errors: ErrorList = one_of(&spec.get("failurePolicy"), &["Fail", "Ignore"]).into_iter().collect();
    let kind = spec.get("paramKind");
    if kind.is_set() {
        errors.extend(param_kind(&kind));
    }
    let matching = spec.get("matchConstraints");
    if matching.is_set() {
        errors.extend(match_resources(&matching));
        if matching.len("resourceRules") == 0 {
            errors.push(matching.get("resourceRules").required(""));
        }
        if mutates {
            errors.extend(mutable_operations(&matching));
        }
    } else {
        errors.push(matching.required(""));
    }
    errors.extend(webhooks::match_conditions(spec));
    errors
}

/// What is wrong with the kind of a policy's parameters, as of an APIService's group and version.
fn param_kind(kind: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let version = kind.get("apiVersion");
    match version.text().split('/').collect::<Vec<_>>().as_slice() {
        [""] => errors.push(version.required("")),
        [only] => errors.extend(version_of_params(&version, only)),
        [group, of_group] => {
            let faults = names::dns1123_subdomain(group);
            if !group.is_empty() && !faults.is_empty() {
                errors.push(version.invalid_as(*group, faults.join(",")));
            }
            errors.extend(version_of_params(&version, of_group));
        }
        _ => errors.push(version.invalid(format!("unexpected GroupVersion string: {}", version.text()))),
    }
    let name = kind.get("kind");
    let faults = names::dns1035_label(&name.text().to_lowercase());
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else if !faults.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", faults.join(","));
        errors.push(name.invalid(detail));
    }
    errors
}

fn version_of_params(at: &At<'_>, version: &str) -> Option<FieldError> {
    if version.is_empty() {
        return Some(at.invalid("version must be specified"));
    }
    let faults = names::dns1035_label(version);
    (!faults.is_empty()).then(|| at.invalid_as(version, faults.join(",")))
}

/// A mutation cannot be made of what goes.
fn mutable_operations(matching: &At<'_>) -> ErrorList {
    const MUTABLE: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
    let path = matching.get("resourceRules").path.child("operations");
    let all = matching.items("resourceRules").into_iter().flat_map(|rule| rule.items("operations"));
    all.filter_map(|operation| one_of(&operation.named(path.clone()), MUTABLE)).collect()
}

fn match_resources(matching: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = one_of(&matching.get("matchPolicy"), &["Equivalent", "Exact"]).into_iter().collect();
    for selector in ["namespaceSelector", "objectSelector"] {
        errors.extend(selectors::label_selector(&matching.get(selector)));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        errors.extend(matching.items(list).iter().flat_map(webhooks::named_rule));
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
            text => errors.extend(
                JsonPath::parse(text).err().map(|why| place.invalid_as(text, format!("invalid JSONPath: {why}"))),
            ),
        }
    }
    errors.extend(conditions(status, "conditions"));
    errors
}

fn validating(policy: &At<'_>) -> ErrorList {
    const EITHER: &str = "validations or auditAnnotations must contain at least one item";
    let spec = policy.get("spec");
    let mut errors = of_both(&spec, false);
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
    let mut errors = of_both(spec, true);
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

fn mutating_binding(spec: &At<'_>) -> ErrorList {
    let mut errors = binding(spec);
    errors.extend(mutable_operations(&spec.get("matchResources")));
    errors
}

fn param_ref(reference: &At<'_>) -> ErrorList {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if !reference.is_set() {
        return ErrorList::new();
    }
    let (name, selector) = (reference.get("name"), reference.get("selector"));
    let mut errors = name.faults(names::path_segment_name(name.text(), false));
    match (name.text().is_empty(), selector.is_set()) {
        (false, true) => {
            errors.push(name.forbidden(EXCLUSIVE));
            errors.extend(selectors::label_selector(&selector));
            errors.push(selector.forbidden(EXCLUSIVE));
        }
        (true, true) => errors.extend(selectors::label_selector(&selector)),
        (true, false) => errors.push(reference.required("one of name or selector must be specified")),
        (false, false) => {}
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

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::*;

    fn faults(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn policy(spec: Value) -> Object {
        let mut policy = json!({"metadata": {"name": "p"}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}}});
        for (field, value) in spec.as_object().unwrap() {
            policy["spec"][field] = value.clone();
        }
        policy
    }

    #[test]
    fn the_kind_of_parameters_is_one_that_a_server_could_serve() {
        let found = |kind: Value| faults(&param_kind(&At::new(&kind, knarr_types::FieldPath::new("k"))));
        assert!(found(json!({"apiVersion": "v1", "kind": "ConfigMap"})).is_empty());
        assert!(found(json!({"apiVersion": "/v1", "kind": "A"})).is_empty());
        assert_eq!(
            found(json!({"apiVersion": "e.com/", "kind": "K"})),
            ["k.apiVersion: Invalid value: \"e.com/\": version must be specified"]
        );
        let wrong = found(json!({"apiVersion": "Bad_/2", "kind": "a b"}));
        assert!(wrong[0].starts_with("k.apiVersion: Invalid value: \"Bad_\": a lowercase RFC 1123 subdomain"));
        assert!(wrong[1].starts_with("k.apiVersion: Invalid value: \"2\": a DNS-1035 label"));
        assert!(
            wrong[2].starts_with("k.kind: Invalid value: \"a b\": may have mixed case, but should otherwise match: ")
        );
    }

    #[test]
    fn nothing_is_mutated_that_goes() {
        let mut policy = policy(json!({"reinvocationPolicy": "Never", "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}));
        assert_eq!(faults(&(MUTATING_POLICY.validate)(&policy)), Vec::<String>::new());
        policy["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE", "DELETE"]);
        assert_eq!(
            faults(&(MUTATING_POLICY.validate)(&policy)),
            [
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \
              \"CONNECT\", \"CREATE\", \"UPDATE\""
            ]
        );
    }

    #[test]
    fn names_of_objects_and_of_annotations_are_given_once() {
        let note = json!({"key": "a", "valueExpression": "'x'"});
        let mut policy = policy(json!({"auditAnnotations": [note, note]}));
        policy["spec"]["matchConstraints"]["resourceRules"][0]["resourceNames"] = json!(["a", "a/b", "a"]);
        assert_eq!(
            faults(&(VALIDATING_POLICY.validate)(&policy)),
            [
                "spec.matchConstraints.resourceRules[0].resourceNames[1]: Invalid value: \"a/b\": may not contain '/'",
                "spec.matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: \"a\"",
                "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
            ]
        );
    }

    #[test]
    fn parameters_have_a_name_or_a_selector_that_can_be() {
        let found = |reference: Value| {
            let binding = json!({"spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": reference}});
            faults(&(VALIDATING_BINDING.validate)(&binding))
        };
        let deny = "Deny";
        assert!(found(json!({"name": "a", "parameterNotFoundAction": deny})).is_empty());
        assert_eq!(
            found(json!({"name": "a%", "parameterNotFoundAction": deny})),
            ["spec.paramRef.name: Invalid value: \"a%\": may not contain '%'"]
        );
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        assert_eq!(
            found(json!({"selector": selector, "parameterNotFoundAction": deny})),
            [
                "spec.paramRef.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator"
            ]
        );
    }
}
