// SPDX-License-Identifier: Apache-2.0
//! Who is it: client certificates and bearer tokens: those of a file, of service accounts, and bootstrap
//! tokens.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use knarr_pki::service_account::{Claims, Keys, LegacyClaims, ObjectName, Token};
use knarr_types::tree::Value;
use parking_lot::RwLock;

use crate::UserInfo;
use crate::node::SERVING_NODES;
use crate::static_tokens::StaticTokens;
use crate::user::{AUTHENTICATED, NODES};

/// What says by which credential somebody is known.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// How long a token holds on after what it is bound to was marked for deletion.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// What authenticators look up: core objects by plural, namespace and name.
pub trait Objects {
    /// The object, if it is there.
    fn core(&self, resource: &str, namespace: &str, name: &str) -> Option<Value>;
}

/// Something was shown, and it proves nothing. The message is upstream's.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub enum Unauthenticated {
    /// Nobody knows the token.
    #[default]
    #[error("invalid bearer token")]
    Unknown,
    /// It is a service account's, and this does not hold.
    #[error("[invalid bearer token, {0}]")]
    Because(String),
}

/// Who shows a token, and which of the audiences that were asked for it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub user: UserInfo,
    /// For whom.
    pub audiences: Vec<String>,
    /// The secret that holds the token and that must say that it was used today: namespace and name.
    pub used: Option<(String, String)>,
}

/// The label of a secret that says on which day its token was last shown.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// The label of a secret whose token no longer counts, with the day since when.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Knows who shows what.
pub struct Authenticator {
    keys: Arc<Keys>,
    issuer: String,
    tokens: StaticTokens,
    verified: VerifiedTokens,
}

/// Tokens whose signature was found to hold: clients show theirs with every request. What they are bound to
/// and their time are judged each time.
#[derive(Default)]
struct VerifiedTokens(RwLock<HashMap<Box<str>, Arc<Token>>>);

impl VerifiedTokens {
    /// How many are remembered.
    const CAPACITY: usize = 1024;

    /// What a token turns out to be.
    fn read(&self, token: &str, keys: &Keys, issuer: &str) -> Arc<Token> {
        let known = self.0.read().get(token).cloned();
        known.unwrap_or_else(|| {
            let read = Arc::new(keys.read(token, issuer));
            if matches!(*read, Token::Bound(_) | Token::Legacy(_)) {
                let mut known = self.0.write();
                if known.len() >= Self::CAPACITY {
                    known.clear();
                }
                known.insert(token.into(), Arc::clone(&read));
            }
            read
        })
    }
}

impl Authenticator {
    /// With the keys of service-account tokens, the issuer that they name, and the tokens of a file.
    #[must_use]
    pub fn new(keys: Arc<Keys>, issuer: &str, tokens: StaticTokens) -> Self {
        Self { keys, issuer: issuer.into(), tokens, verified: VerifiedTokens::default() }
    }

    /// Who signs service-account tokens. It is also the audience of the API itself.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The keys of service-account tokens.
    #[must_use]
    pub const fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Whom a certificate that the TLS layer verified names. `der` is the leaf.
    #[must_use]
    pub fn certificate(&self, der: &[u8]) -> Option<UserInfo> {
        let subject = knarr_pki::certificate::subject(der).ok().filter(|s| !s.common_name.is_empty())?;
        let mut groups = subject.organizations;
        // A certificate of a node is what it got when it joined: it runs the agent, and serves traffic.
        if groups.iter().any(|group| group == NODES) {
            groups.push(SERVING_NODES.into());
        }
        groups.push(AUTHENTICATED.into());
        let id = format!("X509SHA256={}", knarr_pki::certificate::fingerprint(der));
        let extra = [(CREDENTIAL_ID.to_owned(), vec![id])].into();
        Some(UserInfo { name: subject.common_name, groups, extra, ..UserInfo::default() })
    }

