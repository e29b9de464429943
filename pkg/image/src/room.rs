// SPDX-License-Identifier: Apache-2.0

//! [`Room`]: what a layer may still take of its disk while it is unpacked.
//!
//! An archive says little about what it becomes, so the disk itself is asked, every few MiB. What runs on the
//! machine needs some of it: a layer that would take that too is refused before it does.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::error::Error;

/// What is to stay free of a large disk.
const RESERVE_BYTES: u64 = 1 << 30;
/// So much is written at most before the disk is asked again; less where the disk is small.
const STEP_BYTES: u64 = 8 << 20;
/// As many as an image's layers come at once.
const LAYERS_AT_ONCE: u64 = crate::pull::PARALLEL_LAYERS as u64;

/// What is to stay free of a disk of so many bytes: 5 % of it, at most 1 GiB.
#[must_use]
pub fn reserve_bytes(disk_bytes: u64) -> u64 {
    (disk_bytes / 20).min(RESERVE_BYTES)
}

/// The disk below a folder, and how much of it was given out since it was asked.
pub(crate) struct Room {
    folder: PathBuf,
    descriptor: OwnedFd,
    /// Given out without asking.
    unasked: u64,
    step: u64,
    /// Set once the disk has had too little.
    short: Option<Short>,
}

#[derive(Clone, Copy)]
struct Short {
    available: u64,
    reserve: u64,
}

impl Room {
    /// The room of a folder's file system.
    pub(crate) fn below(folder: &Path) -> Result<Room, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| Error::io("cannot open", folder)(e.into()))?;
        let mut room = Room { folder: folder.to_owned(), descriptor, unasked: 0, step: 0, short: None };
        room.ask().map_err(|e| room.refusal(&e).unwrap_or_else(|| Error::io("cannot ask the disk of", folder)(e)))?;
        Ok(room)
    }

    /// Takes so many bytes, about to be written.
    pub(crate) fn take(&mut self, bytes: u64) -> io::Result<()> {
        self.unasked += bytes;
        if self.unasked < self.step { Ok(()) } else { self.ask() }
    }

    /// The error to report when `error` came from [`Room::take`]; `None` for others.
    pub(crate) fn refusal(&self, error: &io::Error) -> Option<Error> {
        let short = self.short.filter(|_| error.kind() == io::ErrorKind::StorageFull)?;
        Some(Error::DiskReserve {
            folder: self.folder.clone(),
            available_mib: short.available >> 20,
            reserve_mib: short.reserve.div_ceil(1 << 20),
        })
    }

    fn ask(&mut self) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(&self.descriptor)?;
        let (all, available) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
        let step = STEP_BYTES.min(reserve_bytes(all) / 4);
        // Layers that are unpacked beside this one may each be a step ahead: a pod is not to go for them.
        let reserve = reserve_bytes(all) + step * LAYERS_AT_ONCE;
        if all > 0 && available < reserve {
            self.short = Some(Short { available, reserve });
            return Err(io::ErrorKind::StorageFull.into());
        }
        (self.unasked, self.step) = (0, step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twentieth_stays_free_and_at_most_a_gibibyte() {
        assert_eq!(reserve_bytes(0), 0);
        assert_eq!(reserve_bytes(20 << 20), 1 << 20);
        assert_eq!(reserve_bytes(1 << 40), 1 << 30);
    }

    #[test]
    fn other_errors_are_not_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::below(dir.path()).unwrap();
        assert!(room.refusal(&io::ErrorKind::StorageFull.into()).is_none(), "the disk has had enough each time");
        assert!(room.refusal(&io::ErrorKind::NotFound.into()).is_none());
    }
}
