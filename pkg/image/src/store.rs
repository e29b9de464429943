// SPDX-License-Identifier: Apache-2.0

//! [`ImageStore`]: what is here, found by name, and what may go.
//!
//! `layers/HEX` are unpacked layers by the digest of their uncompressed content, `images/HEX.json`
//! what is known of an image, by the digest of its configuration; `implied/HEX` what is open of a layer until an image has
//! it; `tmp` is work in progress and `locks` keeps two processes, or two tasks, from doing the same work.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::config::ImageConfig;
use crate::credentials::Keyring;
use crate::digest::hex_part;
use crate::error::{Error, Result};
use crate::implied::{self, Implied};
use crate::reference::Reference;
use crate::{Image, Pruned};

/// Name of the lock that pulls share and a sweep has alone.
const ALL_LAYERS: &str = "all-layers";

/// The images of a machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ImageStore {
    root: Arc<PathBuf>,
}

/// What lies on the disk of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub names: BTreeSet<String>,
    pub digests: BTreeSet<String>,
    pub config: ImageConfig,
    /// Digests of the uncompressed layers, the lowest first.
    pub layers: Vec<String>,
    pub size_bytes: u64,
    /// Who may use it; anyone, once it came without a registry.
    #[serde(default)]
    pub access: Option<Access>,
}

/// Something held until it is dropped.
pub(crate) struct Lock {
    _open_is_locked: File,
}

