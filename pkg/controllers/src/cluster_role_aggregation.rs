// SPDX-License-Identifier: Apache-2.0
//! The rules of ClusterRoles that are the sum of others: `admin`, `edit`, `view`, and users' own.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::controller::{ReconcileError, unless};
use crate::views::selects;

const MANAGER: &str = "clusterrole-aggregation-controller";

/// Sums up all such roles whenever any ClusterRole changes: they are few.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) roles: Cache<ClusterRole>,
}

impl Controller {
    /// Looks at all aggregated roles; the key says nothing.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, _: ObjectRef) -> Result<(), ReconcileError> {
        let roles: Vec<_> = self.roles.list().into_iter().map(|(_, role)| role).collect();
        let api = Api::<ClusterRole>::all(self.client.clone());
        for role in &roles {
            let Some(rules) = sum(role, roles.iter().map(AsRef::as_ref)) else { continue };
            if role.rules.as_deref().unwrap_or_default() == rules {
                continue;
            }
            let name = role.name_any();
            let applied = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": name}, "rules": rules,
            });
            let params = PatchParams::apply(MANAGER).force();
            unless(api.patch(&name, &params, &Patch::Apply(applied)).await, &[404])?;
        }
        Ok(())
    }
}

/// The rules of the roles that an aggregated one selects: selector by selector, by name, each rule once.
/// `None` where the role has rules of its own.
fn sum<'a>(role: &ClusterRole, all: impl Iterator<Item = &'a ClusterRole>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut others: Vec<_> = all.filter(|other| other.metadata.name != role.metadata.name).collect();
    others.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut rules = Vec::new();
    for selector in selectors {
        for other in others.iter().filter(|other| selects(selector, other.labels())) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(object: serde_json::Value) -> ClusterRole {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_rules_of_selected_roles_are_summed_by_name_and_once() {
        let rule = |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        let part = |name: &str, rules: serde_json::Value| {
            role(json!({"metadata": {"name": name, "labels": {"to-view": "true"}}, "rules": rules}))
        };
        let whole = role(json!({"metadata": {"name": "view", "labels": {"to-view": "true"}},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]},
            "rules": [rule("old")]}));
        let all = [part("b", json!([rule("pods"), rule("nodes")])), whole.clone(), part("a", json!([rule("pods")]))];
        let resources = |rules: Vec<PolicyRule>| -> Vec<String> {
            rules.into_iter().flat_map(|rule| rule.resources.unwrap_or_default()).collect()
        };
        assert_eq!(resources(sum(&whole, all.iter()).unwrap()), ["pods", "nodes"]);
        assert_eq!(sum(&all[0], all.iter()), None);
    }
}