    /// Who shows this bearer token; `audiences` are whom it may be for.
    ///
    /// # Errors
    /// [`Unauthenticated`] says why it proves nothing.
    pub fn token(
        &self,
        token: &str,
        audiences: &[&str],
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<Known, Unauthenticated> {
        let own: Vec<_> =
            audiences.iter().filter(|audience| **audience == self.issuer).map(|a| (*a).to_owned()).collect();
        // Tokens that name no audience are for the API alone.
        let for_the_api =
            |user| if own.is_empty() { None } else { Some(Known { user, audiences: own.clone(), used: None }) };
        if let Some(user) = self.tokens.user(token) {
            return for_the_api(user.clone()).ok_or(Unauthenticated::Unknown);
        }
        if let Some((id, secret)) = token.split_once('.').filter(|(id, rest)| id.len() == 6 && !rest.contains('.')) {
            return bootstrap(id, secret, objects, now).and_then(for_the_api).ok_or(Unauthenticated::Unknown);
        }
        let because = |why: String| Unauthenticated::Because(why);
        match &*self.verified.read(token, &self.keys, &self.issuer) {
            Token::Foreign => Err(Unauthenticated::Unknown),
            Token::Forged(why) => Err(because(why.clone())),
            Token::Bound(claims) => {
                let audiences = in_time_and_for(claims, audiences, now).map_err(because)?;
                Ok(Known { user: service_account(claims, objects, now).map_err(because)?, audiences, used: None })
            }
            Token::Legacy(claims) => {
                let (user, used) = legacy(claims, token, objects, now).map_err(because)?;
                let known = for_the_api(user).ok_or(Unauthenticated::Unknown)?;
                Ok(Known { used: used.then(|| (claims.namespace.clone(), claims.secret.clone())), ..known })
            }
        }
    }
}

/// The audiences that are asked for and that the token is for.
fn in_time_and_for(claims: &Claims, audiences: &[&str], now: Timestamp) -> Result<Vec<String>, String> {
    if now.as_second() >= claims.exp {
        return Err("service account token has expired".into());
    }
    if now.as_second() < claims.nbf {
        return Err("service account token is not valid yet".into());
    }
    let shared: Vec<_> =
        audiences.iter().filter(|a| claims.aud.iter().any(|b| b == *a)).map(|a| (*a).to_owned()).collect();
    if shared.is_empty() {
        let (own, wanted) = (crate::rbac::quoted(&claims.aud), quoted(audiences));
        return Err(format!("token audiences {own} is invalid for the target audiences {wanted}"));
    }
    Ok(shared)
}

fn quoted(list: &[&str]) -> String {
    crate::rbac::quoted(&list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
}

const INVALIDATED: &str = "service account token has been invalidated";

/// Whether an object was marked for deletion long enough ago.
fn is_over(object: &Value, now: Timestamp) -> bool {
    let marked = object["metadata"]["deletionTimestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    marked.is_some_and(|at| at + LEEWAY < now)
}

/// The account of a token whose signature holds, if it and what the token is bound to still are there.
fn service_account(claims: &Claims, objects: &dyn Objects, now: Timestamp) -> Result<UserInfo, String> {
    let bound = &claims.kubernetes;
    let (namespace, own) = (&bound.namespace, &bound.serviceaccount);
    let account = account(objects, namespace, own, now)?;
    let node_bound = bound.node.as_ref().filter(|_| bound.pod.is_none());
    for (resource, place, what, wanted) in [
        ("secrets", namespace.as_str(), "secret", bound.secret.as_ref()),
        ("pods", namespace, "pod", bound.pod.as_ref()),
        ("nodes", "", "node", node_bound),
    ] {
        let Some(wanted) = wanted else { continue };
        let object = objects.core(resource, place, &wanted.name).filter(|object| !is_over(object, now));
        let object = object.ok_or(INVALIDATED)?;
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        if uid != wanted.uid {
            return Err(format!("{what} UID ({uid}) does not match service account {what} ref claim ({})", wanted.uid));
        }
    }
    let mut user = UserInfo::service_account(namespace, &own.name);
    user.uid = account;
    if !claims.jti.is_empty() {
        user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
    }
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    for (what, object) in [("node", &bound.node), ("pod", &bound.pod)] {
        let Some(object) = object else { continue };
        extra(&format!("{what}-name"), &object.name);
        if !object.uid.is_empty() {
            extra(&format!("{what}-uid"), &object.uid);
        }
    }
    Ok(user)
}

/// The uid of an account that is there and is the one that a token names.
fn account(objects: &dyn Objects, namespace: &str, wanted: &ObjectName, now: Timestamp) -> Result<String, String> {
    let account = objects.core("serviceaccounts", namespace, &wanted.name);
    let account = account.ok_or_else(|| format!("serviceaccounts {:?} not found", wanted.name))?;
    if is_over(&account, now) {
        return Err(INVALIDATED.into());
    }
    let uid = account["metadata"]["uid"].as_str().unwrap_or_default();
    if uid != wanted.uid {
        return Err(format!("service account UID ({uid}) does not match claim ({})", wanted.uid));
    }
    Ok(uid.to_owned())
}

/// The account of a token that a secret holds: it counts while the secret holds it. Also whether the secret
/// does not say yet that it was used today.
fn legacy(
    claims: &LegacyClaims,
    token: &str,
    objects: &dyn Objects,
    now: Timestamp,
) -> Result<(UserInfo, bool), String> {
    let secret = objects.core("secrets", &claims.namespace, &claims.secret);
    let secret = secret.ok_or("Token has been invalidated")?;
    if !secret["metadata"]["deletionTimestamp"].is_null() {
        return Err("Token has been invalidated".into());
    }
    let held = secret["data"]["token"].as_str().and_then(|data| STANDARD.decode(data).ok()).unwrap_or_default();
    if verify_slices_are_equal(&held, token.as_bytes()).is_err() {
        return Err("Token does not match server's copy".into());
    }
    let wanted = ObjectName { name: claims.account.clone(), uid: claims.account_uid.clone() };
    let uid = account(objects, &claims.namespace, &wanted, now)?;
    let labels = &secret["metadata"]["labels"];
    if labels[INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty()) {
        let LegacyClaims { namespace, secret, account, .. } = claims;
        return Err(format!(
            "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. \
             Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the \
             '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    // Tomorrow is what a server with another clock wrote.
    let days = [day(now), day(now + SignedDuration::from_hours(24))];
    let used = labels[LAST_USED].as_str().is_none_or(|last| days.iter().all(|day| day != last));
    Ok((UserInfo { uid, ..UserInfo::service_account(&claims.namespace, &claims.account) }, used))
}

/// <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>
fn bootstrap(id: &str, secret: &str, objects: &dyn Objects, now: Timestamp) -> Option<UserInfo> {
    let object = objects.core("secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    let field = |name: &str| {
        let bytes = STANDARD.decode(object["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let is_token =
        object["type"] == "bootstrap.kubernetes.io/token" && object["metadata"]["deletionTimestamp"].is_null();
    let expected = field("token-secret").filter(|secret| !secret.is_empty())?;
    let same = verify_slices_are_equal(expected.as_bytes(), secret.as_bytes()).is_ok();
    let expired = field("expiration").is_some_and(|e| e.parse::<Timestamp>().map_or(true, |at| at <= now));
    let may = field("usage-bootstrap-authentication").is_some_and(|u| u == "true");
    if !is_token || field("token-id").is_some_and(|own| own != id) || !same || expired || !may {
        return None;
    }
    let extra = field("auth-extra-groups").unwrap_or_default();
    let extra = extra.split(',').map(str::trim).filter(|g| g.starts_with("system:bootstrappers:"));
    let groups: Vec<_> = ["system:bootstrappers"].into_iter().chain(extra).collect();
    Some(UserInfo::new(&format!("system:bootstrap:{id}"), &groups))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    const ISSUER: &str = "https://issuer";

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
        let tokens = StaticTokens::parse("sesame,jane,1").unwrap();
        (folder, Authenticator::new(Arc::new(keys), ISSUER, tokens))
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
        let user = a.token("abcdef.0123456789abcdef", &[ISSUER], &table("1971-01-01T00:00:00Z"), now).unwrap().user;
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:x", AUTHENTICATED]);
        for (token, expiration) in [
            ("abcdef.0123456789abcdeX", "1971-01-01T00:00:00Z"),
            ("abcdef.0123456789abcdef", "1969-01-01T00:00:00Z"),
            ("zzzzzz.0123456789abcdef", "1971-01-01T00:00:00Z"),
        ] {
            assert!(a.token(token, &[ISSUER], &table(expiration), now).is_err(), "{token} {expiration}");
        }
    }

    #[test]
    fn a_token_of_the_file_is_for_the_api_alone() {
        let (_folder, a) = authenticator();
        let known = |audience| a.token("sesame", &[audience], &Table(vec![]), Timestamp::UNIX_EPOCH);
        assert_eq!(known(ISSUER).unwrap().user.name, "jane");
        assert_eq!(known("vault"), Err(Unauthenticated::Unknown));
    }

    #[test]
    fn a_service_account_token_ends_with_what_it_is_bound_to() {
        let (_folder, a) = authenticator();
        let name = |n: &str| ObjectName { name: n.into(), uid: format!("{n}-uid") };
        let claims = Claims {
            aud: vec!["api".into()],
            exp: 100,
            iss: ISSUER.into(),
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
        let check = |objects: Vec<_>, audience: &str, second: i64| {
            let now = Timestamp::from_second(second).unwrap();
            a.token(&token, &["other", audience], &Table(objects), now).map_err(|e| e.to_string())
        };
        let known = check(vec![account.clone(), pod("p-uid")], "api", 0).unwrap();
        assert_eq!(known.user.name, "system:serviceaccount:n:sa");
        assert_eq!(known.user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(known.audiences, ["api"]);
        for (objects, audience, second, want) in [
            (vec![account.clone(), pod("p-uid")], "api", 100, "service account token has expired"),
            (vec![account.clone()], "api", 0, INVALIDATED),
            (vec![pod("p-uid")], "api", 0, "serviceaccounts \"sa\" not found"),
            (
                vec![account.clone(), pod("q-uid")],
                "api",
                0,
                "pod UID (q-uid) does not match service account pod ref claim (p-uid)",
            ),
            (
                vec![account.clone(), pod("p-uid")],
                "vault",
                0,
                r#"token audiences ["api"] is invalid for the target audiences ["other" "vault"]"#,
            ),
        ] {
            assert_eq!(check(objects, audience, second), Err(format!("[invalid bearer token, {want}]")));
        }
    }

    #[test]
    fn a_legacy_token_counts_while_its_secret_holds_it() {
        let (_folder, a) = authenticator();
        let claims =
            LegacyClaims { namespace: "n".into(), secret: "s".into(), account: "sa".into(), account_uid: "u".into() };
        let token = a.keys().sign_legacy(&claims).unwrap();
        let account = ("serviceaccounts/n/sa", json!({"metadata": {"uid": "u"}}));
        let secret = |token: &str| ("secrets/n/s", json!({"metadata": {}, "data": {"token": STANDARD.encode(token)}}));
        let check = |objects| a.token(&token, &[ISSUER], &Table(objects), Timestamp::UNIX_EPOCH);
        assert_eq!(check(vec![account.clone(), secret(&token)]).unwrap().user.name, "system:serviceaccount:n:sa");
        assert!(check(vec![account.clone(), secret("another")]).is_err());
        assert!(check(vec![account]).is_err());
    }
}
