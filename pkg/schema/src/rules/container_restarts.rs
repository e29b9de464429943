// SPDX-License-Identifier: Apache-2.0

//! When a container starts again: its own policy and rules (validateContainerRestartPolicy,
//! `pkg/api/v1/pod/util.go`, ContainerShouldRestart).

use knarr_types::{ErrorList, FieldError};

use super::at::At;
use super::security::one_of;

const ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
const POLICY_NEEDED: &str = "must specify restartPolicy when restart rules are used";

/// What is wrong with a container's own policy and rules.
pub fn policy(container: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    let count = container.len("restartPolicyRules");
    if policy.is_set() {
        errors.extend(one_of(&policy, &["Always", "Never", "OnFailure"]));
    } else if count > 0 {
        errors.push(policy.required(POLICY_NEEDED));
    }
    if count > MOST_RULES {
        errors.push(FieldError::too_many(&rules.path, count, MOST_RULES));
    }
    for rule in container.items("restartPolicyRules") {
        if !ACTIONS.contains(&rule.str("action")) {
            errors.push(rule.get("action").not_supported(ACTIONS));
        }
        let codes = rule.get("exitCodes");
        if !codes.is_set() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        if !["In", "NotIn"].contains(&codes.str("operator")) {
            errors.push(codes.get("operator").not_supported(&["In", "NotIn"]));
        }
        let values = codes.len("values");
        if values > MOST_CODES {
            errors.push(FieldError::too_many(&codes.get("values").path, values, MOST_CODES));
        }
    }
    errors
}

/// The same of an init container: upstream looks at its rules only where it has a policy.
pub fn policy_of_init(container: &At<'_>) -> ErrorList {
    if container.has("restartPolicy") {
        return policy(container);
    }
    let rules = container.len("restartPolicyRules") > 0;
    rules.then(|| container.get("restartPolicy").required(POLICY_NEEDED)).into_iter().collect()
}

/// A container of this pod that ended so starts again.
pub fn starts_again(container: &At<'_>, spec: &At<'_>, exit_code: i64) -> bool {
    let by = |policy: &str| match policy {
        "Always" => true,
        "OnFailure" => exit_code != 0,
        _ => false,
    };
    if !container.has("restartPolicy") {
        return by(spec.str("restartPolicy"));
    }
    container.items("restartPolicyRules").iter().any(|rule| meets(rule, exit_code))
        || by(container.str("restartPolicy"))
}

/// The pod has a rule by which one container's end starts all of them again.
pub fn may_start_all_again(spec: &At<'_>) -> bool {
    ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.items(list))
        .flat_map(|container| container.items("restartPolicyRules"))
        .any(|rule| rule.str("action") == "RestartAllContainers")
}

fn meets(rule: &At<'_>, exit_code: i64) -> bool {
    let codes = rule.get("exitCodes");
    let listed = codes.items("values").iter().any(|code| code.value.as_i64() == Some(exit_code));
    match codes.str("operator") {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::*;

    fn again(container: Value, policy: &str, exit_code: i64) -> bool {
        let spec = json!({"restartPolicy": policy});
        starts_again(&At::root(&container), &At::root(&spec), exit_code)
    }

    #[test]
    fn rules_come_before_the_policy_of_the_container_and_that_before_the_pods() {
        let rule = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        for (container, policy, code, want) in [
            (json!({}), "Always", 0, true),
            (json!({}), "OnFailure", 0, false),
            (json!({"restartPolicy": "Never"}), "Always", 1, false),
            (json!({"restartPolicy": "Never", "restartPolicyRules": rule}), "Never", 42, true),
            (json!({"restartPolicy": "Never", "restartPolicyRules": rule}), "Never", 1, false),
        ] {
            assert_eq!(again(container.clone(), policy, code), want, "{container} {policy} {code}");
        }
    }

    #[test]
    fn rules_need_a_policy_codes_and_a_known_action() {
        let container = json!({"restartPolicyRules": [{"action": "Stop"}]});
        let told: Vec<_> = policy(&At::root(&container)).iter().map(ToString::to_string).collect();
        let actions = "supported values: \"Restart\", \"RestartAllContainers\"";
        assert_eq!(
            told,
            [
                "restartPolicy: Required value: must specify restartPolicy when restart rules are used".to_owned(),
                format!("restartPolicyRules[0].action: Unsupported value: \"Stop\": {actions}"),
                "restartPolicyRules[0].exitCodes: Required value: must be specified".to_owned(),
            ]
        );
        let told: Vec<_> = policy_of_init(&At::root(&container)).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["restartPolicy: Required value: must specify restartPolicy when restart rules are used"]);
        let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}});
        let many = json!({"restartPolicy": "Never", "restartPolicyRules": vec![rule; 21]});
        let told: Vec<_> = policy(&At::root(&many)).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["restartPolicyRules: Too many: 21: must have at most 20 items"]);
    }
}
