// SPDX-License-Identifier: Apache-2.0
//! Namespaces that end: everything in them goes first.
//! <https://kubernetes.io/docs/tasks/administer-cluster/namespaces/#deleting-a-namespace>

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};

use crate::controller::{ReconcileError, is_status, unless};
use crate::queue::Queue;
use crate::resources::{Followed, Resources};

/// The finalizer that this controller answers for.
const FINALIZER: &str = "kubernetes";
/// How soon to look again while something is left: pods take their grace.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Empties namespaces that are being deleted.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) namespaces: Cache<Namespace>,
    pub(crate) resources: Resources,
    pub(crate) queue: Queue,
}

/// What is left of one resource in a namespace.
#[derive(Debug, Default, PartialEq)]
struct Left {
    resource: String,
    count: usize,
    finalizers: Vec<String>,
}

impl Controller {
    /// Deletes what is in the namespace; when nothing is left, lets it go.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(namespace) = self.namespaces.get(&key) else { return Ok(()) };
        let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|f| f == FINALIZER) {
            return Ok(());
        }
        // Pods go first: what they use, or are held by, is there until the last of them has ended.
        let (pods, others): (Vec<_>, Vec<_>) =
            self.resources.all().into_iter().filter(|r| r.namespaced).partition(|r| r.is("", "Pod"));
        let mut left = self.empty_all(&key.name, &pods).await?;
        if left.is_empty() {
            left = self.empty_all(&key.name, &others).await?;
        }
        if left.is_empty() {
            return self.let_go(&namespace, &finalizers).await;
        }
        self.write_conditions(&key.name, &namespace, &left).await?;
        self.queue.add_at(key, Instant::now() + LOOK_AGAIN);
        Ok(())
    }

    async fn empty_all(&self, namespace: &str, resources: &[Followed]) -> Result<Vec<Left>, ReconcileError> {
        let mut left = Vec::new();
        for resource in resources {
            let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &resource.api);
            left.extend(self.empty(&api, resource).await?);
        }
        Ok(left)
    }

    async fn empty(&self, api: &Api<DynamicObject>, resource: &Followed) -> Result<Option<Left>, ReconcileError> {
        let list = match api.list_metadata(&ListParams::default()).await {
            Err(error) if is_status(&error, 404) || is_status(&error, 405) => return Ok(None),
            other => other?,
        };
        if list.items.is_empty() {
            return Ok(None);
        }
        if list.items.iter().any(|o| o.metadata.deletion_timestamp.is_none()) {
            let params = DeleteParams::background();
            unless(api.delete_collection(&params, &ListParams::default()).await, &[404, 405])?;
        }
        let mut finalizers: Vec<_> =
            list.items.iter().flat_map(|o| o.metadata.finalizers.clone().unwrap_or_default()).collect();
        finalizers.sort();
        let group = if resource.api.group.is_empty() { String::new() } else { format!(".{}", resource.api.group) };
        let name = format!("{}{group}", resource.api.plural);
        Ok(Some(Left { resource: name, count: list.items.len(), finalizers }))
    }

    async fn let_go(&self, namespace: &Namespace, finalizers: &[String]) -> Result<(), ReconcileError> {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let left: Vec<_> = finalizers.iter().filter(|f| *f != FINALIZER).cloned().collect();
        let mut wanted = namespace.clone();
        wanted.spec.get_or_insert_default().finalizers = Some(left);
        let body = serde_json::to_vec(&wanted).map_err(kube::Error::SerdeError)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        unless(self.client.request::<serde_json::Value>(request).await, &[404])
    }

    async fn write_conditions(&self, name: &str, namespace: &Namespace, left: &[Left]) -> Result<(), ReconcileError> {
        let old = namespace.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        let new = conditions(&old, left, Timestamp::now());
        if new == old {
            return Ok(());
        }
        let patch = serde_json::json!({"status": {"conditions": new}});
        let api = Api::<Namespace>::all(self.client.clone());
        unless(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await, &[404])
    }
}

/// What a namespace says while it empties, in upstream's words.
fn conditions(old: &[NamespaceCondition], left: &[Left], now: Timestamp) -> Vec<NamespaceCondition> {
    let content: Vec<_> = left.iter().map(|l| format!("{} has {} resource instances", l.resource, l.count)).collect();
    let mut finalizers: Vec<(String, usize)> = Vec::new();
    for finalizer in left.iter().flat_map(|l| &l.finalizers) {
        match finalizers.iter_mut().find(|(f, _)| f == finalizer) {
            Some((_, n)) => *n += 1,
            None => finalizers.push((finalizer.clone(), 1)),
        }
    }
    let waiting: Vec<_> = finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let some = |words: &str, list: &[String]| format!("{words}{}", list.join(", "));
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".into(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".into(),
        ),
        (
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".into(),
        ),
        ("NamespaceContentRemaining", true, "SomeResourcesRemain", some("Some resources are remaining: ", &content)),
        (
            "NamespaceFinalizersRemaining",
            !waiting.is_empty(),
            if waiting.is_empty() { "ContentHasNoFinalizers" } else { "SomeFinalizersRemain" },
            if waiting.is_empty() {
                "All content-preserving finalizers finished".into()
            } else {
                some("Some content in the namespace has finalizers remaining: ", &waiting)
            },
        ),
    ]
    .into_iter()
    .map(|(type_, status, reason, message)| {
        let status = if status { "True" } else { "False" };
        let since = old.iter().find(|c| c.type_ == type_ && c.status == status);
        NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: since.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_and_times_stay() {
        let left = [Left { resource: "pods".into(), count: 2, finalizers: vec!["a/b".into(), "a/b".into()] }];
        let first = conditions(&[], &left, Timestamp::UNIX_EPOCH);
        assert_eq!(first[3].message.as_deref(), Some("Some resources are remaining: pods has 2 resource instances"));
        assert_eq!(
            first[4].message.as_deref(),
            Some("Some content in the namespace has finalizers remaining: a/b in 2 resource instances")
        );
        assert_eq!(conditions(&first, &left, Timestamp::now()), first);
    }
}
