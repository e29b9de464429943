// SPDX-License-Identifier: Apache-2.0

//! What the log asks of a disk, and the disk itself.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Where the files of a log lie. Calls block.
pub trait Folder: Send + Sync + 'static {
    /// The length of a usual file, in bytes.
    fn segment_bytes(&self) -> usize {
        4 << 20
    }

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

    /// Makes a file of `bytes`, of zeroes or of what a file held that was [given back](Self::recycle); its name is durable.
    ///
    /// # Errors
    /// Those of the disk; where the file is there already.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Box<dyn File>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives back a file to which nobody writes any more: a new one may be made of it.
    ///
    /// # Errors
    /// Those of the disk.
    fn recycle(&self, name: &str) -> io::Result<()>;
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

/// So many files are kept for new ones.
const SPARES: u32 = 8;

/// A directory of this host. To write into space that was written before is twice as quick as into space that was only
/// reserved, which the file system has to note for each `fdatasync`: so files are kept for new ones.
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

impl Directory {
    /// Where files are kept for new ones.
    fn spares(&self) -> impl Iterator<Item = PathBuf> {
        (0..SPARES).map(|n| self.path.join(format!("spare-{n}")))
    }

    /// A kept file under a new name; those of another length go.
    fn take_spare(&self, path: &Path, bytes: u64) -> io::Result<Option<std::fs::File>> {
        for spare in self.spares() {
            let Ok(metadata) = spare.symlink_metadata() else { continue };
            // At once: a file with two names would be written as a new segment and read as an old one.
            if metadata.len() == bytes && renameat_with(CWD, &spare, CWD, path, RenameFlags::NOREPLACE).is_ok() {
                return std::fs::OpenOptions::new().write(true).open(path).map(Some);
            }
            std::fs::remove_file(&spare)?;
        }
        Ok(None)
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
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = match self.take_spare(&path, bytes)? {
            Some(file) => file,
            None => options.open(&path)?,
        };
        let made = fill(&file, bytes)
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

    fn recycle(&self, name: &str) -> io::Result<()> {
        let file = self.path.join(name);
        match self.spares().find(|spare| !spare.exists()) {
            Some(spare) => std::fs::rename(file, spare),
            None => std::fs::remove_file(file),
        }
    }
}

/// Makes the file `bytes` long with zeroes at its end. The space is reserved first, so that it lies together; not every
/// file system can.
fn fill(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let mut at = file.metadata()?.len();
    if at < bytes {
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let zeroes = [0; 64 << 10];
    while at < bytes {
        let length = (bytes - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..length as usize], at)?;
        at += length;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Directory) -> Vec<String> {
        let mut files = folder.list().unwrap();
        files.sort();
        files
    }

    #[test]
    fn a_file_that_was_given_back_serves_a_new_one_of_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Directory::new(dir.path().join("wal"), true).unwrap();
        folder.create("a", 8192).unwrap().write_at(b"old", 0).unwrap();
        folder.recycle("a").unwrap();
        assert_eq!(files(&folder), ["spare-0"]);
        folder.create("b", 8192).unwrap().write_at(b"new", 100).unwrap();
        assert_eq!(files(&folder), ["b"]);
        let bytes = std::fs::read(dir.path().join("wal/b")).unwrap();
        assert_eq!((bytes.len(), &bytes[..3], &bytes[100..103]), (8192, &b"old"[..], &b"new"[..]));
        assert!(folder.create("b", 8192).is_err(), "it is there already");

        folder.recycle("b").unwrap();
        folder.create("c", 4096).unwrap();
        assert_eq!(files(&folder), ["c"], "one of another length is of no use");
        assert_eq!(std::fs::read(dir.path().join("wal/c")).unwrap(), [0; 4096]);
    }

    #[test]
    fn a_file_that_is_there_is_not_replaced_by_a_kept_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Directory::new(dir.path().to_owned(), false).unwrap();
        folder.create("a", 100).unwrap();
        folder.recycle("a").unwrap();
        folder.create("b", 100).unwrap().write_at(b"b", 0).unwrap();
        folder.create("c", 100).unwrap();
        folder.recycle("c").unwrap();
        assert!(folder.create("b", 100).is_err());
        assert!(std::fs::read(dir.path().join("b")).unwrap().starts_with(b"b"));
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Directory::new(dir.path().to_owned(), false).unwrap();
        let names: Vec<_> = (0..SPARES + 3).map(|n| format!("{n}.wal")).collect();
        names.iter().for_each(|name| drop(folder.create(name, 100).unwrap()));
        names.iter().for_each(|name| folder.recycle(name).unwrap());
        assert_eq!(files(&folder).len(), SPARES as usize);
    }
}
