// SPDX-License-Identifier: Apache-2.0
//! `image`: the images of this host, without a server.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use knarr_image::{Image, ImageStore};

use crate::error::CtlError;
use crate::output::{Columns, print};

/// Where an agent keeps its images unless it was told otherwise, below its data dir.
const FOLDER: &str = "images";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImageCommand {
    /// Takes in the images of OCI or docker archives.
    Import {
        /// The archives.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        store: Store,
    },
    /// Lists the images.
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        store: Store,
    },
    /// Removes images by name or id.
    #[command(alias = "remove")]
    Rm {
        /// Names, or ids.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        store: Store,
    },
    /// Removes all images that no container uses.
    Prune {
        #[command(flatten)]
        store: Store,
    },
}

/// Which host's images.
#[derive(Debug, clap::Args)]
pub(crate) struct Store {
    /// The agent's data dir.
    #[arg(long, default_value = "/var/lib/knarr/agent")]
    data_dir: PathBuf,
}

impl Store {
    fn open(&self) -> Result<ImageStore, CtlError> {
        ImageStore::open(self.data_dir.join(FOLDER)).map_err(failed)
    }
}

/// The image crate's errors name the thing and the remedy themselves.
fn failed(error: knarr_image::Error) -> CtlError {
    CtlError::usage(error.to_string())
}

/// Runs `image`.
pub(crate) async fn run(command: ImageCommand) -> Result<u8, CtlError> {
    match command {
        ImageCommand::Import { files, store } => {
            let store = store.open()?;
            for file in files {
                for image in store.import(&file).await.map_err(failed)? {
                    names(&image).iter().try_for_each(|name| print(&format!("imported {name}\n")))?;
                }
            }
        }
        ImageCommand::List { store } => print(&table(&store.open()?.list().map_err(failed)?))?,
        ImageCommand::Rm { names, store } => {
            let store = store.open()?;
            for name in names {
                if !store.remove(&name).map_err(failed)? {
                    return Err(CtlError::usage(format!("there is no image {name:?} here; `image list` shows them")));
                }
                print(&format!("removed {name}\n"))?;
            }
        }
        ImageCommand::Prune { store } => {
            let store = store.open()?;
            let mounts =
                std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| CtlError::io("/proc/self/mountinfo", e))?;
            let used = in_use(&store.list().map_err(failed)?, &mounts);
            let pruned = store.prune(&used).map_err(failed)?;
            pruned.images.iter().try_for_each(|name| print(&format!("removed {name}\n")))?;
            print(&format!("{} came free\n", size(pruned.bytes)))?;
        }
    }
    Ok(0)
}

/// The ids of images whose topmost layer is part of some mount.
fn in_use(images: &[Image], mounts: &str) -> HashSet<String> {
    let mounted = |layer: &Path| mounts.contains(&layer.display().to_string());
    images.iter().filter(|i| i.layers.last().is_none_or(|l| mounted(l))).map(|i| i.id.clone()).collect()
}

/// All that it is called by; its id where it has no name.
fn names(image: &Image) -> &[String] {
    if image.names.is_empty() { std::slice::from_ref(&image.id) } else { &image.names }
}

fn table(images: &[Image]) -> String {
    let mut rows = vec![["IMAGE", "ID", "SIZE"].map(str::to_owned).to_vec()];
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let nameless = ["<none>".to_owned()];
        let names = if image.names.is_empty() { nameless.as_slice() } else { &image.names };
        rows.extend(names.iter().map(|name| vec![name.clone(), id.clone(), size(image.size_bytes)]));
    }
    Columns::default().lines(&rows)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, want) in [(5, "5 B"), (2048, "2.0 KiB"), (3 << 20, "3.0 MiB")] {
            assert_eq!(size(bytes), want);
        }
    }
}
