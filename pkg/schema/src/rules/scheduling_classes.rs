// SPDX-License-Identifier: Apache-2.0

//! Classes that pods name, and how many of them may be disturbed: PriorityClass, RuntimeClass,
//! PodDisruptionBudget.

use knarr_types::{ErrorList, FieldError};

use super::Rules;
use super::at::At;
use super::conditions::conditions;
use super::containers::required_one_of;
use super::fill::{self, unset};
use super::go_print;
use super::judging::Judging;
use super::metadata;
use super::names;
use super::pod_warnings::old_label;
use super::resources;
use super::scheduling;
use super::security::one_of;
use super::selectors;
use super::workload::{at_most_all, int_or_percent, not_negative};

pub(super) static PRIORITY_CLASS: Rules = Rules {
    default: |class| unset(class, "preemptionPolicy", "PreemptLowerPriority"),
    prepare_create: |class| fill::generation(class, 1),
    prepare_update: |new, old, _| fill::bump_generation(new, old, &["value"]),
    validate: |class| priority_class(&At::root(class)),
    validate_update: |new, old, _| {
        let (class, before) = (At::root(new), At::root(old));
        let mut errors = ErrorList::new();
        if class.int("value") != before.int("value") {
            errors.push(class.get("value").forbidden("may not be changed in an update."));
        }
        errors.extend(metadata::immutable(&class.get("preemptionPolicy"), &before.get("preemptionPolicy")));
        errors
    },
    has_generation: true,
    ..Rules::DEFAULT
};

pub(super) static RUNTIME_CLASS: Rules = Rules {
    validate: |class| runtime_class(&At::root(class)),
    validate_update: |new, old, _| {
        let class = At::root(new);
        let mut errors = runtime_class(&class);
        errors.extend(metadata::immutable(&class.get("handler"), &At::root(old).get("handler")));
        errors
    },
    warnings: |class| {
        let selector = At::root(class).get("scheduling.nodeSelector");
        let old = selector.entries_here().into_iter().filter_map(|(key, _)| old_label(key));
        old.map(|why| format!("{}: {why}", selector.path)).collect()
    },
    allow_unconditional_update: false,
    allow_create_on_update: true,
    judging: Judging::WHOLE_THEN_CHANGE.with_any_finalizers(),
    ..Rules::DEFAULT
};

pub(super) static POD_DISRUPTION_BUDGET: Rules = Rules {
    // Upstream asks of its metadata only what it asks of all.
    name: names::path_segment_name,
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    validate: |budget| disruption_budget(&At::root(budget).get("spec")),
    validate_update: |new, _, subresource| match subresource {
        "status" => disruption_status(&At::root(new).get("status")),
        _ => disruption_budget(&At::root(new).get("spec")),
    },
    allow_unconditional_update: false,
    has_generation: true,
    judging: Judging::NEVER,
    ..Rules::DEFAULT
};

/// The highest priority that is not the system's own.
const HIGHEST_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

fn priority_class(class: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = class.get("metadata.name");
    if name.text().starts_with("system-") {
        let known = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name.text());
        let why = match known {
            Some((_, value)) if class.int("value") != *value => {
                Some(format!("value of {} PriorityClass must be {value}", name.text()))
            }
            Some(_) if class.flag("globalDefault") => {
                Some(format!("globalDefault of {} PriorityClass must be false", name.text()))
            }
            Some(_) => None,
            None => Some(format!("{} is not a known system priority class", name.text())),
        };
        errors.extend(why.map(|why| {
            name.forbidden(format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            ))
        }));
    } else if class.int("value") > HIGHEST_PRIORITY {
        let message = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        errors.push(class.get("value").forbidden(message));
    }
    if class.has("preemptionPolicy") {
        errors.extend(required_one_of(&class.get("preemptionPolicy"), &["PreemptLowerPriority", "Never"]));
    }
    errors
}

fn runtime_class(class: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let handler = class.get("handler");
    if handler.text().is_empty() {
        errors.push(handler.required(""));
    } else {
        errors.extend(handler.faults(names::dns1123_label(handler.text())));
    }
    errors.extend(resources::overhead(&class.get("overhead.podFixed").named(class.get("overhead").path)));
    let scheduling_at = class.get("scheduling");
    errors.extend(metadata::labels(&scheduling_at.get("nodeSelector")));
    errors.extend(scheduling::tolerations(&scheduling_at));
    let mut seen = Vec::new();
    for toleration in scheduling_at.items("tolerations") {
        let who = ["key", "operator", "value", "effect"].map(|field| toleration.str(field));
        if seen.contains(&who) {
            let shown = go_print::of_type(toleration.value, "io.k8s.api.core.v1.Toleration");
            errors.push(FieldError::duplicate(&toleration.path, shown));
        }
        seen.push(who);
    }
    errors
}

fn disruption_budget(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        errors.push(spec.invalid("minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let at = spec.get(field);
        errors.extend(int_or_percent(&at));
        errors.extend(at_most_all(&at));
    }
    errors.extend(selectors::label_selector(&spec.get("selector")));
    errors.extend(one_of(&spec.get("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"]));
    errors
}

fn disruption_status(status: &At<'_>) -> ErrorList {
    let mut errors = conditions(status, "conditions");
    errors.extend(not_negative(status, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]));
    errors
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_runtime_class_tolerates_one_thing_once() {
        for (tolerations, expected) in [
            (json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]), Vec::new()),
            // How long it is tolerated does not tell two apart.
            (
                json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
                    {"key": "a", "operator": "Exists", "effect": "NoExecute"}]),
                vec![
                    "scheduling.tolerations[1]: Duplicate value: {\"Key\":\"a\",\"Operator\":\"Exists\",\"Value\":\"\",\
                     \"Effect\":\"NoExecute\",\"TolerationSeconds\":null}",
                ],
            ),
        ] {
            let class = json!({"handler": "h", "scheduling": {"tolerations": tolerations}});
            let errors = runtime_class(&At::root(&class));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
