// SPDX-License-Identifier: Apache-2.0

//! What an image says about running it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// An operating system and a processor, as image indexes name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v7` of `arm`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Platform {
        let architecture = knarr_types::architecture().to_owned();
        let variant = (architecture == "arm").then(|| "v7".to_owned());
        Platform { os: "linux".to_owned(), architecture, variant }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

/// The part of an image's configuration that a pod needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `user`, `uid`, `user:group`, ...; empty is root.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// The command's fixed part.
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// `80/tcp`, ...
    #[serde(deserialize_with = "null_as_default")]
    pub exposed_ports: HashMap<String, serde_json::Value>,
    /// Paths that the image wants to be volumes.
    #[serde(deserialize_with = "null_as_default")]
    pub volumes: HashMap<String, serde_json::Value>,
    /// Labels.
    #[serde(deserialize_with = "null_as_default")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `15`, ...; empty is SIGTERM.
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
}

/// Go writes `null` for what is empty.
fn null_as_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
