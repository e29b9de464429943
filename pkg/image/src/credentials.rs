// SPDX-License-Identifier: Apache-2.0

//! Credentials for registries, from pull secrets.

use base64::Engine;
use serde::Deserialize;
use std::collections::HashMap;

use crate::error::Error;
use crate::reference::Reference;

/// How to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User and password.
    Basic(String, String),
    /// A token that the registry takes as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)") // never in a log
    }
}

/// Credentials by registry or repository.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<(String, Credentials)>);

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, alias = "identityToken")]
    identitytoken: String,
    #[serde(default, alias = "registryToken")]
    registrytoken: String,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

impl Keyring {
    /// Adds the content of a `kubernetes.io/dockerconfigjson` Secret (`.dockerconfigjson`).
    pub fn add_docker_config_json(&mut self, json: &[u8]) -> Result<(), Error> {
        let config: DockerConfig = parse(json)?;
        self.add_all(config.auths)
    }

    /// Adds the content of a `kubernetes.io/dockercfg` Secret (`.dockercfg`).
    pub fn add_docker_cfg(&mut self, json: &[u8]) -> Result<(), Error> {
        let auths = parse(json)?;
        self.add_all(auths)
    }

    /// Adds credentials for a registry (`registry.example:5000`) or below it
    /// (`registry.example/team`).
    pub fn add(&mut self, place: &str, credentials: Credentials) {
        self.0.push((normal(place), credentials));
    }

    /// All that match the image, the most specific first.
    pub fn matching(&self, image: &Reference) -> Vec<Credentials> {
        let name = image.name();
        let mut found: Vec<_> = self.0.iter().filter(|(place, _)| covers(place, &name)).collect();
        found.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
        found.into_iter().map(|(_, credentials)| credentials.clone()).collect()
    }

    fn add_all(&mut self, auths: HashMap<String, Entry>) -> Result<(), Error> {
        for (place, entry) in auths {
            if let Some(credentials) = entry.credentials()? {
                self.add(&place, credentials);
            }
        }
        Ok(())
    }
}

impl Entry {
    fn credentials(self) -> Result<Option<Credentials>, Error> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::Bearer(self.registrytoken)));
        }
        if !self.username.is_empty() {
            return Ok(Some(Credentials::Basic(self.username, self.password)));
        }
        if self.auth.is_empty() {
            let token = self.identitytoken;
            return Ok((!token.is_empty()).then(|| Credentials::Basic("<token>".to_owned(), token)));
        }
        decode_auth(&self.auth).map(Some)
    }
}

/// Reads `base64(user:password)`, as in docker's config and in `registries.yaml`.
pub(crate) fn decode_auth(auth: &str) -> Result<Credentials, Error> {
    let malformed = || Error::Malformed {
        what: "the pull secret's auth".to_owned(),
        reason: "want base64 of user:password".to_owned(),
    };
    let trimmed = auth.trim().trim_end_matches('=');
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(trimmed).map_err(|_| malformed())?;
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let (user, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Credentials::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|e| Error::Malformed {
        what: "the pull secret".to_owned(),
        reason: format!("at line {} column {}", e.line(), e.column()), // never its content
    })
}

/// Docker writes `https://index.docker.io/v1/` where we say `docker.io`.
fn normal(place: &str) -> String {
    let bare = place.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare.split_once('/') {
        None if is_docker_hub(bare) => "docker.io".to_owned(),
        Some((host, path)) if is_docker_hub(host) => format!("docker.io/{path}"),
        _ => bare.to_owned(),
    }
}

fn is_docker_hub(host: &str) -> bool {
    matches!(host, "index.docker.io" | "registry-1.docker.io" | "docker.io")
}

/// Whether `place` (host with optional `*.` parts, and path) covers the image name.
fn covers(place: &str, name: &str) -> bool {
    let (place_host, place_path) = place.split_once('/').unwrap_or((place, ""));
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    let hosts_match = place_host.split('.').count() == host.split('.').count()
        && place_host.split('.').zip(host.split('.')).all(|(p, h)| p == "*" || p == h);
    let path_matches = place_path.is_empty()
        || path == place_path
        || path.strip_prefix(place_path).is_some_and(|rest| rest.starts_with('/'));
    hosts_match && path_matches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Credentials {
        Credentials::Basic(user.to_owned(), password.to_owned())
    }

    #[test]
    fn secrets_of_both_kinds_are_read() {
        let mut ring = Keyring::default();
        ring.add_docker_config_json(
            br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"r.io:5000":{"username":"a","password":"b"}}}"#,
        )
        .unwrap();
        ring.add_docker_cfg(br#"{"old.io":{"auth":"eDp5eg=="}}"#).unwrap();
        assert_eq!(ring.matching(&"nginx".parse().unwrap()), [basic("u", "p")]);
        assert_eq!(ring.matching(&"r.io:5000/x".parse().unwrap()), [basic("a", "b")]);
        assert_eq!(ring.matching(&"old.io/x".parse().unwrap()), [basic("x", "yz")]);
        assert_eq!(ring.matching(&"other.io/x".parse().unwrap()), []);
    }

    #[test]
    fn the_most_specific_place_comes_first() {
        let mut ring = Keyring::default();
        ring.add("*.r.io", basic("wild", ""));
        ring.add("eu.r.io/team", basic("team", ""));
        ring.add("eu.r.io/tea", basic("other", ""));
        let found = ring.matching(&"eu.r.io/team/app:1".parse().unwrap());
        assert_eq!(found, [basic("team", ""), basic("wild", "")]);
    }

    #[test]
    fn errors_and_debug_show_no_secret() {
        let error = Keyring::default().add_docker_cfg(b"{\"r.io\":{\"password\": s3cret}}");
        assert!(!error.unwrap_err().to_string().contains("s3cret"));
        assert!(!format!("{:?}", basic("u", "s3cret")).contains("s3cret"));
    }
}
