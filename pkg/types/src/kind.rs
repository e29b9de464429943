// SPDX-License-Identifier: Apache-2.0
//! The names by which the API speaks of kinds.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#standard-api-terminology>

use std::fmt;
use std::sync::Arc;

/// A group with one of its versions; the core group is the empty string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// `""` for the core group, `apps`, `networking.k8s.io`, ...
    pub group: Arc<str>,
    /// `v1`, `v1beta1`, ...
    pub version: Arc<str>,
}

impl GroupVersion {
    /// From its two parts.
    #[must_use]
    pub fn new(group: &str, version: &str) -> Self {
        Self { group: group.into(), version: version.into() }
    }

    /// Reads an object's `apiVersion`: `v1`, `apps/v1`. `None` where there is more than one slash
    /// or no version.
    #[must_use]
    pub fn parse(api_version: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        (!version.is_empty() && !version.contains('/')).then(|| Self::new(group, version))
    }
}

impl fmt::Display for GroupVersion {
    /// The form of `apiVersion`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

/// What an object says that it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// Its group and version, together the object's `apiVersion`.
    pub group_version: GroupVersion,
    /// `Pod`, `Deployment`, ...
    pub kind: Arc<str>,
}

impl GroupVersionKind {
    /// From its three parts.
    #[must_use]
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group_version: GroupVersion::new(group, version), kind: kind.into() }
    }
}

impl fmt::Display for GroupVersionKind {
    /// Upstream's form in messages: `apps/v1, Kind=Deployment`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.group_version, self.kind)
    }
}

/// Where objects of a kind are reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// The group and version of the path.
    pub group_version: GroupVersion,
    /// The plural in the path: `pods`, `deployments`.
    pub resource: Arc<str>,
}

impl GroupVersionResource {
    /// From its three parts.
    #[must_use]
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group_version: GroupVersion::new(group, version), resource: resource.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_version_round_trips_or_is_refused() {
        for text in ["v1", "apps/v1", "networking.k8s.io/v1"] {
            assert_eq!(GroupVersion::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "apps/", "a/b/c"] {
            assert_eq!(GroupVersion::parse(text), None, "{text}");
        }
    }
}
