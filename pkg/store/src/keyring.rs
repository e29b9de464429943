// SPDX-License-Identifier: Apache-2.0

//! The keys that values are encrypted with, and the identity of the cluster that they belong to:
//! one small file in the data directory that only its owner may read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::crypt::{KEY_BYTES, ValueKey};
use crate::error::OpenError;

/// Separates keys derived here from any other use of the same secret.
const PURPOSE: &[u8] = b"knarr store values 2";
const SECRET_BYTES: usize = 32;

/// The keys of a store. Cheap to clone; never printed.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    cluster: String,
    primary: u32,
    keys: BTreeMap<u32, ValueKey>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    cluster: String,
    primary: u32,
    keys: BTreeMap<u32, String>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing(cluster {}, primary {}, {} keys)", self.0.cluster, self.0.primary, self.0.keys.len())
    }
}

impl KeyRing {
    /// A new cluster's: a random identity and one random key, kept nowhere.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_stored(&Stored::generate()).expect("a generated key ring is well formed")
    }

    /// Reads the file, or makes it with a new key and identity where there is none.
    ///
    /// # Errors
    /// [`OpenError::KeyRing`] where the file cannot be read, understood or written.
    pub fn load_or_create(path: &Path) -> Result<Self, OpenError> {
        let wrong = |why: String| OpenError::KeyRing { path: path.to_owned(), why };
        let stored = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let stored = Stored::generate();
                write_private(path, &stored).map_err(|error| wrong(error.to_string()))?;
                stored
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        Self::from_stored(&stored).map_err(|why| wrong(why.to_owned()))
    }

    /// The cluster whose values these keys open.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    /// The key that new values are encrypted with.
    pub(crate) fn primary(&self) -> (u32, &ValueKey) {
        let id = self.0.primary;
        (id, self.0.keys.get(&id).expect("from_stored checked that the primary key is there"))
    }

    pub(crate) fn key(&self, id: u32) -> Option<&ValueKey> {
        self.0.keys.get(&id)
    }

    fn from_stored(stored: &Stored) -> Result<Self, &'static str> {
        let mut keys = BTreeMap::new();
        for (id, secret) in &stored.keys {
            let secret = hex::decode(secret).map_err(|_| "a key is not hexadecimal")?;
            if secret.len() != SECRET_BYTES {
                return Err("a key is not 32 bytes long");
            }
            keys.insert(*id, value_key(&secret));
        }
        if stored.primary == 0 || !keys.contains_key(&stored.primary) {
            return Err("the primary key is missing");
        }
        Ok(Self(Arc::new(Inner { cluster: stored.cluster.clone(), primary: stored.primary, keys })))
    }
}

/// Derived once, when the key ring is read.
fn value_key(secret: &[u8]) -> ValueKey {
    let mut key = [0; KEY_BYTES];
    let root = Salt::new(HKDF_SHA256, PURPOSE).extract(secret);
    let derived = root.expand(&[b"XAES-256-GCM"], HKDF_SHA256).and_then(|derived| derived.fill(&mut key));
    derived.expect("the hash is as long as the key");
    ValueKey::new(&key)
}

impl Stored {
    fn generate() -> Self {
        let mut cluster = [0; 16];
        let mut secret = [0; SECRET_BYTES];
        rand::fill(&mut cluster).expect("the system gives randomness");
        rand::fill(&mut secret).expect("the system gives randomness");
        Self { cluster: hex::encode(cluster), primary: 1, keys: BTreeMap::from([(1, hex::encode(secret))]) }
    }
}

/// Durable before the first value is encrypted with it: written aside, synced, renamed, and the
/// directory synced.
fn write_private(path: &Path, stored: &Stored) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(stored)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_is_made_once_and_read_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let made = KeyRing::load_or_create(&path).unwrap();
        let read = KeyRing::load_or_create(&path).unwrap();
        assert_eq!(made.cluster(), read.cluster());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        for (content, why) in [
            ("{", "EOF"),
            (r#"{"cluster":"c","primary":1,"keys":{}}"#, "primary key is missing"),
            (r#"{"cluster":"c","primary":1,"keys":{"1":"00"}}"#, "32 bytes"),
            (r#"{"cluster":"c","primary":1,"keys":{"1":"xx"}}"#, "hexadecimal"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = KeyRing::load_or_create(&path).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("keyring.json"), "{error}");
        }
    }
}
