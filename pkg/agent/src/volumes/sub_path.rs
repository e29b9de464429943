// SPDX-License-Identifier: Apache-2.0
//! subPath: a part of a volume, resolved so that no link in the volume leads out of it.
//!
//! The part is opened beneath the volume's root and bound, by its descriptor, to a place of the
//! node's own: whatever the pod does to the path afterwards, the mount stays what was checked.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Binds `sub_path` of the volume at `root` to `target`, making folders that are missing.
///
/// # Errors
/// When the path leads out of the volume, or cannot be bound.
pub fn bind_sub_path(root: &Path, sub_path: &str, target: &Path) -> Result<PathBuf, String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("subPath {sub_path:?}: {what}: {error}");
    let part = open_beneath(root, sub_path).map_err(|error| failed("open", &error))?;
    let is_dir = rustix::fs::fstat(&part)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(|error| failed("look at", &error))?;
    if super::mounts::is_mount(target) {
        super::unmount_one(target)?;
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed("make", &error))?;
    }
    let made = if is_dir {
        std::fs::create_dir_all(target)
    } else {
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(target).map(drop)
    };
    made.map_err(|error| failed("make", &error))?;
    let source = format!("/proc/self/fd/{}", part.as_raw_fd());
    rustix::mount::mount_bind_recursive(source.as_str(), target).map_err(|error| failed("bind", &error))?;
    Ok(target.to_owned())
}

fn open_beneath(root: &Path, sub_path: &str) -> Result<OwnedFd, Errno> {
    let mut dir = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let parts: Vec<_> = Path::new(sub_path).components().filter(|part| *part != Component::CurDir).collect();
    if parts.iter().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(Errno::INVAL);
    }
    let relative: PathBuf = parts.iter().collect();
    let open = |path: &Path| {
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&dir, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)
    };
    match open(&relative) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    for part in parts {
        let name = Path::new(part.as_os_str());
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let next = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return Err(Errno::LOOP);
        }
        dir = next;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_or_made_but_never_outside() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", root.join("out")).unwrap();
        std::os::unix::fs::symlink("file", root.join("in")).unwrap();
        for (path, fits) in [
            ("file", true),
            ("in", true),
            ("new/deep", true),
            ("out", false),
            ("out/passwd", false),
            ("../x", false),
            ("/etc", false),
        ] {
            assert_eq!(open_beneath(&root, path).is_ok(), fits, "{path}");
        }
        assert!(root.join("new/deep").is_dir());
    }
}
