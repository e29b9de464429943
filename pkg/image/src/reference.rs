// SPDX-License-Identifier: Apache-2.0

//! Names of images: `[registry/]path[:tag][@digest]`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::error::Error;

/// A name in its full form: registry and path always, tag or digest always.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`, ...
    pub registry: String,
    /// `library/nginx`, ...
    pub repository: String,
    /// The tag, when no digest pins the content.
    pub tag: Option<String>,
    /// `sha256:...`.
    pub digest: Option<String>,
}

/// The registry of names that have none.
const HUB: &str = "docker.io";
/// What the same registry was called once.
const HUB_LEGACY: &str = "index.docker.io";
/// A repository's name has at most so many bytes, a tag too.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

impl FromStr for Reference {
    type Err = Error;

    /// Short names get `docker.io`, `library/` and `latest`, as everywhere. The grammar is that of the distribution
    /// project's references; it is read by hand, because a regular expression for it costs 7 MiB for good.
    fn from_str(text: &str) -> Result<Reference, Error> {
        parse(text).map_err(|reason| Error::InvalidName { name: text.to_owned(), reason: reason.to_owned() })
    }
}

const ILL_FORMED: &str = "invalid reference format";

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("repository name must have at least one component");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    digest.map_or(Ok(()), check_digest)?;
    let path = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path..].split_once(':') {
        Some((last, tag)) => (&rest[..path + last.len()], Some(tag)),
        None => (rest, None),
    };
    if !tag.is_none_or(is_tag) {
        return Err(ILL_FORMED);
    }
    let (registry, repository) = split_registry(name)?;
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("repository name must be lowercase");
    }
    if repository.len() > LONGEST_REPOSITORY {
        return Err("repository name must not be more than 255 characters");
    }
    if !repository.split('/').all(is_component) {
        return Err(ILL_FORMED);
    }
    let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
    Ok(Reference { registry, repository, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
}

/// What is before the first slash is a registry if it looks like a host; names without one are of [`HUB`], where those
/// of one component are in `library/`.
fn split_registry(name: &str) -> Result<(String, String), &'static str> {
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (HUB, name),
    };
    if !is_host(registry) {
        return Err(ILL_FORMED);
    }
    let registry = if registry == HUB_LEGACY { HUB } else { registry };
    let library = if registry == HUB && !path.contains('/') { "library/" } else { "" };
    Ok((registry.to_owned(), format!("{library}{path}")))
}

/// `domain-name[:port]`, or an IPv6 address in brackets in place of the name.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_port)
}

/// Lower-case letters and digits, with separators between them: one dot, one or two underscores, or any number of
/// hyphens.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(|b| is_word(*b));
    let separators = bytes.split(|b| is_word(*b)).filter(|between| !between.is_empty());
    let is_separator = |between: &[u8]| matches!(between, b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-');
    ends(bytes.first()) && ends(bytes.last()) && separators.into_iter().all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = text.bytes().next().is_some_and(is_word);
    first && text.len() <= LONGEST_TAG && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

/// `algorithm:hex`, of an algorithm that images use.
fn check_digest(text: &str) -> Result<(), &'static str> {
    let (algorithm, hex) = text.split_once(':').ok_or(ILL_FORMED)?;
    if hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ILL_FORMED);
    }
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm"),
    };
    if hex.len() == length { Ok(()) } else { Err("invalid checksum digest length") }
}

impl Reference {
    /// `registry/repository`, the part that does not change with the content.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let table = [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("nginx:1.27", "docker.io/library/nginx:1.27".to_owned()),
            ("a/b", "docker.io/a/b:latest".to_owned()),
            ("localhost:5000/x:y", "localhost:5000/x:y".to_owned()),
            ("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest".to_owned()),
            (&format!("r.io/x@{digest}"), format!("r.io/x@{digest}")),
            (&format!("r.io/x:1@{digest}"), format!("r.io/x:1@{digest}")),
            ("index.docker.io/x", "docker.io/library/x:latest".to_owned()),
            ("R.io:5000/a__b.c---d/e:V1_2.3-x", "R.io:5000/a__b.c---d/e:V1_2.3-x".to_owned()),
            ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
            ("[fe80::1]/x:y", "[fe80::1]/x:y".to_owned()),
        ];
        for (short, full) in table {
            assert_eq!(short.parse::<Reference>().unwrap().to_string(), full, "{short}");
        }
    }

    #[test]
    fn bad_names_say_so() {
        let long_tag = format!("x:{}", "t".repeat(129));
        let long_name = "a/".repeat(127) + "bcd";
        let names = [
            "",
            "UPPER/case",
            "a b",
            "x:",
            "x@sha256:1",
            "x@",
            "/x",
            "x/",
            "a//b",
            "r.io/",
            "-r.io/x",
            "r-.io/x",
            "r..io/x",
        ];
        let more =
            ["r.io:/x", "r.io:a/x", "a..b", "a___b", "a._b", "a_", "_a", "x:.y", "x:a b", "x@@", "[::g]/x", "ä", "x:ä"];
        let digests = ["x@md5:0123456789abcdef0123456789abcdef", "x@sha256:0123456789abcdef0123456789abcdef"];
        for bad in names.into_iter().chain(more).chain(digests).chain([long_tag.as_str(), &long_name]) {
            let error = bad.parse::<Reference>().unwrap_err();
            assert!(error.to_string().starts_with("invalid image name"), "{bad}: {error}");
        }
    }
}
