// SPDX-License-Identifier: Apache-2.0

//! Manifests, indexes and configurations, as far as they are needed.

use serde::{Deserialize, Serialize};

use crate::config::{ImageConfig, Platform};
use crate::error::Error;

/// Manifest types that a registry is asked for.
pub const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A pointer to content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: String,
    /// Its length.
    pub size: u64,
    /// Of an image in an index: where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Names, in archives.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// A manifest of either kind: of one image, or an index of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Manifest {
    /// Several images.
    Index {
        /// One for each platform.
        manifests: Vec<Descriptor>,
    },
    /// One image.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, the lowest first.
        layers: Vec<Descriptor>,
    },
}

impl Manifest {
    /// Reads a manifest; `what` is for messages.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        serde_json::from_slice(bytes).map_err(|_| Error::Malformed {
            what: what.to_owned(),
            reason: "it is no image manifest of the OCI or of Docker (version 2, schema 2)".to_owned(),
        })
    }
}

/// The configuration of an image.
#[derive(Clone, Debug, Deserialize)]
pub struct ConfigFile {
    /// The part about running.
    #[serde(default)]
    pub config: Option<ImageConfig>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl ConfigFile {
    /// Reads a configuration; `what` is for messages.
    pub fn parse(what: &str, bytes: &[u8]) -> Result<ConfigFile, Error> {
        serde_json::from_slice(bytes).map_err(|e| Error::Malformed { what: what.to_owned(), reason: e.to_string() })
    }

    /// Digests of the layers without compression, which must be as many as the manifest's.
    pub fn diff_ids(&self, what: &str, layers: usize) -> Result<&[String], Error> {
        if self.rootfs.diff_ids.len() == layers {
            return Ok(&self.rootfs.diff_ids);
        }
        let reason = format!("its configuration has {} layers, its manifest {layers}", self.rootfs.diff_ids.len());
        Err(Error::Malformed { what: what.to_owned(), reason })
    }

    /// Fails when the image is for another machine.
    pub fn check_platform(&self, image: &str, want: &Platform) -> Result<(), Error> {
        let fits = (self.os.is_empty() || self.os == want.os)
            && (self.architecture.is_empty() || self.architecture == want.architecture);
        if fits {
            return Ok(());
        }
        Err(Error::NoPlatform {
            image: image.to_owned(),
            platform: want.to_string(),
            available: format!("{}/{}", self.os, self.architecture),
        })
    }
}

/// The image of an index that fits the platform; of several, one with the same variant, then one
/// without, then the first.
pub fn choose<'a>(image: &str, manifests: &'a [Descriptor], want: &Platform) -> Result<&'a Descriptor, Error> {
    let fitting: Vec<&Descriptor> = manifests
        .iter()
        .filter(|m| m.platform.as_ref().is_none_or(|p| p.os == want.os && p.architecture == want.architecture))
        .collect();
    let variant = |m: &Descriptor| m.platform.as_ref().and_then(|p| p.variant.clone());
    fitting
        .iter()
        .find(|m| variant(m) == want.variant)
        .or_else(|| fitting.iter().find(|m| variant(m).is_none()))
        .or_else(|| fitting.first())
        .copied()
        .ok_or_else(|| {
            let names = manifests.iter().filter_map(|m| m.platform.as_ref()).map(Platform::to_string);
            Error::NoPlatform {
                image: image.to_owned(),
                platform: want.to_string(),
                available: names.collect::<Vec<_>>().join(", "),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str, platform: &str) -> Descriptor {
        let mut parts = platform.split('/').map(str::to_owned);
        let platform =
            Platform { os: parts.next().unwrap(), architecture: parts.next().unwrap(), variant: parts.next() };
        Descriptor {
            media_type: String::new(),
            digest: digest.to_owned(),
            size: 0,
            platform: Some(platform),
            annotations: Default::default(),
        }
    }

    #[test]
    fn the_fitting_image_is_chosen() {
        let index = [
            entry("unknown", "unknown/unknown"),
            entry("amd64", "linux/amd64"),
            entry("v6", "linux/arm/v6"),
            entry("v7", "linux/arm/v7"),
            entry("v8", "linux/arm64/v8"),
        ];
        for (os, architecture, variant, want) in
            [("linux", "amd64", None, "amd64"), ("linux", "arm", Some("v7"), "v7"), ("linux", "arm64", None, "v8")]
        {
            let platform = Platform {
                os: os.to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.map(str::to_owned),
            };
            assert_eq!(choose("i", &index, &platform).unwrap().digest, want);
        }
        let none = Platform { os: "linux".into(), architecture: "s390x".into(), variant: None };
        let error = choose("i", &index, &none).unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm/v7"), "{error}");
    }
}
