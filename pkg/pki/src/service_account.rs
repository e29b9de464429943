// SPDX-License-Identifier: Apache-2.0
//! Tokens of service accounts: JWTs signed with the cluster's ES256 key.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>

use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::PkiError;
use crate::files::read_or_create;

/// What a token says. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    pub aud: Vec<String>,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// Its own id.
    pub jti: String,
    /// What Kubernetes adds.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    /// From when on it counts.
    pub nbf: i64,
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub sub: String,
}

/// Which account a token is for, and which objects it ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The account's namespace.
    pub namespace: String,
    /// The node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<ObjectName>,
    /// The pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<ObjectName>,
    /// The secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<ObjectName>,
    /// The account.
    pub serviceaccount: ObjectName,
    /// Before this it was to be renewed already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// What the token of a secret says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LegacyClaims {
    /// The account's namespace.
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    /// The secret that holds the token.
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    /// The account.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    /// Its `metadata.uid`.
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub account_uid: String,
}

/// What a bearer token turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// No service account's of this cluster.
    Foreign,
    /// It says that it is this cluster's, and is not.
    Forged(String),
    /// One that was asked for.
    Bound(Box<Claims>),
    /// One that a secret holds.
    Legacy(LegacyClaims),
}

/// Who signs the tokens of secrets.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// Who a token says signed it. Proves nothing.
fn issuer_of(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

/// The key that signs and checks tokens.
pub struct Keys {
    id: String,
    public: Vec<u8>,
    signing: EncodingKey,
    checking: DecodingKey,
}

impl Keys {
    /// The key in `folder` (`service-account.key`), made there on first use.
    ///
    /// # Errors
    /// When the file cannot be read, written or understood.
    pub fn load_or_create(folder: &Path) -> Result<Self, PkiError> {
        let bad = |e: &dyn std::fmt::Display| PkiError::malformed("the service-account key", e);
        let make = || {
            let key = rcgen::KeyPair::generate().map_err(|e| bad(&e))?;
            Ok(key.serialize_pem())
        };
        let text = read_or_create(&folder.join("service-account.key"), make)?;
        let der = pem::parse(&text).map_err(|e| bad(&e))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.contents()).map_err(|e| bad(&e))?;
        let public = pair.public_key().as_ref().to_vec();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public);
        let (x, y) = coordinates(&public);
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(digest),
            signing: EncodingKey::from_ec_der(der.contents()),
            checking: DecodingKey::from_ec_components(&x, &y).map_err(|e| bad(&e))?,
            public,
        })
    }

    /// The token that says `claims`.
    ///
    /// # Errors
    /// [`PkiError::ServiceAccountToken`] when it cannot be signed.
    pub fn sign(&self, claims: &Claims) -> Result<String, PkiError> {
        let header = Header { typ: None, kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|e| PkiError::ServiceAccountToken(e.to_string()))
    }

    /// The token that a secret holds: without an end.
    ///
    /// # Errors
    /// [`PkiError::ServiceAccountToken`] when it cannot be signed.
    pub fn sign_legacy(&self, claims: &LegacyClaims) -> Result<String, PkiError> {
        let header = Header { typ: None, kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        let flat = serde_json::json!({
            "iss": LEGACY_ISSUER,
            "kubernetes.io/serviceaccount/namespace": claims.namespace,
            "kubernetes.io/serviceaccount/secret.name": claims.secret,
            "kubernetes.io/serviceaccount/service-account.name": claims.account,
            "kubernetes.io/serviceaccount/service-account.uid": claims.account_uid,
            "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.account),
        });
        jsonwebtoken::encode(&header, &flat, &self.signing).map_err(|e| PkiError::ServiceAccountToken(e.to_string()))
    }

    /// What a token says, if this cluster made it. When and for whom it counts is the caller's to compare.
    #[must_use]
    pub fn read(&self, token: &str, issuer: &str) -> Token {
        match issuer_of(token).as_deref() {
            Some(named) if named == issuer => match self.verified(token) {
                Ok(claims) => Token::Bound(Box::new(claims)),
                Err(why) => Token::Forged(why),
            },
            Some(LEGACY_ISSUER) => match self.verified(token) {
                Ok(claims) => Token::Legacy(claims),
                Err(why) => Token::Forged(why),
            },
            _ => Token::Foreign,
        }
    }

    fn verified<T: serde::de::DeserializeOwned>(&self, token: &str) -> Result<T, String> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &self.checking, &validation).map(|token| token.claims).map_err(|e| e.to_string())
    }

    /// The public key as a JWKS document, for `/openid/v1/jwks`.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        let (x, y) = coordinates(&self.public);
        serde_json::json!({"keys": [
            {"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y},
        ]})
    }
}

/// The coordinates of an uncompressed point, as JWKs have them.
fn coordinates(point: &[u8]) -> (String, String) {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len().saturating_sub(1) / 2);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

    fn claims() -> Claims {
        Claims {
            aud: vec!["api".into()],
            exp: 200,
            nbf: 100,
            iat: 100,
            iss: ISSUER.into(),
            sub: "system:serviceaccount:n:a".into(),
            ..Claims::default()
        }
    }

    #[test]
    fn what_this_cluster_signed_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(folder.path()).unwrap();
        let again = Keys::load_or_create(folder.path()).unwrap();
        let token = keys.sign(&claims()).unwrap();
        assert_eq!(again.read(&token, ISSUER), Token::Bound(Box::new(claims())));
        assert_eq!(again.read(&token, "https://elsewhere"), Token::Foreign);
        let legacy = LegacyClaims { namespace: "n".into(), account: "a".into(), ..LegacyClaims::default() };
        assert_eq!(again.read(&keys.sign_legacy(&legacy).unwrap(), ISSUER), Token::Legacy(legacy));
    }

    #[test]
    fn what_another_key_signed_is_forged() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let token = Keys::load_or_create(a.path()).unwrap().sign(&claims()).unwrap();
        let other = Keys::load_or_create(b.path()).unwrap();
        assert!(matches!(other.read(&token, ISSUER), Token::Forged(_)));
        assert_eq!(other.read("a.b.c", ISSUER), Token::Foreign);
    }
}
