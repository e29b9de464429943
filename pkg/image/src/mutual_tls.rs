// SPDX-License-Identifier: Apache-2.0

//! A registry that wants a certificate of its clients: what of the distribution protocol pulling takes, over a
//! connection that has one. oci-client, which asks all other registries, has no way to give one.

use std::io;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use knarr_types::with_causes;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::manifest::ACCEPTED;
use crate::pull::{CONNECT_PATIENCE, DOCUMENT_BYTES_MAX, READ_PATIENCE};
use crate::registries::{Endpoint, Tls};

/// One repository of a registry.
pub(crate) struct MutualTls {
    client: Client,
    endpoint: Endpoint,
    auth: RegistryAuth,
    /// What the registry's token server gave for this repository.
    token: Mutex<Option<String>>,
    /// The image's own name, for messages.
    name: String,
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    #[serde(alias = "access_token")]
    token: String,
}

impl MutualTls {
    /// A client with the certificate that `tls` names.
    pub fn new(endpoint: &Endpoint, tls: &Tls, auth: &RegistryAuth, name: &str) -> Result<Self> {
        let mut builder =
            Client::builder().connect_timeout(CONNECT_PATIENCE).read_timeout(READ_PATIENCE).https_only(true);
        let mut identity = Vec::new();
        for path in [&tls.cert_file, &tls.key_file].into_iter().flatten() {
            identity.extend(std::fs::read(path).map_err(Error::io("cannot read", path))?);
            identity.push(b'\n');
        }
        let malformed = |what: &str| {
            let what = format!("the {what} for {} in registries.yaml", endpoint.host);
            move |error: reqwest::Error| Error::Malformed { what, reason: with_causes(&error) }
        };
        let identity = reqwest::Identity::from_pem(&identity).map_err(malformed("client certificate or its key"))?;
        builder = builder.identity(identity).tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
        if let Some(path) = &tls.ca_file {
            let text = std::fs::read(path).map_err(Error::io("cannot read", path))?;
            let roots = reqwest::Certificate::from_pem_bundle(&text).map_err(malformed("ca_file"))?;
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(malformed("tls"))?;
        let (endpoint, auth, name) = (endpoint.clone(), auth.clone(), name.to_owned());
        Ok(Self { client, endpoint, auth, token: Mutex::default(), name })
    }

    /// The bytes of a manifest, by tag or digest.
    pub async fn manifest(&self, reference: &str) -> Result<Bytes> {
        let mut stream = self.get(&format!("manifests/{reference}")).await?.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| self.unreachable(&error))?);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                let (what, reason) = (format!("manifest of {}", self.name), "it is too long".to_owned());
                return Err(Error::Malformed { what, reason });
            }
        }
        Ok(bytes.into())
    }

    /// A blob in pieces, as they come.
    pub async fn blob(&self, digest: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        let stream = self.get(&format!("blobs/{digest}")).await?.bytes_stream();
        Ok(stream.map(|piece| piece.map_err(|error| io::Error::other(with_causes(&error)))).boxed())
    }

    async fn get(&self, path: &str) -> Result<Response> {
        let url = format!("https://{}/v2/{}/{path}", self.endpoint.host, self.endpoint.repository);
        let ask = || self.client.get(&url).header(ACCEPT, ACCEPTED.join(", "));
        let token = self.token.lock().await.clone();
        let answer = self.send(self.authorized(ask(), token.as_deref())).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.good(answer);
        }
        // A token for this repository may be what is missing; a new one where the last has run out.
        let challenge = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let Some(challenge) = challenge.and_then(Challenge::parse) else { return self.good(answer) };
        let token = self.fetch_token(&challenge).await?;
        let answer = self.send(self.authorized(ask(), Some(&token))).await?;
        *self.token.lock().await = Some(token);
        self.good(answer)
    }

    fn authorized(&self, request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
        match (token, &self.auth) {
            (Some(token), _) => request.bearer_auth(token),
            (None, RegistryAuth::Bearer(token)) => request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => request.basic_auth(user, Some(password)),
            (None, RegistryAuth::Anonymous) => request,
        }
    }

    async fn fetch_token(&self, challenge: &Challenge) -> Result<String> {
        let scope = format!("repository:{}:pull", self.endpoint.repository);
        let mut query = vec![("scope", scope.as_str())];
        query.extend(challenge.service.as_deref().map(|service| ("service", service)));
        let url = reqwest::Url::parse_with_params(&challenge.realm, query).map_err(|error| Error::Unauthorized {
            image: self.name.clone(),
            reason: format!("its token server {:?} is no URL: {error}", challenge.realm),
        })?;
        let answer = self.good(self.send(self.authorized(self.client.get(url), None)).await?)?;
        let bytes = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        let granted: Granted = serde_json::from_slice(&bytes).map_err(|_| Error::Unauthorized {
            image: self.name.clone(),
            reason: "its token server gives no token".to_owned(),
        })?;
        Ok(granted.token)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn good(&self, answer: Response) -> Result<Response> {
        let (image, status) = (self.name.clone(), answer.status());
        let reason = format!("it answers {status}");
        match status {
            StatusCode::NOT_FOUND => Err(Error::NotFound(image)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Unauthorized { image, reason }),
            status if !status.is_success() => Err(Error::Unreachable { image, reason }),
            _ => Ok(answer),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { image: self.name.clone(), reason: with_causes(error) }
    }
}

/// Where a registry sends its clients for a token.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Reads `Bearer realm="...",service="..."`; other schemes have none.
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.split_once(' ')?;
        let value = |key: &str| {
            let rest = rest.split_once(&format!("{key}=\""))?.1;
            Some(rest.split_once('"')?.0.to_owned())
        };
        scheme.eq_ignore_ascii_case("bearer").then_some(())?;
        Some(Self { realm: value("realm")?, service: value("service") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_challenges_name_a_token_server() {
        let parsed =
            Challenge::parse(r#"Bearer realm="https://auth.test/token",service="r",scope="repository:a:pull""#);
        let want = Challenge { realm: "https://auth.test/token".to_owned(), service: Some("r".to_owned()) };
        assert_eq!(parsed, Some(want));
        assert_eq!(Challenge::parse(r#"bearer realm="x""#).unwrap().service, None);
        for other in ["Basic realm=\"x\"", "Bearer", "Bearer service=\"x\"", ""] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }
}
