// SPDX-License-Identifier: Apache-2.0

//! Roles and bindings (`pkg/apis/rbac/validation`).

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::{At, same};
use super::fill::{each, empty, object};
use super::go_print;
use super::judging::Judging;
use super::names;
use super::selectors;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) static ROLE: Rules = Rules { validate: |role| rules(&At::root(role), true), ..OF_ALL };
pub(super) static CLUSTER_ROLE: Rules = Rules { validate: cluster_role, ..OF_ALL };
pub(super) static ROLE_BINDING: Rules =
    Rules { default: binding_defaults, validate: |binding| self::binding(&At::root(binding), true), ..OF_ALL };
pub(super) static CLUSTER_ROLE_BINDING: Rules =
    Rules { default: binding_defaults, validate: |binding| self::binding(&At::root(binding), false), ..OF_ALL };

const OF_ALL: Rules = Rules {
    name: names::path_segment_name,
    validate_update,
    allow_create_on_update: true,
    judging: Judging::WHOLE_THEN_CHANGE,
    ..Rules::DEFAULT
};

fn validate_update(new: &Object, old: &Object, _: &str) -> ErrorList {
    let kind = new["kind"].as_str().unwrap_or_default();
    let mut errors = match kind {
        "Role" => rules(&At::root(new), true),
        "ClusterRole" => cluster_role(new),
        _ => binding(&At::root(new), kind == "RoleBinding"),
    };
    if kind.ends_with("Binding") && !same(&new["roleRef"], &old["roleRef"]) {
        let fields = [("APIGroup", "apiGroup$"), ("Kind", "kind$"), ("Name", "name$")];
        let shown = go_print::structure(&new["roleRef"], &fields);
        errors.push(At::root(new).get("roleRef").invalid_as(shown, "cannot change roleRef"));
    }
    errors
}

fn binding_defaults(binding: &mut Object) {
    empty(object(binding, "roleRef"), "apiGroup", GROUP);
    for subject in each(binding, "subjects") {
        if ["User", "Group"].contains(&subject["kind"].as_str().unwrap_or_default()) {
            empty(subject, "apiGroup", GROUP);
        }
    }
}

fn rules(role: &At<'_>, namespaced: bool) -> ErrorList {
    role.items("rules").iter().flat_map(|rule| policy_rule(rule, namespaced)).collect()
}

fn policy_rule(rule: &At<'_>, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if rule.len("verbs") == 0 {
        errors.push(rule.get("verbs").required("verbs must contain at least one value"));
    }
    let urls = rule.get("nonResourceURLs");
    if rule.len("nonResourceURLs") > 0 {
        if namespaced {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if rule.len("apiGroups") + rule.len("resources") + rule.len("resourceNames") > 0 {
            errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return errors;
    }
    if rule.len("apiGroups") == 0 {
        errors.push(rule.get("apiGroups").required("resource rules must supply at least one api group"));
    }
    if rule.len("resources") == 0 {
        errors.push(rule.get("resources").required("resource rules must supply at least one resource"));
    }
    errors
}

fn cluster_role(role: &Object) -> ErrorList {
    let role = At::root(role);
    let mut errors = rules(&role, false);
    let aggregation = role.get("aggregationRule");
    if aggregation.is_set() {
        if aggregation.len("clusterRoleSelectors") == 0 {
            let message = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(aggregation.get("clusterRoleSelectors").required(message));
        }
        for selector in aggregation.items("clusterRoleSelectors") {
            let faults = selectors::label_selector(&selector);
            let broken = !faults.is_empty();
            errors.extend(faults);
            if broken {
                errors.push(FieldError::invalid(&selector.path, Value::Null, "invalid label selector."));
            }
        }
    }
    errors
}

fn binding(binding: &At<'_>, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let role = binding.get("roleRef");
    if role.str("apiGroup") != GROUP {
        errors.push(role.get("apiGroup").not_supported(&[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.str("kind")) {
        errors.push(role.get("kind").not_supported(kinds));
    }
    let name = role.get("name");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.faults(names::path_segment_name(name.text(), false)));
    }
    for subject in binding.items("subjects") {
        errors.extend(self::subject(&subject, namespaced));
    }
    errors
}

fn subject(subject: &At<'_>, namespaced: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, group) = (subject.get("name"), subject.get("apiGroup"));
    if name.text().is_empty() {
        errors.push(name.required(""));
    }
    match subject.str("kind") {
        "ServiceAccount" => {
            if !name.text().is_empty() {
                errors.extend(name.faults(names::dns1123_subdomain(name.text())));
            }
            if !group.text().is_empty() {
                errors.push(group.not_supported(&[""]));
            }
            if !namespaced && subject.str("namespace").is_empty() {
                errors.push(subject.get("namespace").required(""));
            }
        }
        "User" | "Group" => {
            if group.text() != GROUP {
                errors.push(group.not_supported(&[GROUP]));
            }
        }
        _ => errors.push(subject.get("kind").not_supported(&["ServiceAccount", "User", "Group"])),
    }
    errors
}
