// SPDX-License-Identifier: Apache-2.0

//! Webhook configurations (`pkg/apis/admissionregistration`), and what admission policies ask for in the same
//! words: rules, match conditions.

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object, Shown};

use super::Rules;
use super::at::At;
use super::fill::{self, each, object, unset};
use super::judging::Judging;
use super::names;
use super::policy_expressions;
use super::security::one_of;
use super::selectors;
use crate::cel::Reference;

pub(super) static VALIDATING_WEBHOOKS: Rules = Rules { default: |hooks| default(hooks, false), ..OF_BOTH };
pub(super) static MUTATING_WEBHOOKS: Rules = Rules { default: |hooks| default(hooks, true), ..OF_BOTH };

const OF_BOTH: Rules = Rules {
    prepare_create: |hooks| fill::generation(hooks, 1),
    prepare_update: |new, old, _| {
        fill::bump_generation(new, old, &["webhooks"]);
        // An empty list is another than none, here.
        if new["webhooks"].as_array().is_some_and(Vec::is_empty) && old["webhooks"].is_null() {
            fill::generation(new, old["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
    },
    validate: |hooks| validate(&At::root(hooks)),
    validate_update: |new, _, _| validate(&At::root(new)),
    has_generation: true,
    counts_empties: true,
    allow_unconditional_update: false,
    judging: Judging::WHOLE.with_any_finalizers(),
    warnings: names::static_name_warning,
    update_warnings: Some(|configuration, _| names::static_name_warning(configuration)),
    ..Rules::DEFAULT
};

/// How many conditions a webhook or a policy may have.
const MAX_CONDITIONS: usize = 64;

fn default(hooks: &mut Object, mutating: bool) {
    for hook in each(hooks, "webhooks") {
        unset(hook, "failurePolicy", "Fail");
        unset(hook, "matchPolicy", "Equivalent");
        object(hook, "namespaceSelector");
        object(hook, "objectSelector");
        unset(hook, "timeoutSeconds", 10);
        if mutating {
            unset(hook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = fill::at(hook, "clientConfig.service") {
            unset(service, "port", 443);
        }
        each(hook, "rules").for_each(|rule| unset(rule, "scope", "*"));
    }
}

fn validate(hooks: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for hook in hooks.items("webhooks") {
        errors.extend(webhook(&hook));
        errors.extend(review_versions(&hook));
        errors.extend(second_of(&hook.get("name"), &mut seen));
    }
    errors
}

/// A name that another has already; an empty one has a fault of its own.
fn second_of<'a>(name: &At<'a>, seen: &mut Vec<&'a str>) -> Option<FieldError> {
    let twice = !name.text().is_empty() && seen.contains(&name.text());
    seen.push(name.text());
    twice.then(|| name.duplicate())
}

fn webhook(hook: &At<'_>) -> ErrorList {
    let name = hook.get("name");
    let mut errors = if name.text().is_empty() {
        vec![name.required("")]
    } else {
        name.faults(names::fully_qualified_name(name.text()))
    };
    for rule in hook.items("rules") {
        errors.extend(self::rule(&rule));
    }
    errors.extend(one_of(&hook.get("failurePolicy"), &["Fail", "Ignore"]));
    errors.extend(one_of(&hook.get("matchPolicy"), &["Equivalent", "Exact"]));
    let effects = hook.get("sideEffects");
    if effects.is_set() {
        errors.extend(one_of(&effects, &["None", "NoneOnDryRun"]));
    } else {
        errors.push(effects.required("must specify one of None, NoneOnDryRun"));
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.value.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        errors.extend(selectors::label_selector(&hook.get(selector)));
    }
    errors.extend(one_of(&hook.get("reinvocationPolicy"), &["IfNeeded", "Never"]));
    errors.extend(client_config(&hook.get("clientConfig")));
    errors.extend(match_conditions(hook));
    errors
}

/// The names and expressions of match conditions.
pub fn match_conditions(holder: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let count = holder.len("matchConditions");
    if count > MAX_CONDITIONS {
        errors.push(FieldError::too_many(&holder.get("matchConditions").path, count, MAX_CONDITIONS));
    }
    let mut seen = Vec::new();
    for condition in holder.items("matchConditions") {
        let expression = condition.get("expression");
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        } else {
            errors.extend(policy_expressions::match_condition(&expression, holder.has("paramKind")));
        }
        let name = condition.get("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else {
            errors.extend(name.faults(names::qualified_name(name.text())));
        }
        errors.extend(second_of(&name, &mut seen));
    }
    errors
}

fn review_versions(hook: &At<'_>) -> ErrorList {
    let versions = hook.items("admissionReviewVersions");
    let list = hook.get("admissionReviewVersions");
    if versions.is_empty() {
        return vec![list.required("must specify one of v1, v1beta1")];
    }
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for version in &versions {
        if seen.contains(&version.text()) {
            errors.push(version.invalid("duplicate version"));
            continue;
        }
        seen.push(version.text());
        errors.extend(version.faults(names::dns1035_label(version.text())));
    }
    if !seen.iter().any(|version| ["v1", "v1beta1"].contains(version)) {
        errors.push(list.invalid("must include at least one of v1, v1beta1"));
    }
    errors
}

/// What is wrong with which requests a policy is for: it may name objects.
pub fn named_rule(rule: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for name in rule.items("resourceNames") {
        errors.extend(name.faults(names::path_segment_name(name.text(), false)));
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
    }
    errors.extend(self::rule(rule));
    errors
}

/// What is wrong with which requests a webhook is for.
fn rule(rule: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let listed = |field: &str, what: &str, errors: &mut ErrorList| {
        let (list, values) = (rule.get(field), rule.strings(field));
        if values.is_empty() {
            errors.push(list.required(""));
        }
        if values.len() > 1 && values.contains(&"*") {
            errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
        }
    };
    listed("operations", "operations", &mut errors);
    for operation in rule.items("operations") {
        errors.extend(one_of(&operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]));
    }
    listed("apiGroups", "API groups", &mut errors);
    listed("apiVersions", "API versions", &mut errors);
    for version in rule.items("apiVersions").iter().filter(|version| version.text().is_empty()) {
        errors.push(version.required(""));
    }
    errors.extend(rule_resources(rule));
    errors.extend(one_of(&rule.get("scope"), &["*", "Cluster", "Namespaced"]));
    errors
}

fn rule_resources(rule: &At<'_>) -> ErrorList {
    let (list, all) = (rule.get("resources"), rule.strings("resources"));
    let mut errors = ErrorList::new();
    if all.is_empty() {
        errors.push(list.required(""));
    }
    let (mut whole, mut wild) = (Vec::new(), Vec::new());
    // Upstream asks this only of the last that names no subresource.
    let mut names_one = false;
    for resource in rule.items("resources") {
        let text = resource.text();
        if text.is_empty() {
            errors.push(resource.required(""));
            continue;
        }
        let Some((parent, sub)) = text.split_once('/') else {
            names_one = text != "*";
            continue;
        };
        if whole.contains(&parent) {
            errors.push(resource.invalid(format!("if '{parent}/*' is present, must not specify {text}")));
        }
        if wild.contains(&sub) {
            errors.push(resource.invalid(format!("if '*/{sub}' is present, must not specify {text}")));
        }
        if sub == "*" {
            whole.push(parent);
        }
        if parent == "*" {
            wild.push(sub);
        }
    }
    if all.len() > 1 && all.contains(&"*/*") {
        errors.push(list.invalid("if '*/*' is present, must not specify other resources"));
    }
    if all.contains(&"*") && names_one {
        errors.push(list.invalid("if '*' is present, must not specify other resources without subresources"));
    }
    errors
}

pub fn client_config(config: &At<'_>) -> ErrorList {
    let (url, service) = (config.get("url"), config.get("service"));
    if url.is_set() == service.is_set() {
        return vec![config.required("exactly one of url or service is required")];
    }
    if service.is_set() { service_reference(&service) } else { webhook_url(&url) }
}

fn webhook_url(url: &At<'_>) -> ErrorList {
    const FORM: &str = "; desired format: https://host[/path]";
    let Reference { scheme, user, host, query, fragment } = match Reference::parse(url.text()) {
        Ok(parts) => parts,
        Err(why) => return vec![url.required(&format!("url must be a valid URL: {why}{FORM}"))],
    };
    let mut errors = ErrorList::new();
    if scheme != "https" {
        errors.push(url.invalid_as(scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if host.is_empty() {
        errors.push(url.invalid_as(host, format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(url.invalid_as(user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(url.invalid_as(fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(url.invalid_as(query, "query parameters are not permitted in the URL"));
    }
    errors
}

fn service_reference(service: &At<'_>) -> ErrorList {
    // Upstream takes each for the other here.
    let missing = |field: &str, shown: &str| service.str(field).is_empty().then(|| service.get(shown).required(""));
    let mut errors: ErrorList =
        [missing("namespace", "name"), missing("name", "namespace")].into_iter().flatten().collect();
    let port = service.get("port");
    for fault in names::port_number(service.int("port")) {
        errors.push(port.invalid(format!("port is not valid: {fault}")));
    }
    let path = service.get("path");
    let mut letters = path.text().chars();
    match (letters.next(), letters.as_str()) {
        (None, _) | (Some('/'), "") => return errors,
        (Some('/'), _) => {}
        _ => errors.push(path.invalid("must start with a '/'")),
    }
    // The first letter is left out, whatever it is.
    let rest = letters.as_str();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            errors.push(path.invalid(format!("segment[{index}] may not be empty")));
            continue;
        }
        for fault in names::dns1123_subdomain(step) {
            errors.push(path.invalid_as(Shown::Value(Value::from(path.text())), format!("segment[{index}]: {fault}")));
        }
    }
    errors
}
