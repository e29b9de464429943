// SPDX-License-Identifier: Apache-2.0

//! The names of images, as far as defaults ask: is it a name at all, and which tag does it mean
//! (`github.com/distribution/reference`).

/// The longest name of a repository, its registry's address included.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The tag that a name means: `latest` where it has neither tag nor digest, none where it is no name.
pub fn tag(image: &str) -> Option<&str> {
    if image.len() == 64 && image.bytes().all(is_lower_hex) {
        return None;
    }
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if !digest.is_none_or(is_digest) {
        return None;
    }
    let (domain, rest) = split_domain(name);
    let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
    // The registry that is meant where none is named has names of two parts.
    let implied = match domain {
        Some(domain) => domain.len() + 1,
        None if path.contains('/') => "docker.io/".len(),
        None => "docker.io/library/".len(),
    };
    let valid = domain.is_none_or(is_domain)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && implied + path.len() <= NAME_MAX;
    valid.then(|| tag.unwrap_or(if digest.is_some() { "" } else { "latest" }))
}

/// A first part that looks like a host is one.
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let six = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match six {
        Some(address) => !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(is_host_label),
    };
    is_host && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_host_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Letters and digits, with single dots, one or two underscores, or any number of hyphens between them.
fn is_component(part: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(is_letter).filter(|between| !between.is_empty());
    part.starts_with(is_letter)
        && part.ends_with(is_letter)
        && separators
            .into_iter()
            .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// Of the algorithms that are known, as many digits as they have.
fn is_digest(digest: &str) -> bool {
    let lengths = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
    digest
        .split_once(':')
        .is_some_and(|(algorithm, hex)| lengths.contains(&(algorithm, hex.len())) && hex.bytes().all(is_lower_hex))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_tag_or_is_none() {
        let hash = "a".repeat(64);
        let long = "a".repeat(238);
        for (image, want) in [
            ("nginx", Some("latest")),
            ("nginx:latest", Some("latest")),
            ("nginx:1.27", Some("1.27")),
            ("registry:5000/nginx", Some("latest")),
            ("registry:5000/nginx:1", Some("1")),
            ("[2001:db8::1]:5000/a/b", Some("latest")),
            ("Host/a", Some("latest")),
            ("a__b/c--d.e", Some("latest")),
            (&format!("nginx@sha256:{hash}"), Some("")),
            (&format!("nginx:latest@sha256:{hash}"), Some("latest")),
            ("nginx@sha256:abc", None),
            ("1Gi", None),
            ("", None),
            ("a..b", None),
            ("a/", None),
            ("http://x", None),
            ("nginx:", None),
            ("a b", None),
            (&hash, None),
            (&long, None),
        ] {
            assert_eq!(tag(image), want, "{image}");
        }
    }
}
