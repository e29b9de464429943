// SPDX-License-Identifier: Apache-2.0

//! `registries.yaml`: mirrors, credentials and TLS by registry, in k3s' format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

use crate::credentials::{Credentials, decode_auth};
use crate::error::Error;
use crate::reference::Reference;

/// The file's content. Unknown keys are errors, so that a typo is not ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registries {
    /// By registry; `*` is for all without an entry of their own.
    pub mirrors: BTreeMap<String, Mirror>,
    /// By host of an endpoint; `*` is for all without an entry of their own.
    pub configs: BTreeMap<String, RegistryConfig>,
}

/// Where else a registry's images are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// Tried in order; the registry itself comes last.
    #[serde(alias = "endpoints")]
    pub endpoint: Vec<String>,
    /// Regular expressions on the repository, and what to make of it; `$1` stands for a group.
    pub rewrite: BTreeMap<String, String>,
}

/// How to talk to a registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// Credentials.
    pub auth: Option<Auth>,
    /// TLS.
    pub tls: Option<Tls>,
}

/// Credentials of a registry.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// User.
    pub username: String,
    /// Password.
    pub password: String,
    /// base64 of `user:password`.
    pub auth: String,
    /// A token instead.
    #[serde(alias = "identityToken")]
    pub identity_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(..)") // never in a log
    }
}

/// TLS of a registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// CA certificates, PEM.
    pub ca_file: Option<PathBuf>,
    /// Client certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// Trust anyone.
    pub insecure_skip_verify: bool,
}

/// One place to ask for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Plain HTTP.
    pub plain_http: bool,
    /// `host[:port]`.
    pub host: String,
    /// The repository there, prefix of the endpoint included.
    pub repository: String,
}

impl Mirror {
    /// The repository's name at the mirror: the first pattern that matches says.
    fn rewrite(&self, repository: &str) -> String {
        self.rewrite
            .iter()
            .filter_map(|(pattern, to)| Some((Regex::new(pattern).ok()?, to)))
            .find(|(pattern, _)| pattern.is_match(repository))
            .map_or_else(
                || repository.to_owned(),
                |(pattern, to)| pattern.replace(repository, to.as_str()).into_owned(),
            )
    }
}

impl Registries {
    /// Reads the file; a file that is not there is an empty one.
    pub fn load(path: &Path) -> Result<Registries, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                Registries::parse(&text).map_err(|reason| Error::Malformed { what: path.display().to_string(), reason })
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Registries::default()),
            Err(e) => Err(Error::io("cannot read", path)(e)),
        }
    }

    /// Parses the file's text.
    pub fn parse(text: &str) -> Result<Registries, String> {
        if text.trim().is_empty() {
            return Ok(Registries::default());
        }
        let parsed: Registries = serde_norway::from_str(text).map_err(|e| e.to_string())?;
        for endpoint in parsed.mirrors.values().flat_map(|m| &m.endpoint) {
            split_endpoint(endpoint)
                .ok_or_else(|| format!("endpoint {endpoint:?} is no address: want http(s)://HOST[:PORT][/PATH]"))?;
        }
        for pattern in parsed.mirrors.values().flat_map(|m| m.rewrite.keys()) {
            Regex::new(pattern).map_err(|e| format!("rewrite {pattern:?} is no regular expression: {e}"))?;
        }
        let is_half =
            |c: &RegistryConfig| c.tls.as_ref().is_some_and(|t| t.cert_file.is_some() != t.key_file.is_some());
        if let Some((host, _)) = parsed.configs.iter().find(|(_, c)| is_half(c)) {
            return Err(format!("configs of {host}: a client certificate takes both cert_file and key_file"));
        }
        Ok(parsed)
    }

    /// The places to ask for an image, in order, the registry itself last.
    pub fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let mirror = self.mirrors.get(&image.registry).or_else(|| self.mirrors.get("*"));
        let rewritten = mirror.map_or_else(|| image.repository.clone(), |m| m.rewrite(&image.repository));
        let mut endpoints: Vec<Endpoint> = mirror
            .into_iter()
            .flat_map(|m| &m.endpoint)
            .filter_map(|e| split_endpoint(e))
            .map(|(plain_http, host, prefix)| Endpoint {
                plain_http,
                host: host.to_owned(),
                repository: join(prefix, &rewritten),
            })
            .collect();
        let own_host = match image.registry.as_str() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        if !endpoints.iter().any(|e| e.host == own_host) {
            endpoints.push(Endpoint {
                plain_http: is_loopback(own_host),
                host: own_host.to_owned(),
                repository: image.repository.clone(),
            });
        }
        endpoints
    }

    /// The credentials for an endpoint.
    pub fn credentials(&self, host: &str) -> Result<Option<Credentials>, Error> {
        let Some(auth) = self.config(host).and_then(|c| c.auth.as_ref()) else { return Ok(None) };
        if !auth.auth.is_empty() {
            return decode_auth(&auth.auth).map(Some);
        }
        if !auth.identity_token.is_empty() {
            return Ok(Some(Credentials::Bearer(auth.identity_token.clone())));
        }
        Ok(Some(Credentials::Basic(auth.username.clone(), auth.password.clone())))
    }

    /// The TLS settings for an endpoint.
    pub fn tls(&self, host: &str) -> Option<&Tls> {
        self.config(host).and_then(|c| c.tls.as_ref())
    }

    fn config(&self, host: &str) -> Option<&RegistryConfig> {
        let by_name = |h: &str| self.configs.get(h);
        by_name(host)
            .or_else(|| (host == "registry-1.docker.io").then(|| by_name("docker.io")).flatten())
            .or_else(|| by_name("*"))
    }
}

