// SPDX-License-Identifier: Apache-2.0
//! What a namespace's quotas say is used, counted from the objects that there are.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>
//!
//! Writes are charged where they are committed; what is given back (deletes, pods that end) and what a
//! new or changed quota starts with is counted here. The count is written only if the quota is as it was
//! before the objects were listed: a write that was charged meanwhile makes it count again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::jiff::Timestamp;
use knarr_admission::amounts::{self, Amounts};
use knarr_admission::quota::scopes;
use knarr_admission::quota::usage::Counted;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_types::Quantity;
use knarr_types::tree::{self, Value};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams, TypeMeta};

use crate::controller::{ReconcileError, unless};
use crate::resources::Resources;

/// Counts for the quotas of one namespace at a time.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) quotas: Cache<ResourceQuota>,
    pub(crate) resources: Resources,
}

impl Controller {
    /// Counts again for one namespace, which is the key's name.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        for (quota, _) in self.quotas.list_namespace(&key.name) {
            self.count(&quota).await?;
        }
        Ok(())
    }

    async fn count(&self, key: &ObjectRef) -> Result<(), ReconcileError> {
        let resource = ApiResource::erase::<ResourceQuota>(&());
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.namespace, &resource);
        // Its role lets it list, not get.
        let by_name = ListParams::default().fields(&format!("metadata.name={}", key.name));
        let Some(mut quota) = api.list(&by_name).await?.items.pop() else { return Ok(()) };
        quota.types = Some(TypeMeta::resource::<ResourceQuota>());
        let quota = tree::to_value(quota).map_err(kube::Error::SerdeError)?;
        let hard = amounts::read(&quota["spec"]["hard"]);
        let mut used = Amounts::new();
        for followed in self.resources.all().iter().filter(|r| r.namespaced) {
            let kind = Counted { group: &followed.api.group, resource: &followed.api.plural };
            if hard.keys().any(|name| kind.tracks(name)) {
                let objects = self.list(&key.namespace, &followed.api).await?;
                amounts::add(&mut used, &sum(&quota, kind, &objects, Timestamp::now()));
            }
        }
        let status = status(&hard, &used);
        if quota["status"] == status {
            return Ok(());
        }
        let mut new = quota;
        new["status"] = status;
        let new: DynamicObject = tree::from_value(new).map_err(kube::Error::SerdeError)?;
        unless(api.replace_status(&key.name, &PostParams::default(), &new).await, &[404])
    }

    async fn list(&self, namespace: &str, resource: &ApiResource) -> Result<Vec<Value>, ReconcileError> {
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, resource);
        let objects = api.list(&ListParams::default()).await?.items;
        objects.into_iter().map(|o| tree::to_value(o).map_err(kube::Error::SerdeError)).collect()
    }
}

/// What the objects of a kind use of a quota.
fn sum(quota: &Value, kind: Counted<'_>, objects: &[Value], now: Timestamp) -> Amounts {
    let mut used = Amounts::new();
    for object in objects.iter().filter(|object| scopes::hold(quota, kind, object)) {
        amounts::add(&mut used, &kind.usage(object, now));
    }
    used
}

/// The status of a quota: its bounds, and what is used of each.
fn status(hard: &Amounts, used: &Amounts) -> Value {
    let texts = |amounts: BTreeMap<&String, Quantity>| -> Value {
        amounts.into_iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string()))).collect()
    };
    if hard.is_empty() {
        return tree::json!({});
    }
    let hard_now = hard.iter().map(|(name, amount)| (name, *amount)).collect();
    let used_now = hard.keys().map(|name| (name, used.get(name).copied().unwrap_or(Quantity::ZERO))).collect();
    tree::json!({"hard": texts(hard_now), "used": texts(used_now)})
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn only_what_the_quota_is_about_is_counted() {
        let quota = json!({"spec": {"scopes": ["BestEffort"], "hard": {"pods": "5", "secrets": "1"}}});
        let busy = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}});
        let idle = json!({"spec": {"containers": [{}]}});
        let ended = json!({"spec": {}, "status": {"phase": "Succeeded"}});
        let pods = Counted { group: "", resource: "pods" };
        let used = sum(&quota, pods, &[busy, idle.clone(), idle, ended], Timestamp::UNIX_EPOCH);
        let hard = amounts::read(&quota["spec"]["hard"]);
        let want = json!({"hard": {"pods": "5", "secrets": "1"}, "used": {"pods": "2", "secrets": "0"}});
        assert_eq!(status(&hard, &used), want);
    }
}
