// SPDX-License-Identifier: Apache-2.0
//! What every namespace has: the ServiceAccount `default`, and the cluster's CA for its pods.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use kube::api::{Api, Patch, PatchParams, PostParams};

use crate::controller::{ReconcileError, unless};

/// The ConfigMap that pods read the CA from.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";
/// The ServiceAccount of pods that name none.
pub(crate) const DEFAULT: &str = "default";
const CA_KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

/// Puts both into every namespace that is not ending.
pub struct Controller {
    pub(crate) client: Client,
    /// Who publishes the cluster's CA.
    pub(crate) publisher: Client,
    pub(crate) namespaces: Cache<Namespace>,
    pub(crate) accounts: Cache<()>,
    pub(crate) bundles: Cache<Option<String>>,
    pub(crate) ca: String,
}

impl Controller {
    /// Looks after one namespace; only the key's name counts.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(namespace) = self.namespaces.get(&key) else { return Ok(()) };
        if namespace.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let named = |name: &str| ObjectMeta {
            name: Some(name.into()),
            namespace: Some(key.name.clone()),
            ..ObjectMeta::default()
        };
        if self.accounts.get(&ObjectRef::new(&key.name, DEFAULT)).is_none() {
            let account = ServiceAccount { metadata: named(DEFAULT), ..ServiceAccount::default() };
            let api = Api::<ServiceAccount>::namespaced(self.client.clone(), &key.name);
            unless(api.create(&PostParams::default(), &account).await, &[409])?;
        }
        let api = Api::<ConfigMap>::namespaced(self.publisher.clone(), &key.name);
        match self.bundles.get(&ObjectRef::new(&key.name, ROOT_CA)).as_deref() {
            Some(Some(ca)) if *ca == self.ca => Ok(()),
            Some(_) => {
                let patch = serde_json::json!({"data": {CA_KEY: self.ca}});
                unless(api.patch(ROOT_CA, &PatchParams::default(), &Patch::Merge(patch)).await, &[404])
            }
            None => {
                let mut bundle = ConfigMap { metadata: named(ROOT_CA), ..ConfigMap::default() };
                bundle.metadata.annotations = Some([(DESCRIPTION.0.into(), DESCRIPTION.1.into())].into());
                bundle.data = Some([(CA_KEY.into(), self.ca.clone())].into());
                unless(api.create(&PostParams::default(), &bundle).await, &[409])
            }
        }
    }
}

/// The certificates in a CA ConfigMap.
pub(crate) fn bundle(object: &ConfigMap) -> Option<String> {
    object.data.as_ref()?.get(CA_KEY).cloned()
}
