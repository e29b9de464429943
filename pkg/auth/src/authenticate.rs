// SPDX-License-Identifier: Apache-2.0
//! Who is it: client certificates, service-account tokens, bootstrap tokens.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use knarr_pki::service_account::{Claims, Keys, ObjectName};
use serde_json::Value;

use crate::UserInfo;
use crate::user::AUTHENTICATED;

/// What authenticators look up: core objects by plural, namespace and name.
pub trait Objects {
    /// The object, if it is there.
    fn core(&self, resource: &str, namespace: &str, name: &str) -> Option<Value>;
}

/// Something was shown, and it proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

/// Knows who shows what.
pub struct Authenticator {
    keys: Arc<Keys>,
    issuer: String,
}

impl Authenticator {
    /// With the keys of service-account tokens and the issuer that they name.
    #[must_use]
    pub fn new(keys: Arc<Keys>, issuer: &str) -> Self {
        Self { keys, issuer: issuer.into() }
    }

    /// Who signs service-account tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys of service-account tokens.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whom a certificate that the TLS layer verified names. `der` is the leaf.
    #[must_use]
    pub fn certificate(&self, der: &[u8]) -> Option<UserInfo> {
        let subject = knarr_pki::certificate::subject(der).ok().filter(|s| !s.common_name.is_empty())?;
        let mut groups = subject.organizations;
        groups.push(AUTHENTICATED.into());
        Some(UserInfo { name: subject.common_name, groups, ..UserInfo::default() })
    }

