// SPDX-License-Identifier: Apache-2.0

//! Folders that a layer passes through without a word about them.
//!
//! An archive may say `tmp/file` and nothing of `tmp`. Unpacked upon the layers below, as others do it, `tmp` keeps its
//! mode and owner; and where it is a symbolic link below, the file goes to where the link leads, inside of the root file
//! system. Here each layer is unpacked alone, so such a folder gets what it has below, or moves to where it belongs, as
//! soon as it is known what is below: when the first image has all of its layers.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// As the store keeps a list: paths do not have this byte.
const SEPARATOR: u8 = 0;
/// Links that are followed on one path, as the kernel does it.
const LINKS_MAX: usize = 40;

/// A list of paths as bytes.
pub(crate) fn to_bytes(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| path.as_os_str().as_bytes().iter().copied().chain([SEPARATOR])).collect()
}

/// The list again.
fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = &Path> {
    bytes
        .split(|byte| *byte == SEPARATOR)
        .filter(|path| !path.is_empty())
        .map(|path| Path::new(OsStr::from_bytes(path)))
}

/// Has the folders of `layer` that are in the list agree with what is in the layers `below`, the nearest first.
pub(crate) fn settle(layer: &Path, below: &[PathBuf], list: &[u8]) -> io::Result<()> {
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in from_bytes(list) {
        let now_at =
            |path: &Path, (from, to): &(PathBuf, PathBuf)| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let path = moved.iter().fold(path.to_owned(), |path, step| now_at(&path, step).unwrap_or(path));
        let Some(real) = real_path(below, &path)? else { continue };
        if real != path && move_folder(layer, below, &path, &real)? {
            moved.push((path, real));
        } else {
            adopt(layer, below, &real)?;
        }
    }
    Ok(())
}

/// What a layer, or several upon each other, have at a path.
enum Found {
    Folder,
    Link(PathBuf),
    /// Nothing, or something that no path leads through.
    Nothing,
}

/// Where the path leads in the layers, their links followed as if the layers were the root; what is not there stays as
/// it is asked for. `None` when there are too many links.
fn real_path(layers: &[PathBuf], path: &Path) -> io::Result<Option<PathBuf>> {
    let mut real = PathBuf::new();
    let mut links = 0;
    let mut rest: VecDeque<OsString> = names(path).collect();
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        let Found::Link(target) = look(layers, &real, &name)? else {
            real.push(name);
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return Ok(None);
        }
        if target.is_absolute() {
            real.clear();
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            rest.push_front(name);
        }
    }
    Ok(Some(real))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

/// What the topmost layer that says something about `name` in `folder` has there.
fn look(layers: &[PathBuf], folder: &Path, name: &OsStr) -> io::Result<Found> {
    for layer in layers {
        let dir = match open(layer, folder, OFlags::PATH) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            // Something else hides the folder.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                return Ok(match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Found::Folder,
                    FileType::Symlink => {
                        let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
                        Found::Link(OsString::from_vec(target.into_bytes()).into())
                    }
                    _ => Found::Nothing,
                });
            }
            Err(Errno::NOENT) if is_opaque(layer, folder) => return Ok(Found::Nothing),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Found::Nothing)
}

const OPAQUE: &str = "trusted.overlay.opaque";

fn is_opaque(layer: &Path, folder: &Path) -> bool {
    rustix::fs::getxattr(layer.join(folder), OPAQUE, &mut [0; 1]).is_ok_and(|length| length == 1)
}

