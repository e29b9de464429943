// SPDX-License-Identifier: Apache-2.0

//! The sources of a container's bind mounts, with the propagation that each is to have.
//!
//! libcontainer binds a copy of a source and leaves its propagation as it is. So each source is first bound below the
//! run's folder, in the shim's mount namespace, and given what `mountPropagation` asks for: nothing, a slave of the
//! host's mount (as all mounts of the shim are), or a peer of it, which only the host's own namespace has to give
//! (mount_namespaces(7), "Shared subtrees"). Once the container runs they are taken away again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_bind_recursive, mount_change, move_mount,
    open_tree, unmount,
};

use crate::config::{Mount, MountKind, Propagation};

use super::folder::RunDir;

/// The mount namespace of the calling process, to come back to.
pub fn namespace() -> io::Result<OwnedFd> {
    Ok(fs::File::open("/proc/self/ns/mnt")?.into())
}

/// Binds the sources of `mounts` below the run's folder and puts those paths in their place. Where no mount lets
/// others through, the container's root does not either, and nothing is needed. `host` is the host's namespace.
pub fn prepare(host: &impl AsFd, dir: &RunDir, mounts: &mut [Mount]) -> Result<(), String> {
    if mounts.iter().all(|mount| mount.propagation == Propagation::None) {
        return Ok(());
    }
    for (index, mount) in mounts.iter_mut().enumerate() {
        let MountKind::Bind(source) = &mut mount.kind else { continue };
        let target = folder(dir).join(index.to_string());
        let failed = |e: io::Error| format!("cannot mount {}: {e}", source.display());
        make_target(source, &target).and_then(|()| bind(host, source, &target, mount.propagation)).map_err(failed)?;
        let table = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
        let place = fs::canonicalize(&target).map_err(failed)?;
        check(&table, &place, mount.propagation).map_err(|kind| {
            let path = source.display();
            format!("path {path} is not on a {kind} mount: `mount --make-rshared /` on the host makes it one")
        })?;
        *source = target;
    }
    Ok(())
}

/// Takes the sources away: what the container has of them stays, and so does what the host has.
pub fn release(dir: &RunDir) {
    let Ok(entries) = fs::read_dir(folder(dir)) else { return };
    for target in entries.flatten().map(|entry| entry.path()) {
        // A peer that is unmounted would take what is mounted below it from the host, too.
        let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        if mount_change(&target, alone).is_ok() {
            let _goes_with_the_pod = unmount(&target, UnmountFlags::DETACH);
        }
    }
}

fn folder(dir: &RunDir) -> PathBuf {
    dir.0.join("sources")
}

fn make_target(source: &Path, target: &Path) -> io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        return fs::create_dir_all(target);
    }
    fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
    fs::File::create(target).map(drop)
}

fn bind(host: &impl AsFd, source: &Path, target: &Path, propagation: Propagation) -> io::Result<()> {
    match propagation {
        Propagation::Bidirectional => {
            let tree = copy_from(host, source)?;
            move_mount(&tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        Propagation::HostToContainer => mount_bind_recursive(source, target)?,
        Propagation::None => {
            mount_bind_recursive(source, target)?;
            mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        }
    }
    Ok(())
}

/// A copy of what the namespace `host` has at `source`: peers of the host's mounts, mounted nowhere yet.
fn copy_from(host: &impl AsFd, source: &Path) -> io::Result<OwnedFd> {
    let own = namespace()?;
    setns(host, CloneFlags::CLONE_NEWNS)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags);
    setns(own, CloneFlags::CLONE_NEWNS).expect("the shim may enter the namespace that it has just left");
    Ok(tree?)
}

/// Whether the mount at exactly `place` gets (and for Bidirectional gives) what is asked for; else what it should be.
fn check(mountinfo: &str, place: &Path, propagation: Propagation) -> Result<(), &'static str> {
    // Optional fields lie between the sixth field and a hyphen, see proc_pid_mountinfo(5).
    let at = |line: &&str| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == place);
    let found = mountinfo.lines().rev().find(at).unwrap_or_default();
    let has = |name: &str| found.split(' ').skip(6).take_while(|field| *field != "-").any(|f| f.starts_with(name));
    match propagation {
        Propagation::None => Ok(()),
        Propagation::HostToContainer if has("shared:") || has("master:") => Ok(()),
        Propagation::HostToContainer => Err("shared or slave"),
        Propagation::Bidirectional if has("shared:") => Ok(()),
        Propagation::Bidirectional => Err("shared"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_does_not_share_cannot_be_shared_on() {
        let table = "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
                     30 20 8:1 /a /peer rw shared:1 - ext4 /dev/root rw\n\
                     31 20 8:1 /a /slave rw master:1 - ext4 /dev/root rw\n\
                     32 20 8:1 /a /alone rw - ext4 /dev/shared:1 rw\n\
                     33 20 8:1 /a /alone rw - ext4 /dev/root rw\n";
        for (place, to_container, both) in
            [("/peer", true, true), ("/slave", true, false), ("/alone", false, false), ("/none", false, false)]
        {
            let of = |propagation| check(table, Path::new(place), propagation).is_ok();
            assert_eq!(of(Propagation::HostToContainer), to_container, "{place}");
            assert_eq!(of(Propagation::Bidirectional), both, "{place}");
            assert!(of(Propagation::None), "{place}");
        }
    }
}
