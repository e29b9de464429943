// SPDX-License-Identifier: Apache-2.0

//! Folders that a layer passes through without a word about them.
//!
//! An archive may say `tmp/file` and nothing of `tmp`. Unpacked upon the layers below, as others do it, `tmp` keeps its
//! mode and owner. Here each layer is unpacked alone, so such a folder gets what it has below as soon as it is known what
//! is below: when the first image has all of its layers.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// As the store keeps a list: paths do not have this byte.
const SEPARATOR: u8 = 0;

/// A list of paths as bytes.
pub(crate) fn to_bytes(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| path.as_os_str().as_bytes().iter().copied().chain([SEPARATOR])).collect()
}

/// The list again.
pub(crate) fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = &Path> {
    bytes
        .split(|byte| *byte == SEPARATOR)
        .filter(|path| !path.is_empty())
        .map(|path| Path::new(OsStr::from_bytes(path)))
}

/// Gives the folder `path` of `layer` the mode and owner that it has in the first of `below` that has it.
pub(crate) fn adopt(layer: &Path, below: &[PathBuf], path: &Path) -> io::Result<()> {
    for lower in below {
        let found = match open(lower, path, OFlags::PATH) {
            Ok(found) => rustix::fs::fstat(&found)?,
            Err(Errno::NOENT) => continue,
            // A link or a file on the way: there is no such folder below.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let folder = open(layer, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            rustix::fs::fchown(&folder, Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)))?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(found.st_mode & 0o7777))?;
        }
        return Ok(());
    }
    Ok(())
}

fn open(layer: &Path, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