/// Moves what is in the layer's folder `from` to its folder `to`; `false` when there is no such folder.
fn move_folder(layer: &Path, below: &[PathBuf], from: &Path, to: &Path) -> io::Result<bool> {
    let source = match open(layer, from, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let mut made = PathBuf::new();
    for name in to {
        let above = open(layer, &made, OFlags::PATH | OFlags::DIRECTORY)?;
        made.push(name);
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => adopt(layer, below, &made)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let target = match open(layer, to, OFlags::RDONLY | OFlags::DIRECTORY) {
        // The layer itself has something else there: what goes through it cannot be told.
        Err(Errno::LOOP | Errno::NOTDIR) => return Ok(false),
        other => other?,
    };
    if is_opaque(layer, from) {
        rustix::fs::setxattr(layer.join(to), OPAQUE, b"y", rustix::fs::XattrFlags::empty())?;
    }
    merge(&source, &target)?;
    let (parent, name) = (from.parent().unwrap_or(Path::new("")), from.file_name().unwrap_or_default());
    rustix::fs::unlinkat(&open(layer, parent, OFlags::PATH)?, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// Moves all entries of one folder to another; folders that both have become one.
fn merge(source: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let entries: Vec<_> = Dir::read_from(source)?.collect::<Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match rustix::fs::renameat(source, name, target, name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = |dir: &OwnedFd| rustix::fs::openat(dir, name, flags, Mode::empty());
                merge(&inner(source)?, &inner(target)?)?;
                rustix::fs::unlinkat(source, name, AtFlags::REMOVEDIR)?;
            }
            // A file where the other has a folder, or the other way round: what is there was said so in as many words.
            Err(Errno::ISDIR | Errno::NOTDIR) => return Err(io::Error::other("a folder and a file of one name")),
            other => other?,
        }
    }
    Ok(())
}

/// Gives the folder `path` of `layer` the mode and owner that it has in the first of `below` that has it.
fn adopt(layer: &Path, below: &[PathBuf], path: &Path) -> io::Result<()> {
    for lower in below {
        let found = match open(lower, path, OFlags::PATH) {
            Ok(found) => rustix::fs::fstat(&found)?,
            Err(Errno::NOENT) => continue,
            // A link or a file on the way: there is no such folder below.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            let folder = match open(layer, path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(()),
                other => other?,
            };
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
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Folders that stand for layers: `lower`, `middle` and `top`.
    fn layers() -> (tempfile::TempDir, [PathBuf; 3]) {
        let dir = tempfile::tempdir().unwrap();
        let layers = ["lower", "middle", "top"].map(|name| dir.path().join(name));
        layers.iter().for_each(|layer| fs::create_dir(layer).unwrap());
        (dir, layers)
    }

    fn write(layer: &Path, file: &str) {
        fs::create_dir_all(layer.join(file).parent().unwrap()).unwrap();
        fs::write(layer.join(file), file).unwrap();
    }

    #[test]
    fn paths_lead_where_the_links_below_lead_and_never_outside() {
        let (_dir, [lower, middle, top]) = layers();
        fs::create_dir_all(lower.join("usr/lib/deep")).unwrap();
        symlink("usr/lib", lower.join("lib")).unwrap();
        symlink("/usr/lib/../../../../usr", lower.join("out")).unwrap();
        symlink("../lib/deep", lower.join("usr/chain")).unwrap();
        symlink("loop", lower.join("loop")).unwrap();
        symlink("/gone/away", lower.join("dangling")).unwrap();
        symlink("usr", lower.join("replaced")).unwrap();
        fs::create_dir(middle.join("replaced")).unwrap();
        let below = [middle, lower];
        for (path, leads) in [
            ("lib", Some("usr/lib")),
            ("lib/a/b", Some("usr/lib/a/b")),
            ("out/lib", Some("usr/lib")),
            ("usr/chain/x", Some("usr/lib/deep/x")),
            ("dangling/x", Some("gone/away/x")),
            ("replaced/x", Some("replaced/x")),
            ("none/x", Some("none/x")),
            ("loop/x", None),
        ] {
            assert_eq!(real_path(&below, Path::new(path)).unwrap(), leads.map(PathBuf::from), "{path}");
        }
        drop(top);
    }

    #[test]
    fn what_goes_through_a_link_below_lies_where_it_leads() {
        let (_dir, [lower, middle, top]) = layers();
        fs::create_dir_all(lower.join("usr/lib")).unwrap();
        fs::set_permissions(lower.join("usr/lib"), fs::Permissions::from_mode(0o711)).unwrap();
        symlink("usr/lib", lower.join("lib")).unwrap();
        symlink("/run", lower.join("var")).unwrap();
        for file in ["lib/a", "lib/sub/b", "usr/lib/sub/c", "var/lock/d", "plain/e"] {
            write(&top, file);
        }
        let implied =
            ["lib", "lib/sub", "plain", "usr", "usr/lib", "usr/lib/sub", "var", "var/lock"].map(PathBuf::from);
        settle(&top, &[middle, lower], &to_bytes(&implied)).unwrap();
        for (file, was) in [
            ("usr/lib/a", "lib/a"),
            ("usr/lib/sub/b", "lib/sub/b"),
            ("usr/lib/sub/c", "usr/lib/sub/c"),
            ("run/lock/d", "var/lock/d"),
            ("plain/e", "plain/e"),
        ] {
            assert_eq!(fs::read_to_string(top.join(file)).unwrap(), was);
        }
        assert!(!top.join("lib").exists() && !top.join("var").exists(), "the links are seen through");
        assert_eq!(fs::metadata(top.join("usr/lib")).unwrap().permissions().mode() & 0o777, 0o711);
    }
}
