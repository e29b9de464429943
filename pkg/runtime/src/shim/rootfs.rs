// SPDX-License-Identifier: Apache-2.0

//! Root file systems: an overlay of the image's layers with a layer of the container's own.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::folder::RunDir;

/// The kernel takes one page of options.
const OPTIONS_BYTES_MAX: usize = 4095;
/// The longest `passwd` or `group` that is looked into, in bytes.
const ACCOUNTS_BYTES_MAX: u64 = 4 << 20;

/// Mounts the overlay on the run's `rootfs`. `layers` has the lowest first.
pub fn mount_overlay(run: &RunDir, layers: &[PathBuf]) -> Result<(), String> {
    let (upper, work, rootfs) = (run.upper(), run.0.join("work"), run.rootfs());
    for dir in [&upper, &work, &rootfs] {
        fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    }
    open_to_all(&upper).map_err(|e| format!("cannot open {}: {e}", upper.display()))?;
    for layer in layers {
        if !layer.is_dir() {
            return Err(format!("image layer {} is not here; pull the image again", layer.display()));
        }
    }
    let empty = run.0.join("empty");
    let layers = if layers.is_empty() {
        fs::create_dir_all(&empty).map_err(|e| format!("cannot make {}: {e}", empty.display()))?;
        std::slice::from_ref(&empty)
    } else {
        layers
    };
    let (base, names) = relative(layers);
    // The upper layer goes with the container, so a crash of the host need not keep it.
    let options = format!("lowerdir={names},upperdir={},workdir={},volatile", escaped(&upper), escaped(&work));
    if options.len() > OPTIONS_BYTES_MAX {
        return Err(format!("an image of {} layers is more than can be mounted", layers.len()));
    }
    let mounted = rustix::process::chdir(&base).map_err(io::Error::from).and_then(|()| {
        let flags = MsFlags::empty();
        mount(Some("overlay"), &rootfs, Some("overlay"), flags, Some(options.as_str()))?;
        Ok(())
    });
    rustix::process::chdir("/").map_err(|e| format!("cannot go to /: {e}"))?;
    mounted.map_err(|e| format!("cannot mount the root file system {}: {e}", rootfs.display()))
}

/// Takes the overlay away; what still uses it keeps it until then.
pub fn unmount(run: &RunDir) {
    let _not_mounted = umount2(&run.rootfs(), MntFlags::MNT_DETACH);
}

/// The container's `/` must not have the mode of our private folders.
fn open_to_all(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

/// The folder that all layers lie in, when there is one, and `lowerdir` relative to it: short
/// names let more layers into the page of options. The top layer comes first.
fn relative(layers: &[PathBuf]) -> (PathBuf, String) {
    let parent = layers[0].parent().unwrap_or(Path::new("/"));
    let base = if layers.iter().all(|l| l.parent() == Some(parent)) { parent } else { Path::new("/") };
    let names: Vec<String> =
        layers.iter().rev().map(|layer| escaped(layer.strip_prefix(base).unwrap_or(layer))).collect();
    (base.to_owned(), names.join(":"))
}

/// Overlayfs splits its options at colons and commas.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

/// Reads a small text file of the image, following its links as if it were the root; empty when
/// it is not there.
pub fn read_text(rootfs: &Path, path: &str) -> String {
    let open = || -> io::Result<String> {
        let root = open_root(rootfs)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        let mut text = Vec::new();
        fs::File::from(file).take(ACCOUNTS_BYTES_MAX).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    open().unwrap_or_default()
}

/// Makes a folder in the root file system, with those above it, never outside of it.
pub fn make_dir(rootfs: &Path, path: &Path) -> io::Result<()> {
    let root = open_root(rootfs)?;
    let mut done = PathBuf::from(".");
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = rustix::fs::openat2(&root, &done, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        done.push(name);
    }
    Ok(())
}

/// Where a path of the root file system lies on the host, its links followed as if they were the container's.
pub fn real_path(rootfs: &Path, path: &Path) -> io::Result<PathBuf> {
    let root = open_root(rootfs)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(rootfs, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_one_folder_get_short_names_top_first() {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        let (base, names) = relative(&paths(&["/l/a", "/l/b", "/l/c:d"]));
        assert_eq!((base.to_str(), names.as_str()), (Some("/l"), "c\\:d:b:a"));
        let (base, names) = relative(&paths(&["/l/a", "/m/b"]));
        assert_eq!((base.to_str(), names.as_str()), (Some("/"), "m/b:l/a"));
    }
}
