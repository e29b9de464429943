// SPDX-License-Identifier: Apache-2.0

//! Small images made on the spot. The same input gives the same bytes, so that an image that is made again has the same
//! digest.

use std::io::{self, Write};
use std::path::Path;

use knarr_image::{ImageConfig, Platform};
use serde_json::json;

use super::digest;

/// What is at a path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file with this content.
    File(Vec<u8>),
    /// A folder.
    Folder,
    /// A symbolic link to this path.
    Link(String),
    /// Another name of the file at this path.
    HardLink(String),
}

/// An entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path in the image, without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What is there.
    pub content: Content,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

/// An image to be.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name in the archive.
    pub name: String,
    /// Its layers, the lowest first.
    pub layers: Vec<Vec<Entry>>,
    /// How it runs.
    pub config: ImageConfig,
    /// Where it runs.
    pub platform: Platform,
    /// How its layers are compressed.
    pub compression: Compression,
}

/// An image's parts as a registry has them: content by digest.
#[derive(Clone, Debug)]
pub struct Built {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Configuration and layers: (digest, content).
    pub blobs: Vec<(String, Vec<u8>)>,
}

/// The manifest's type.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Entry {
    /// A file.
    pub fn file(path: impl Into<String>, mode: u32, content: impl Into<Vec<u8>>) -> Entry {
        Entry { path: path.into(), mode, content: Content::File(content.into()) }
    }

    /// A folder.
    pub fn folder(path: impl Into<String>) -> Entry {
        Entry { path: path.into(), mode: 0o755, content: Content::Folder }
    }

    /// A symbolic link.
    pub fn link(path: impl Into<String>, to: impl Into<String>) -> Entry {
        Entry { path: path.into(), mode: 0o777, content: Content::Link(to.into()) }
    }

    /// Another name of the file `of`.
    pub fn hard_link(path: impl Into<String>, of: impl Into<String>) -> Entry {
        Entry { path: path.into(), mode: 0o644, content: Content::HardLink(of.into()) }
    }
}

impl Image {
    /// An image for this machine.
    pub fn new(name: impl Into<String>, layers: Vec<Vec<Entry>>, config: ImageConfig) -> Image {
        let (platform, compression) = (Platform::host(), Compression::default());
        Image { name: name.into(), layers, config, platform, compression }
    }

    /// Writes it as an OCI archive, as `ImageStore::import` and other tools take it.
    pub fn write_archive(&self, path: &Path) {
        let built = self.build();
        let mut archive = tar::Builder::new(std::fs::File::create(path).unwrap());
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        append(&mut archive, "index.json", &self.index(&built));
        let manifest = (digest(&built.manifest), built.manifest.clone());
        for (digest, content) in built.blobs.iter().chain([&manifest]) {
            let hex = digest.trim_start_matches("sha256:");
            append(&mut archive, &format!("blobs/sha256/{hex}"), content);
        }
        archive.finish().unwrap();
    }

    fn index(&self, built: &Built) -> Vec<u8> {
        serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": MANIFEST_TYPE,
                "digest": digest(&built.manifest),
                "size": built.manifest.len(),
                "platform": self.platform,
                "annotations": {
                    "io.containerd.image.name": self.name,
                    "org.opencontainers.image.ref.name": self.name,
                },
            }],
        }))
        .unwrap()
    }

    /// Makes its parts.
    pub fn build(&self) -> Built {
        let mut blobs = Vec::new();
        let (mut diff_ids, mut layers) = (Vec::new(), Vec::new());
        for entries in &self.layers {
            let plain = tar_of(entries).unwrap();
            diff_ids.push(digest(&plain));
            let (kind, bytes) = self.compress(plain).unwrap();
            let digest = digest(&bytes);
            layers.push(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}));
            blobs.push((digest, bytes));
        }
        let config = serde_json::to_vec(&json!({
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }))
        .unwrap();
        let config_digest = digest(&config);
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest,
                "size": config.len(),
            },
            "layers": layers,
        }))
        .unwrap();
        blobs.push((config_digest, config));
        Built { manifest, blobs }
    }

    fn compress(&self, plain: Vec<u8>) -> io::Result<(&'static str, Vec<u8>)> {
        Ok(match self.compression {
            Compression::None => ("application/vnd.oci.image.layer.v1.tar", plain),
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
                gzip.write_all(&plain)?;
                ("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish()?)
            }
            Compression::Zstd => ("application/vnd.oci.image.layer.v1.tar+zstd", zstd::encode_all(&plain[..], 3)?),
        })
    }
}

fn tar_of(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &entry.content {
            Content::File(content) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, &entry.path, &content[..])?;
            }
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, &entry.path, io::empty())?;
            }
            Content::Link(to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, &entry.path, to)?;
            }
            Content::HardLink(of) => {
                header.set_entry_type(tar::EntryType::Link);
                archive.append_link(&mut header, &entry.path, of)?;
            }
        }
    }
    archive.into_inner()
}

/// Adds a file to an archive.
pub fn append(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content).unwrap();
}
