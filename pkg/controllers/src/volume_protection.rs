// SPDX-License-Identifier: Apache-2.0
//! Claims, volumes and attribute classes that are deleted stay while something uses them, by a finalizer that admission
//! gives them; here it goes.
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::NamespaceResourceScope;

use crate::controller::{ReconcileError, is_status, unless};
use crate::views::PodView;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";

/// What is kept of a claim, a volume or a class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Protected {
    /// It is being deleted and has its finalizer.
    pub waits: bool,
    /// A volume that a claim has.
    pub bound: bool,
    /// The attribute classes that it uses.
    pub classes: Vec<String>,
}

impl Protected {
    /// Of a claim.
    #[must_use]
    pub fn claim(claim: &PersistentVolumeClaim) -> Self {
        let asked = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
        let current = claim.status.as_ref().and_then(|status| status.current_volume_attributes_class_name.clone());
        Self { waits: waits(&claim.metadata, CLAIM), bound: false, classes: asked.into_iter().chain(current).collect() }
    }

    /// Of a volume.
    #[must_use]
    pub fn volume(volume: &PersistentVolume) -> Self {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let class = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
        Self {
            waits: waits(&volume.metadata, VOLUME),
            bound: phase == Some("Bound"),
            classes: class.into_iter().collect(),
        }
    }

    /// Of an attribute class.
    #[must_use]
    pub fn class(class: &VolumeAttributesClass) -> Self {
        Self { waits: waits(&class.metadata, CLASS), ..Self::default() }
    }
}

fn waits(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

/// Whether one of these pods has the claim, or may soon: the node of a pod that has none yet refuses a claim that goes.
fn is_used<'a>(claim: &str, mut pods: impl Iterator<Item = &'a PodView>) -> bool {
    pods.any(|pod| !pod.node.is_empty() && pod.claims.iter().any(|name| name == claim))
}

/// Lets go of claims that no pod has.
pub struct Claims {
    pub(crate) client: Client,
    pub(crate) claims: Cache<Protected>,
    pub(crate) pods: Cache<PodView>,
}

impl Claims {
    /// Looks at one claim.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        if !self.claims.get(&key).is_some_and(|claim| claim.waits) {
            return Ok(());
        }
        let known = self.pods.list_namespace(&key.namespace);
        if is_used(&key.name, known.iter().map(|(_, pod)| &**pod)) {
            return Ok(());
        }
        // A pod that was just bound may not be known yet.
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let pods: Vec<_> = api.list(&ListParams::default()).await?.items.iter().map(PodView::of).collect();
        if is_used(&key.name, pods.iter()) {
            return Ok(());
        }
        release(&namespaced::<PersistentVolumeClaim>(&self.client, &key.namespace), &key.name, CLAIM).await
    }
}

/// Lets go of volumes that no claim has.
pub struct Volumes {
    pub(crate) client: Client,
    pub(crate) volumes: Cache<Protected>,
}

impl Volumes {
    /// Looks at one volume.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        if !self.volumes.get(&key).is_some_and(|volume| volume.waits && !volume.bound) {
            return Ok(());
        }
        let resource = ApiResource::erase::<PersistentVolume>(&());
        release(&Api::all_with(self.client.clone(), &resource), &key.name, VOLUME).await
    }
}

/// Lets go of attribute classes that neither claims nor volumes have.
pub struct Classes {
    pub(crate) client: Client,
    pub(crate) classes: Cache<Protected>,
    pub(crate) claims: Cache<Protected>,
    pub(crate) volumes: Cache<Protected>,
}

impl Classes {
    /// Looks at one class.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        if !self.classes.get(&key).is_some_and(|class| class.waits) {
            return Ok(());
        }
        let mut users = self.claims.list().into_iter().chain(self.volumes.list());
        if users.any(|(_, user)| user.classes.contains(&key.name)) {
            return Ok(());
        }
        let resource = ApiResource::erase::<VolumeAttributesClass>(&());
        release(&Api::all_with(self.client.clone(), &resource), &key.name, CLASS).await
    }
}

fn namespaced<K>(client: &Client, namespace: &str) -> Api<DynamicObject>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// Takes the finalizer from the object as it is now.
async fn release(api: &Api<DynamicObject>, name: &str, finalizer: &str) -> Result<(), ReconcileError> {
    let mut object = match api.get(name).await {
        Err(error) if is_status(&error, 404) => return Ok(()),
        other => other?,
    };
    if !waits(&object.metadata, finalizer) {
        return Ok(());
    }
    object.metadata.finalizers.get_or_insert_default().retain(|f| f != finalizer);
    unless(api.replace(name, &PostParams::default(), &object).await, &[404])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_deleted_waits() {
        let claim = |meta: serde_json::Value| {
            let spec = serde_json::json!({"volumeAttributesClassName": "gold"});
            let status = serde_json::json!({"currentVolumeAttributesClassName": "silver"});
            let json = serde_json::json!({"metadata": meta, "spec": spec, "status": status});
            Protected::claim(&serde_json::from_value(json).unwrap())
        };
        let (deleted, finalizers) = ("2026-01-01T00:00:00Z", [CLAIM]);
        assert!(claim(serde_json::json!({"deletionTimestamp": deleted, "finalizers": finalizers})).waits);
        assert!(!claim(serde_json::json!({"deletionTimestamp": deleted, "finalizers": ["a/b"]})).waits);
        let stays = claim(serde_json::json!({"finalizers": finalizers}));
        assert_eq!((stays.waits, stays.classes), (false, vec!["gold".into(), "silver".into()]));
    }

    #[test]
    fn a_pod_without_a_node_holds_no_claim() {
        let pod = |node: &str| PodView { node: node.into(), claims: vec!["data".into()], ..PodView::default() };
        assert!(is_used("data", [pod(""), pod("n")].iter()));
        assert!(!is_used("data", [pod("")].iter()));
        assert!(!is_used("other", [pod("n")].iter()));
    }
}
