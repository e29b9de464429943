// SPDX-License-Identifier: Apache-2.0

//! Images from files: archives of the OCI and of `docker save`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;

use crate::Image;
use crate::config::Platform;
use crate::digest::{self, hex_part};
use crate::error::{Error, Result};
use crate::manifest::{ConfigFile, Descriptor, Manifest, choose};
use crate::pull::blocking;
use crate::reference::Reference;
use crate::store::{ImageStore, Record};
use crate::unpack;

/// Where archives write an image's full name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Where they write its name, or only its tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The longest document in an archive, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// An image of `manifest.json` in an archive of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl ImageStore {
    /// Takes all images of an archive in, under the names that it gives them.
    pub async fn import(&self, file: &Path) -> Result<Vec<Image>> {
        let (store, file) = (self.clone(), file.to_owned());
        blocking(move || store.import_blocking(&file)).await
    }

    fn import_blocking(&self, file: &Path) -> Result<Vec<Image>> {
        let _until_the_images_are_written = self.keep_all_layers()?;
        let scratch = self.scratch()?;
        let folder = scratch.path().join("archive");
        std::fs::create_dir(&folder).map_err(Error::io("cannot make", &folder))?;
        let source = File::open(file).map_err(Error::io("cannot read", file))?;
        let what = file.display().to_string();
        unpack::unpack(&what, source, &folder).map_err(|e| match e {
            Error::Malformed { reason, .. } => Error::Malformed { what: what.clone(), reason },
            other => other,
        })?;
        let archive = Archive::open(&folder, what)?;
        // Docker writes both kinds of lists; only its own has the names.
        if archive.has("manifest.json") { self.import_saved(&archive) } else { self.import_layout(&archive) }
    }

    fn import_saved(&self, archive: &Archive) -> Result<Vec<Image>> {
        let list: Vec<Saved> = archive.json("manifest.json")?;
        list.into_iter()
            .map(|saved| {
                let config = archive.document(&saved.config)?;
                let names = saved.repo_tags.unwrap_or_default();
                let layers: Vec<(String, Option<String>)> = saved.layers.into_iter().map(|path| (path, None)).collect();
                self.import_image(archive, &config, &layers, names, None)
            })
            .collect()
    }

    fn import_layout(&self, archive: &Archive) -> Result<Vec<Image>> {
        let index = archive.document("index.json")?;
        let Manifest::Index { manifests } = Manifest::parse(&archive.what, &index)? else {
            return Err(archive.malformed("index.json is no index"));
        };
        let mut images = Vec::new();
        for named in &manifests {
            let names = names(named);
            let mut digest = named.digest.clone();
            let (config, layers) = loop {
                let bytes = archive.blob(&digest)?;
                match Manifest::parse(&archive.what, &bytes)? {
                    Manifest::Image { config, layers } => break (config, layers),
                    Manifest::Index { manifests } => {
                        digest = choose(&archive.what, &manifests, &Platform::host())?.digest.clone();
                    }
                }
            };
            let config = archive.blob(&config.digest)?;
            let layers: Result<Vec<_>> = layers
                .into_iter()
                .map(|l| Ok((format!("blobs/sha256/{}", hex_part(&l.digest)?), Some(l.digest))))
                .collect();
            images.push(self.import_image(archive, &config, &layers?, names, Some(&named.digest))?);
        }
        Ok(images)
    }

    /// `layers` are paths in the archive and, where known, digests of what is there.
    fn import_image(
        &self,
        archive: &Archive,
        config: &[u8],
        layers: &[(String, Option<String>)],
        names: Vec<String>,
        digest: Option<&str>,
    ) -> Result<Image> {
        let file = ConfigFile::parse(&archive.what, config)?;
        file.check_platform(&archive.what, &Platform::host())?;
        let diff_ids = file.diff_ids(&archive.what, layers.len())?.to_vec();
        let names: Result<Vec<Reference>> = names.iter().map(|name| name.parse()).collect();
        let names = names?;
        let mut size_bytes = 0;
        for ((path, digest), diff_id) in layers.iter().zip(&diff_ids) {
            size_bytes += self.import_layer(archive, path, digest.as_deref(), diff_id)?;
        }
        let digests = digest.map(|d| names.iter().map(|n| format!("{}@{d}", n.name())).collect());
        self.add(Record {
            id: digest::of(config),
            names: names.iter().map(Reference::to_string).collect::<BTreeSet<_>>(),
            digests: digests.unwrap_or_default(),
            config: file.config.unwrap_or_default(),
            layers: diff_ids,
            size_bytes,
            access: None,
        })
    }

    fn import_layer(&self, archive: &Archive, path: &str, digest: Option<&str>, diff_id: &str) -> Result<u64> {
        let file = archive.file(path)?;
        let bytes = file.metadata().map_or(0, |m| m.len());
        if self.layer(diff_id)?.is_some() {
            return Ok(bytes);
        }
        let _lock = self.lock(diff_id)?;
        if self.layer(diff_id)?.is_some() {
            return Ok(bytes);
        }
        let scratch = self.scratch()?;
        let folder = scratch.path().join("layer");
        std::fs::create_dir(&folder).map_err(Error::io("cannot make", &folder))?;
        let unpacked = unpack::unpack(path, file, &folder)?;
        let what = format!("layer {path} of {}", archive.what);
        if let Some(digest) = digest {
            digest::verify(what.as_str(), digest, &unpacked.digest)?;
        }
        digest::verify(what, diff_id, &unpacked.diff_id)?;
        self.keep_layer(diff_id, &folder, &unpacked.implied)?;
        Ok(bytes)
    }
}

/// An archive's files, unpacked. Its links may only point into it.
struct Archive {
    root: OwnedFd,
    what: String,
}

impl Archive {
    fn open(folder: &Path, what: String) -> Result<Archive> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| Error::io("cannot open", folder)(e.into()))?;
        Ok(Archive { root, what })
    }

    fn has(&self, path: &str) -> bool {
        self.file(path).is_ok()
    }

    fn file(&self, path: &str) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
            .map(File::from)
            .map_err(|e| self.malformed(&format!("it has no readable {path}: {e}")))
    }

    fn document(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?
            .take(DOCUMENT_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|e| self.malformed(&format!("{path}: {e}")))?;
        Ok(bytes)
    }

    fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        let bytes = self.document(&format!("blobs/sha256/{}", hex_part(digest)?))?;
        digest::verify(format!("document of {}", self.what), digest, &digest::of(&bytes))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        let bytes = self.document(path)?;
        serde_json::from_slice(&bytes).map_err(|e| self.malformed(&format!("{path}: {e}")))
    }

    fn malformed(&self, reason: &str) -> Error {
        let reason = format!("{reason}; want an archive of the OCI or of `docker save`");
        Error::Malformed { what: self.what.clone(), reason }
    }
}

/// The names that an index gives an image. A bare tag says too little to be one.
fn names(image: &Descriptor) -> Vec<String> {
    let full = image.annotations.get(CONTAINERD_NAME);
    let named = || image.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':']));
    full.or_else(named).cloned().into_iter().collect()
}