/// A registry on loopback is asked over plain HTTP, as by other runtimes.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}

fn join(prefix: &str, repository: &str) -> String {
    if prefix.is_empty() { repository.to_owned() } else { format!("{prefix}/{repository}") }
}

/// (plain HTTP, host, path without `/v2`) of an endpoint.
fn split_endpoint(endpoint: &str) -> Option<(bool, &str, &str)> {
    let (plain_http, rest) = match endpoint.split_once("://") {
        Some(("http", rest)) => (true, rest),
        Some(("https", rest)) => (false, rest),
        Some(_) => return None,
        None => (is_loopback(endpoint.split('/').next().unwrap_or_default()), endpoint),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    let path = path.strip_prefix("v2").map_or(path, |p| p.trim_start_matches('/'));
    (!host.is_empty() && !host.contains(char::is_whitespace)).then_some((plain_http, host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
mirrors:
  docker.io:
    endpoint:
      - "http://mirror.local:5000"
      - "https://cache.example/v2/hub"
  "*":
    endpoint: ["https://all.example"]
  quay.io:
    endpoint: ["https://all.example"]
    rewrite: {"^(a)/(.*)$": "mirror/$1-$2"}
configs:
  "mirror.local:5000":
    auth: {username: u, password: p}
  docker.io:
    auth: {auth: "dTpw"}
  "cache.example":
    tls: {ca_file: /ca.pem, insecure_skip_verify: true}
"#;

    fn asked(name: &str) -> Vec<(bool, String)> {
        let registries = Registries::parse(FILE).unwrap();
        let endpoints = registries.endpoints(&name.parse().unwrap());
        endpoints.into_iter().map(|e| (e.plain_http, format!("{}/{}", e.host, e.repository))).collect()
    }

    #[test]
    fn mirrors_come_in_order_and_the_registry_last() {
        let table: [(&str, &[(bool, &str)]); 4] = [
            (
                "nginx",
                &[
                    (true, "mirror.local:5000/library/nginx"),
                    (false, "cache.example/hub/library/nginx"),
                    (false, "registry-1.docker.io/library/nginx"),
                ],
            ),
            ("quay.io/a/b", &[(false, "all.example/mirror/a-b"), (false, "quay.io/a/b")]),
            ("ghcr.io/a/b", &[(false, "all.example/a/b"), (false, "ghcr.io/a/b")]),
            ("127.0.0.1:5000/x", &[(false, "all.example/x"), (true, "127.0.0.1:5000/x")]),
        ];
        for (name, want) in table {
            let want: Vec<_> = want.iter().map(|(p, s)| (*p, (*s).to_owned())).collect();
            assert_eq!(asked(name), want, "{name}");
        }
    }

    #[test]
    fn settings_go_by_endpoint() {
        let registries = Registries::parse(FILE).unwrap();
        let login = |h: &str| registries.credentials(h).unwrap();
        assert_eq!(login("mirror.local:5000"), Some(Credentials::Basic("u".to_owned(), "p".to_owned())));
        assert!(login("registry-1.docker.io").is_some());
        assert_eq!(login("cache.example"), None);
        assert!(registries.tls("cache.example").unwrap().insecure_skip_verify);
    }

    #[test]
    fn typos_are_errors_that_name_the_key() {
        let error = Registries::parse("mirors: {}").unwrap_err();
        assert!(error.contains("mirors"), "{error}");
        let error = Registries::parse("mirrors: {a: {endpoint: ['ftp://x']}}").unwrap_err();
        assert!(error.contains("ftp://x"), "{error}");
        let error = Registries::parse("mirrors: {a: {rewrite: {'(': b}}}").unwrap_err();
        assert!(error.contains("\"(\" is no regular expression"), "{error}");
        let error = Registries::parse("configs: {a: {tls: {cert_file: /c}}}").unwrap_err();
        assert!(error.contains("configs of a: a client certificate takes both"), "{error}");
    }
}
