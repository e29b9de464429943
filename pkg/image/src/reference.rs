// SPDX-License-Identifier: Apache-2.0

//! Names of images: `[registry/]path[:tag][@digest]`.

use std::fmt;
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

impl FromStr for Reference {
    type Err = Error;

    /// Short names get `docker.io`, `library/` and `latest`, as everywhere.
    fn from_str(name: &str) -> Result<Reference, Error> {
        let invalid = |reason: String| Error::InvalidName { name: name.to_owned(), reason };
        let parsed: oci_client::Reference = name.parse().map_err(|e: oci_client::ParseError| invalid(e.to_string()))?;
        if parsed.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid("repository name must be lowercase".to_owned()));
        }
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if !parsed.repository().bytes().all(known) {
            return Err(invalid("it has characters that names cannot have".to_owned()));
        }
        Ok(Reference {
            registry: parsed.registry().to_owned(),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest: parsed.digest().map(str::to_owned),
        })
    }
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
        ];
        for (short, full) in table {
            assert_eq!(short.parse::<Reference>().unwrap().to_string(), full, "{short}");
        }
    }

    #[test]
    fn bad_names_say_so() {
        for bad in ["", "UPPER/case", "a b", "x:", "x@sha256:1"] {
            let error = bad.parse::<Reference>().unwrap_err();
            assert!(error.to_string().starts_with("invalid image name"), "{bad}: {error}");
        }
    }
}