/// A folder for work in progress, gone when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl ImageStore {
    /// Opens a store, making it when it is not there; what a crash left half done is removed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<ImageStore> {
        let root = dir.into();
        for sub in ["layers", "images", "implied", "tmp", "locks"] {
            let path = root.join(sub);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(Error::io("cannot make", &path))?;
        }
        let store = ImageStore { root: Arc::new(root) };
        store.remove_abandoned();
        Ok(store)
    }

    /// The image of this name, or with this id.
    pub fn get(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.find(name)?.map(|record| self.image(record)))
    }

    /// The image of this name, or with this id, if who has these credentials may use it.
    pub(crate) fn usable(&self, name: &str, keyring: &Keyring) -> Result<Option<Image>> {
        let reference = (!is_id(name)).then(|| name.parse::<Reference>()).transpose()?;
        let admits = |record: &Record| {
            record.access.as_ref().is_none_or(|access| access.admits(&record.id, reference.as_ref(), keyring))
        };
        Ok(self.find(name)?.filter(admits).map(|record| self.image(record)))
    }

    fn find(&self, name: &str) -> Result<Option<Record>> {
        if is_id(name) {
            return self.record(name);
        }
        let name = name.parse::<Reference>()?;
        Ok(self.records()?.into_iter().find(|record| record.is_called(&name)))
    }

    /// All images, by id.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.records()?.into_iter().map(|record| self.image(record)).collect())
    }

    /// Removes a name, or all of an image by its id; the image and its layers go when nothing
    /// names them. `false` when nothing of this name is here. Layers in use stay usable until
    /// their mounts are gone, but do not remove what runs.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let _lock = self.lock("store")?;
        let mut records = self.records()?;
        let reference = if is_id(name) { None } else { Some(name.parse::<Reference>()?) };
        let found = records.iter_mut().find(|record| match &reference {
            Some(reference) => record.is_called(reference),
            None => record.id == name,
        });
        let Some(record) = found else { return Ok(false) };
        match &reference {
            Some(reference) => {
                record.names.remove(&reference.to_string());
                record.digests.remove(&reference.to_string());
            }
            None => record.names.clear(),
        }
        if reference.is_none() || record.names.is_empty() {
            let path = self.record_path(&record.id)?;
            fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
            self.sweep_layers()?;
        } else {
            let record = record.clone();
            self.write_record(&record)?;
        }
        Ok(true)
    }

    /// Removes all images whose id, name or digest is not in `in_use`, and layers that no image
    /// has.
    pub fn prune(&self, in_use: &HashSet<String>) -> Result<Pruned> {
        let _lock = self.lock("store")?;
        let mut pruned = Pruned::default();
        for record in self.records()? {
            let mut all = record.names.iter().chain(&record.digests).chain([&record.id]);
            if all.any(|name| in_use.contains(name)) {
                continue;
            }
            let path = self.record_path(&record.id)?;
            fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
            pruned.images.push(record.names.first().unwrap_or(&record.id).clone());
        }
        let (layers, bytes) = self.sweep_layers()?;
        pruned.layers = layers;
        pruned.bytes = bytes;
        Ok(pruned)
    }

    /// Adds an image, or names to one that is here; a name that another image had moves.
    pub(crate) fn add(&self, mut new: Record) -> Result<Image> {
        let _lock = self.lock("store")?;
        self.settle_implied(&new.layers)?;
        for mut old in self.records()? {
            if old.id == new.id {
                new.names.append(&mut old.names);
                new.digests.append(&mut old.digests);
                new.size_bytes = new.size_bytes.max(old.size_bytes);
                new.access = new.access.zip(old.access).map(|(mut new, old)| {
                    new.merge(old);
                    new
                });
            } else if old.names.intersection(&new.names).next().is_some() {
                old.names.retain(|name| !new.names.contains(name));
                self.write_record(&old)?;
            }
        }
        self.write_record(&new)?;
        Ok(self.image(new))
    }

    /// The folder of a layer, if it is here.
    pub(crate) fn layer(&self, diff_id: &str) -> Result<Option<PathBuf>> {
        let path = self.root.join("layers").join(hex_part(diff_id)?);
        Ok(path.is_dir().then_some(path))
    }

    /// Puts an unpacked layer in its place; `implied` is what it leaves to the layers below.
    pub(crate) fn keep_layer(&self, diff_id: &str, unpacked: &Path, implied: &Implied) -> Result<()> {
        let path = self.root.join("layers").join(hex_part(diff_id)?);
        if !implied.is_empty() {
            let list = self.implied_path(diff_id)?;
            fs::write(&list, implied.to_bytes()).map_err(Error::io("cannot write", &list))?;
        }
        // The name promises the content, also after a power failure.
        let folder = File::open(unpacked).map_err(Error::io("cannot open", unpacked))?;
        rustix::fs::syncfs(&folder).map_err(|e| Error::io("cannot write out", unpacked)(e.into()))?;
        match fs::rename(unpacked, &path) {
            Err(_) if path.is_dir() => Ok(()),
            other => other.map_err(Error::io("cannot move into place", path)),
        }
    }

    /// Gives the layers of an image, the lowest first, what each of them leaves to those below.
    fn settle_implied(&self, layers: &[String]) -> Result<()> {
        let folder = |diff_id: &String| self.root.join("layers").join(diff_id.trim_start_matches("sha256:"));
        for (index, diff_id) in layers.iter().enumerate() {
            let list = self.implied_path(diff_id)?;
            let Ok(bytes) = fs::read(&list) else { continue };
            let below: Vec<PathBuf> = layers[..index].iter().rev().map(folder).collect();
            let layer = folder(diff_id);
            implied::settle(&layer, &below, &Implied::from_bytes(&bytes)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    Error::Malformed { what: format!("layer {diff_id}"), reason: error.to_string() }
                }
                _ => Error::io("cannot change", &layer)(error),
            })?;
            fs::remove_file(&list).map_err(Error::io("cannot remove", &list))?;
        }
        Ok(())
    }

    fn implied_path(&self, diff_id: &str) -> Result<PathBuf> {
        Ok(self.root.join("implied").join(hex_part(diff_id)?))
    }

    /// Waits until no one else holds the lock of this name. Blocks the thread.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        self.flock(name, FlockOperation::LockExclusive)
    }

    /// Held while an image comes in: layers that no image has yet stay until it is dropped. A
    /// layer's own lock is held no longer than its unpacking, so that two images which share
    /// layers never wait for each other. Blocks the thread.
    pub(crate) fn keep_all_layers(&self) -> Result<Lock> {
        self.flock(ALL_LAYERS, FlockOperation::LockShared)
    }

    fn flock(&self, name: &str, operation: FlockOperation) -> Result<Lock> {
        let path = self.root.join("locks").join(name.replace([':', '/'], "-"));
        let file = File::create(&path).map_err(Error::io("cannot make", &path))?;
        rustix::fs::flock(&file, operation).map_err(|e| Error::io("cannot lock", &path)(e.into()))?;
        Ok(Lock { _open_is_locked: file })
    }

    /// A new folder for work in progress.
    pub(crate) fn scratch(&self) -> Result<Scratch> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("tmp").join(format!("{}-{n}", std::process::id()));
        fs::create_dir(&path).map_err(Error::io("cannot make", &path))?;
        Ok(Scratch(path))
    }

    /// Work in progress of processes that are gone.
    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("tmp")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|n| n.split('-').next());
            let lives =
                owner.is_some_and(|pid| pid == std::process::id().to_string() || Path::new("/proc").join(pid).exists());
            if !lives {
                let _next_time = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn record_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.root.join("images").join(format!("{}.json", hex_part(id)?)))
    }

    fn record(&self, id: &str) -> Result<Option<Record>> {
        let path = self.record_path(id)?;
        match fs::read(&path) {
            Ok(bytes) => parse_record(&path, &bytes).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("cannot read", path)(e)),
        }
    }

    fn records(&self) -> Result<Vec<Record>> {
        let dir = self.root.join("images");
        let entries = fs::read_dir(&dir).map_err(Error::io("cannot read", &dir))?;
        let mut records = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "json")
                && let Ok(bytes) = fs::read(&path)
            {
                records.push(parse_record(&path, &bytes)?);
            }
        }
        records.sort_by(|a: &Record, b| a.id.cmp(&b.id));
        Ok(records)
    }

    fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.record_path(&record.id)?;
        let temporary = path.with_extension("tmp");
        let json = serde_json::to_vec(record)
            .map_err(|e| Error::Malformed { what: format!("record of image {}", record.id), reason: e.to_string() })?;
        fs::write(&temporary, json).map_err(Error::io("cannot write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io("cannot write", path))
    }

    fn image(&self, record: Record) -> Image {
        let layer = |diff_id: &String| self.root.join("layers").join(diff_id.trim_start_matches("sha256:"));
        Image {
            layers: record.layers.iter().map(layer).collect(),
            id: record.id,
            digests: record.digests.into_iter().collect(),
            names: record.names.into_iter().collect(),
            config: record.config,
            size_bytes: record.size_bytes,
        }
    }

    /// Removes layers that no image has; while an image comes in, that waits for the next time.
    fn sweep_layers(&self) -> Result<(usize, u64)> {
        let Ok(_nothing_comes) = self.flock(ALL_LAYERS, FlockOperation::NonBlockingLockExclusive) else {
            return Ok((0, 0));
        };
        let records = self.records()?;
        let used: HashSet<&str> = records.iter().flat_map(|r| &r.layers).map(String::as_str).collect();
        let dir = self.root.join("layers");
        let (mut layers, mut bytes) = (0, 0);
        for entry in fs::read_dir(&dir).map_err(Error::io("cannot read", &dir))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if used.contains(format!("sha256:{name}").as_str()) {
                continue;
            }
            bytes += disk_bytes(&entry.path());
            fs::remove_dir_all(entry.path()).map_err(Error::io("cannot remove", entry.path()))?;
            let _there_is_seldom_one = fs::remove_file(self.root.join("implied").join(&name));
            layers += 1;
        }
        Ok((layers, bytes))
    }
}

impl Record {
    /// A name with a digest means the content; one without, what was last called so.
    fn is_called(&self, name: &Reference) -> bool {
        match &name.digest {
            Some(digest) => self.digests.contains(&format!("{}@{digest}", name.name())),
            None => self.names.contains(&name.to_string()),
        }
    }
}

impl Scratch {
    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _the_next_start_removes_it = fs::remove_dir_all(&self.0);
    }
}

fn is_id(name: &str) -> bool {
    name.starts_with("sha256:")
}

fn parse_record(path: &Path, bytes: &[u8]) -> Result<Record> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::Malformed { what: path.display().to_string(), reason: e.to_string() })
}

fn disk_bytes(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
    let Ok(entries) = fs::read_dir(path) else { return own };
    let is_dir = |e: &fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir());
    own + entries
        .flatten()
        .map(|e| if is_dir(&e) { disk_bytes(&e.path()) } else { e.metadata().map_or(0, |m| m.blocks() * 512) })
        .sum::<u64>()
}
