// SPDX-License-Identifier: Apache-2.0
//! Secrets that hold a token of a ServiceAccount: filled in, and gone with their account.
//! <https://kubernetes.io/docs/concepts/security/service-accounts/#get-a-token>

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_pki::service_account::{Keys, LegacyClaims};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use crate::controller::{ReconcileError, is_status, unless};

/// The type of these secrets.
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotations that say whose token it is.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// A secret as it is looked at here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenView {
    /// Its account.
    pub account: String,
    account_uid: String,
    uid: String,
    complete: bool,
}

impl TokenView {
    /// What is kept of `secret`; it should hold the certificates `ca`.
    #[must_use]
    pub fn of(secret: &Secret, ca: &str) -> Self {
        let annotation = |name: &str| secret.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        Self {
            account: annotation(ACCOUNT).unwrap_or_default(),
            account_uid: annotation(ACCOUNT_UID).unwrap_or_default(),
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            complete: is_complete(secret.data.as_ref(), ca),
        }
    }
}

fn is_complete(data: Option<&BTreeMap<String, ByteString>>, ca: &str) -> bool {
    let get = |name: &str| data.and_then(|data| data.get(name)).map_or(&[][..], |value| &value.0);
    get("ca.crt") == ca.as_bytes() && !get("namespace").is_empty() && !get("token").is_empty()
}

/// What becomes of a secret. Pure.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It names nobody, or is what it should be.
    Stays,
    /// It lacks something.
    IsFilled,
    /// Its account is not there.
    Goes,
}

fn fate(secret: &TokenView, account_uid: Option<&str>) -> Fate {
    if secret.account.is_empty() {
        return Fate::Stays;
    }
    let fits = |uid: &str| secret.account_uid.is_empty() || secret.account_uid == uid;
    match account_uid {
        Some(uid) if fits(uid) && secret.complete => Fate::Stays,
        Some(uid) if fits(uid) => Fate::IsFilled,
        _ => Fate::Goes,
    }
}

/// Fills in what a secret lacks.
///
/// # Errors
/// Where the token cannot be signed.
fn fill(secret: &mut Secret, account: &str, uid: &str, keys: &Keys, ca: &str) -> Result<(), knarr_pki::PkiError> {
    let namespace = secret.metadata.namespace.clone().unwrap_or_default();
    let claims = LegacyClaims {
        namespace: namespace.clone(),
        secret: secret.metadata.name.clone().unwrap_or_default(),
        account: account.to_owned(),
        account_uid: uid.to_owned(),
    };
    let data = secret.data.get_or_insert_default();
    data.insert("ca.crt".into(), ByteString(ca.as_bytes().to_vec()));
    let has = |data: &BTreeMap<String, ByteString>, name: &str| data.get(name).is_some_and(|value| !value.0.is_empty());
    if !has(data, "namespace") {
        data.insert("namespace".into(), ByteString(namespace.into_bytes()));
    }
    if !has(data, "token") {
        data.insert("token".into(), ByteString(keys.sign_legacy(&claims)?.into_bytes()));
    }
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCOUNT.into(), account.to_owned());
    annotations.insert(ACCOUNT_UID.into(), uid.to_owned());
    Ok(())
}

/// Looks after all of them.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) secrets: Cache<TokenView>,
    /// The uids of all accounts.
    pub(crate) accounts: Cache<String>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) ca: String,
}

impl Controller {
    /// Looks after one secret.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        let Some(secret) = self.secrets.get(&key) else { return Ok(()) };
        let account = self.account(&key.namespace, &secret.account).await?;
        let api = Api::<Secret>::namespaced(self.client.clone(), &key.namespace);
        match (fate(&secret, account.as_deref()), account) {
            (Fate::Goes, _) => {
                let preconditions = Preconditions { uid: Some(secret.uid.clone()), resource_version: None };
                let options = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                unless(api.delete(&key.name, &options).await.map(drop), &[404, 409])
            }
            (Fate::IsFilled, Some(uid)) => {
                let mut newest = match api.get(&key.name).await {
                    Err(error) if is_status(&error, 404) => return Ok(()),
                    newest => newest?,
                };
                if newest.metadata.uid.as_deref() != Some(&secret.uid) {
                    return Ok(());
                }
                if let Err(error) = fill(&mut newest, &secret.account, &uid, &self.keys, &self.ca) {
                    tracing::error!(secret = %key, %error, "a token was not signed");
                    return Ok(());
                }
                unless(api.replace(&key.name, &PostParams::default(), &newest).await, &[404])
            }
            _ => Ok(()),
        }
    }

    /// The uid of an account. Where none is known the API is asked: the cache may be behind.
    async fn account(&self, namespace: &str, name: &str) -> Result<Option<String>, ReconcileError> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(uid) = self.accounts.get(&ObjectRef::new(namespace, name)) {
            return Ok(Some((*uid).clone()));
        }
        match Api::<ServiceAccount>::namespaced(self.client.clone(), namespace).get(name).await {
            Ok(account) => Ok(account.metadata.uid),
            Err(error) if is_status(&error, 404) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn secret(annotations: &[(&str, &str)]) -> Secret {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let metadata = ObjectMeta {
            name: Some("s".into()),
            namespace: Some("n".into()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        };
        Secret { metadata, ..Secret::default() }
    }

    #[test]
    fn secrets_follow_their_account() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(folder.path()).unwrap();
        let of = |secret: &Secret, account: Option<&str>| fate(&TokenView::of(secret, "CA"), account);
        let mut fresh = secret(&[(ACCOUNT, "a")]);
        assert_eq!(of(&fresh, None), Fate::Goes);
        assert_eq!(of(&fresh, Some("u")), Fate::IsFilled);
        fill(&mut fresh, "a", "u", &keys, "CA").unwrap();
        assert_eq!(of(&fresh, Some("u")), Fate::Stays);
        assert_eq!(of(&fresh, Some("other")), Fate::Goes);
        assert_eq!(fate(&TokenView::of(&fresh, "renewed"), Some("u")), Fate::IsFilled);
        let token = fresh.data.as_ref().unwrap()["token"].clone();
        fill(&mut fresh, "a", "u", &keys, "renewed").unwrap();
        let data = fresh.data.unwrap();
        assert_eq!(
            (&data["token"], &data["ca.crt"].0[..], &data["namespace"].0[..]),
            (&token, &b"renewed"[..], &b"n"[..])
        );
        assert_eq!(of(&secret(&[]), None), Fate::Stays);
    }
}
