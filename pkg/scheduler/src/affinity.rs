// SPDX-License-Identifier: Apache-2.0
//! Node affinity and tolerations: what pods say of nodes.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#node-affinity>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{self, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};

/// Which nodes a pod needs, and which it would like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeAffinity {
    /// One of these must match; `None` where all nodes will do.
    pub required: Option<Vec<NodeSelectorTerm>>,
    /// Each that matches adds its weight to a node's score.
    pub preferred: Vec<(i32, NodeSelectorTerm)>,
}

impl NodeAffinity {
    /// As a pod states it.
    #[must_use]
    pub fn of(affinity: Option<&v1::NodeAffinity>) -> Self {
        let Some(affinity) = affinity else { return Self::default() };
        let required = affinity.required_during_scheduling_ignored_during_execution.clone();
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.clone().unwrap_or_default();
        Self {
            required: required.map(|r| r.node_selector_terms),
            preferred: preferred.into_iter().map(|p| (p.weight, p.preference)).collect(),
        }
    }
}

/// Whether a node of this name with these labels fits the term. An empty term fits none.
#[must_use]
pub fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|r| requirement_matches(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && requirement_matches(r, Some(name)))
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|v| values.iter().any(|x| x == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let compare = |f: fn(&i64, &i64) -> bool| match (value.and_then(number), values.first().and_then(|v| number(v))) {
        (Some(mine), Some(limit)) => f(&mine, &limit),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// Whether one of the tolerations bears the taint.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
#[must_use]
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| {
        let blank = |s: &Option<String>| s.as_deref().unwrap_or_default().is_empty();
        let effect = blank(&t.effect) || t.effect.as_deref() == Some(taint.effect.as_str());
        let key = blank(&t.key) || t.key.as_deref() == Some(taint.key.as_str());
        let value = match t.operator.as_deref().unwrap_or("Equal") {
            "Exists" => true,
            "Equal" | "" => t.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
            _ => false,
        };
        effect && key && value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_follow_their_operators() {
        for (operator, values, value, want) in [
            ("In", vec!["a", "b"], Some("b"), true),
            ("In", vec!["a"], None, false),
            ("NotIn", vec!["a"], None, true),
            ("NotIn", vec!["a"], Some("a"), false),
            ("Exists", vec![], Some(""), true),
            ("DoesNotExist", vec![], Some(""), false),
            ("Gt", vec!["3"], Some("4"), true),
            ("Gt", vec!["3"], Some("x"), false),
            ("Lt", vec!["3"], Some("2"), true),
        ] {
            let requirement = NodeSelectorRequirement {
                key: "k".into(),
                operator: operator.into(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            };
            assert_eq!(requirement_matches(&requirement, value), want, "{operator} {values:?} {value:?}");
        }
    }

    #[test]
    fn tolerations_bear_taints_by_key_value_and_effect() {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), ..Taint::default() };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: Some(key.into()),
            operator: Some(operator.into()),
            value: Some(value.into()),
            effect: Some(effect.into()),
            toleration_seconds: None,
        };
        for (toleration, want) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Exists", "", "NoSchedule"), true),
            (toleration("k", "Equal", "v", ""), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Equal", "v", "NoExecute"), false),
            (toleration("x", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerated(&taint, std::slice::from_ref(&toleration)), want, "{toleration:?}");
        }
    }
}
