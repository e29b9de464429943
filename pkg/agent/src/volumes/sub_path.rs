// SPDX-License-Identifier: Apache-2.0
//! subPath: a part of a volume, resolved so that no link in the volume leads out of it.
//!
//! The part is opened beneath the volume's root and bound, by its descriptor, to a place of the
//! node's own: whatever the pod does to the path afterwards, the mount stays what was checked.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What folders made in a volume have of its own mode: permissions, and that its group is passed on.
const MODE_OF_VOLUME: u32 = 0o2777;

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
    // Whoever may write to the volume may write to what is made in it, whatever this process masks.
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode & MODE_OF_VOLUME);
    for part in parts {
        let name = Path::new(part.as_os_str());
        let made = match rustix::fs::mkdirat(&dir, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
        if made {
            rustix::fs::fchmod(&dir, mode)?;
        }
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

    #[test]
    fn what_is_made_is_open_to_whoever_the_volume_is_open_to() {
        use std::os::unix::fs::PermissionsExt;
        for mode in [0o777, 0o2777, 0o750] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            open_beneath(dir.path(), "new/deep").unwrap();
            for made in ["new", "new/deep"] {
                let found = std::fs::metadata(dir.path().join(made)).unwrap().permissions().mode();
                assert_eq!(found & 0o7777, mode, "{made} in a volume of mode {mode:o}");
            }
        }
    }
}
