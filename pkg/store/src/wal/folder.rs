// SPDX-License-Identifier: Apache-2.0

//! What the log asks of a disk, and the disk itself.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Where the files of a log lie. Calls block.
pub trait Folder: Send + Sync + 'static {
    /// The names of all files.
    ///
    /// # Errors
    /// Those of the disk.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Reads from `at` on; gives how many bytes there were, 0 at the end.
    ///
    /// # Errors
    /// Those of the disk.
    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Makes a file that has room for `bytes` and reads as zeroes; its name is durable.
    ///
    /// # Errors
    /// Those of the disk; where the file is there already.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A file that a [`Folder`] made. Calls block.
pub trait File: Send {
    /// Writes all bytes.
    ///
    /// # Errors
    /// Those of the disk: some of the bytes may be written.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes durable what was written.
    ///
    /// # Errors
    /// Those of the disk: some of what was written may be durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of this host.
pub(crate) struct Directory {
    path: PathBuf,
    sync: bool,
}

impl Directory {
    /// Makes the directory where it is not there. Without `sync` nothing is made durable.
    pub(crate) fn new(path: PathBuf, sync: bool) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        if sync && let Some(parent) = path.parent() {
            std::fs::File::open(parent)?.sync_all()?;
        }
        Ok(Self { path, sync })
    }
}

impl Folder for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn read(&self, name: &str, at: u64, into: &mut [u8]) -> io::Result<usize> {
        std::fs::File::open(self.path.join(name))?.read_at(into, at)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
        let path = self.path.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let made = allocate(&file, bytes)
            .and_then(|()| if self.sync { std::fs::File::open(&self.path)?.sync_all() } else { Ok(()) });
        if let Err(error) = made {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Box::new(Appended { file, sync: self.sync }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }
}

/// Reserves the space, so that appending changes little but the data. Not every file system can.
fn allocate(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

struct Appended {
    file: std::fs::File,
    sync: bool,
}

impl File for Appended {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}