    /// Who shows this bearer token; `audiences` are whom it must be for.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why it proves nothing.
    pub fn token(
        &self,
        token: &str,
        audiences: &[&str],
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<UserInfo, Unauthenticated> {
        if let Some((id, secret)) = token.split_once('.').filter(|(id, rest)| id.len() == 6 && !rest.contains('.')) {
            return bootstrap(id, secret, objects, now);
        }
        let claims = self
            .keys
            .check(token, &self.issuer, audiences, now.as_second())
            .map_err(|e| Unauthenticated(e.to_string()))?;
        service_account(&claims, objects)
    }
}

/// The account of a token whose signature holds, if it and what the token is bound to still are there.
fn service_account(claims: &Claims, objects: &dyn Objects) -> Result<UserInfo, Unauthenticated> {
    let bound = &claims.kubernetes;
    let alive = |resource: &str, wanted: &ObjectName| {
        let object = objects.core(resource, &bound.namespace, &wanted.name);
        object.is_some_and(|o| wanted.uid.is_empty() || o["metadata"]["uid"] == *wanted.uid)
    };
    let pairs = [("pods", bound.pod.as_ref()), ("secrets", bound.secret.as_ref())];
    let gone = pairs.into_iter().find(|(resource, o)| o.is_some_and(|o| !alive(resource, o)));
    if !alive("serviceaccounts", &bound.serviceaccount) {
        return Err(Unauthenticated("the service account of the token is gone".into()));
    }
    if let Some((resource, _)) = gone {
        return Err(Unauthenticated(format!(
            "the {} that the token is bound to is gone",
            resource.trim_end_matches('s')
        )));
    }
    let mut user = UserInfo::service_account(&bound.namespace, &bound.serviceaccount.name);
    user.uid.clone_from(&bound.serviceaccount.uid);
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    for (name, object) in [("node", &bound.node), ("pod", &bound.pod)] {
        if let Some(object) = object {
            extra(&format!("{name}-name"), &object.name);
            extra(&format!("{name}-uid"), &object.uid);
        }
    }
    Ok(user)
}

/// <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>
fn bootstrap(id: &str, secret: &str, objects: &dyn Objects, now: Timestamp) -> Result<UserInfo, Unauthenticated> {
    let refuse = || Unauthenticated("the bootstrap token is unknown or has expired".into());
    let object = objects.core("secrets", "kube-system", &format!("bootstrap-token-{id}")).ok_or_else(refuse)?;
    let field = |name: &str| {
        let bytes = STANDARD.decode(object["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let is_token =
        object["type"] == "bootstrap.kubernetes.io/token" && object["metadata"]["deletionTimestamp"].is_null();
    let expected = field("token-secret").unwrap_or_default();
    let same = verify_slices_are_equal(expected.as_bytes(), secret.as_bytes()).is_ok();
    let expired = field("expiration").is_some_and(|e| e.parse::<Timestamp>().map_or(true, |at| at <= now));
    let may = field("usage-bootstrap-authentication").is_some_and(|u| u == "true");
    if !is_token || expected.is_empty() || !same || expired || !may {
        return Err(refuse());
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    let extra = extra.split(',').map(str::trim).filter(|g| g.starts_with("system:bootstrappers:"));
    let groups: Vec<_> = ["system:bootstrappers"].into_iter().chain(extra).collect();
    Ok(UserInfo::new(&format!("system:bootstrap:{id}"), &groups))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Table(Vec<(&'static str, Value)>);

    impl Objects for Table {
        fn core(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
            let key = format!("{resource}/{namespace}/{name}");
            self.0.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone())
        }
    }

    fn authenticator() -> (tempfile::TempDir, Authenticator) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(folder.path()).unwrap();
        (folder, Authenticator::new(Arc::new(keys), "https://issuer"))
    }

    #[test]
    fn a_bootstrap_token_counts_until_it_expires() {
        let data = |expiration: &str| {
            let text = |t: &str| json!(STANDARD.encode(t));
            json!({"metadata": {}, "type": "bootstrap.kubernetes.io/token", "data": {
                "token-secret": text("0123456789abcdef"), "expiration": text(expiration),
                "usage-bootstrap-authentication": text("true"), "auth-extra-groups": text("system:bootstrappers:x,evil"),
            }})
        };
        let (_folder, a) = authenticator();
        let table = |expiration| Table(vec![("secrets/kube-system/bootstrap-token-abcdef", data(expiration))]);
        let now = Timestamp::UNIX_EPOCH;
        let user = a.token("abcdef.0123456789abcdef", &[], &table("1971-01-01T00:00:00Z"), now).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:x", AUTHENTICATED]);
        for (token, expiration) in [
            ("abcdef.0123456789abcdeX", "1971-01-01T00:00:00Z"),
            ("abcdef.0123456789abcdef", "1969-01-01T00:00:00Z"),
            ("zzzzzz.0123456789abcdef", "1971-01-01T00:00:00Z"),
        ] {
            assert!(a.token(token, &[], &table(expiration), now).is_err(), "{token} {expiration}");
        }
    }

    #[test]
    fn a_service_account_token_ends_with_what_it_is_bound_to() {
        let (_folder, a) = authenticator();
        let name = |n: &str| ObjectName { name: n.into(), uid: format!("{n}-uid") };
        let claims = Claims {
            aud: vec!["api".into()],
            exp: 100,
            iss: "https://issuer".into(),
            kubernetes: knarr_pki::service_account::Bound {
                namespace: "n".into(),
                pod: Some(name("p")),
                serviceaccount: name("sa"),
                ..Default::default()
            },
            ..Claims::default()
        };
        let token = a.keys().sign(&claims).unwrap();
        let account = ("serviceaccounts/n/sa", json!({"metadata": {"uid": "sa-uid"}}));
        let pod = |uid: &str| ("pods/n/p", json!({"metadata": {"uid": uid}}));
        let check = |objects: Vec<_>| a.token(&token, &["api"], &Table(objects), Timestamp::UNIX_EPOCH);
        let user = check(vec![account.clone(), pod("p-uid")]).unwrap();
        assert_eq!(user.name, "system:serviceaccount:n:sa");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert!(check(vec![account, pod("another")]).is_err());
        assert!(check(vec![pod("p-uid")]).is_err());
    }
}
