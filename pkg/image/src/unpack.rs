// SPDX-License-Identifier: Apache-2.0

//! Layers unpacked into folders, in the form that overlayfs mounts.
//!
//! A layer comes from strangers. Every path is resolved by the kernel as if the layer's folder were
//! the root (`RESOLVE_IN_ROOT`), so neither `..` nor a symbolic link leads out of it; whiteouts
//! become what overlayfs understands, and its own attributes cannot be smuggled in.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use crate::digest::Hashing;
use crate::error::Error;
use crate::implied::{Implied, is_whiteout};
use crate::room::Room;

/// Marks a file that a layer deletes.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a folder whose lower content a layer hides.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other marks of an older file system, without a meaning here.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Extended attributes in a tar archive.
const XATTR_PREFIX: &str = "SCHILY.xattr.";
/// What an entry takes of the disk beside its content: a node, and its name.
const ENTRY_BYTES: u64 = 512;
/// Attributes that steer overlayfs itself.
const OVERLAY_PREFIX: &str = "trusted.overlay.";

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the archive as it came.
    pub digest: String,
    /// Digest of the archive without compression.
    pub diff_id: String,
    /// Length as it came.
    pub bytes: u64,
    /// What the archive leaves to the layers below.
    pub implied: Implied,
}

/// Unpacks a layer, whatever its compression, into an empty folder. `name` is for messages.
///
/// # Errors
/// Among others [`Error::DiskReserve`], before it takes what is to stay free of the disk.
pub fn unpack(name: &str, source: impl Read, folder: &Path) -> Result<Unpacked, Error> {
    let malformed = |e: io::Error| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace(folder.to_owned()),
        _ => Error::Malformed { what: format!("layer {name}"), reason: e.to_string() },
    };
    let mut compressed = Hashing::new(source);
    let (diff_id, implied) = {
        let plain = decompress(&mut compressed).map_err(malformed)?;
        let mut archive = tar::Archive::new(Hashing::new(plain));
        let mut target = Target::open(name, folder)?;
        for entry in archive.entries().map_err(malformed)? {
            target.add(entry.map_err(malformed)?)?;
        }
        target.finish()?;
        let implied = Implied { folders: target.implied.into_iter().collect(), links: target.links };
        (archive.into_inner().finish().map_err(malformed)?.0, implied)
    };
    let (digest, bytes) = compressed.finish().map_err(malformed)?;
    Ok(Unpacked { digest, diff_id, bytes, implied })
}

/// Tells the compression by the first bytes: what archives are called is not always true.
fn decompress<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(64 << 10, source);
    let start = source.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || start.starts_with(&[0x50, 0x2a, 0x4d, 0x18]) {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(source)?));
    }
    Ok(Box::new(source))
}

/// The folder being filled.
struct Target<'a> {
    layer: &'a str,
    root: OwnedFd,
    folder: &'a Path,
    room: Room,
    /// Times of folders, set when nothing changes them any more.
    times: Vec<(PathBuf, u64)>,
    /// Folders made on the way to others, that no entry was about.
    implied: BTreeSet<PathBuf>,
    /// Hard links to what this layer does not have: where they go, and what they are of.
    links: Vec<(PathBuf, PathBuf)>,
}

/// An entry's place: the folder that it goes to, opened, and its name there.
struct Place {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl<'a> Target<'a> {
    fn open(layer: &'a str, folder: &'a Path) -> Result<Target<'a>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root =
            rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| Error::io("cannot open", folder)(e.into()))?;
        let room = Room::below(folder)?;
        Ok(Target { layer, root, folder, room, times: Vec::new(), implied: BTreeSet::new(), links: Vec::new() })
    }

    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), Error> {
        let path = entry.path_bytes().into_owned();
        let path = Path::new(OsStr::from_bytes(&path)).to_owned();
        self.room.take(ENTRY_BYTES).and_then(|()| self.add_at(&path, &mut entry)).map_err(|e| self.bad(&path, e))
    }

    fn add_at<R: Read>(&mut self, path: &Path, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let Some(place) = self.place(path)? else {
            // The root of the layer itself.
            return if kind.is_dir() { self.root_attributes(entry) } else { Ok(()) };
        };
        if place.name == OPAQUE {
            return set_xattr(&place.parent, "trusted.overlay.opaque", b"y");
        }
        if place.name.starts_with(WHITEOUT_META) {
            return Ok(());
        }
        if let Some(gone) = place.name.strip_prefix(WHITEOUT) {
            let gone = Place { parent: place.parent, name: gone.to_vec() };
            clear(&gone)?;
            return make_node(&gone, FileType::CharacterDevice, 0, 0);
        }
        match kind {
            EntryType::Directory => self.directory(path, &place, entry),
            EntryType::Link => self.hard_link(path, &place, entry),
            EntryType::Symlink => {
                let link = entry.link_name_bytes().ok_or_else(|| invalid("a link to nothing"))?;
                clear(&place)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&link), &place.parent, place.name())?;
                own(&place, entry)?;
                set_time(&place, seconds(entry))
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let kind = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                // An empty field is zero, as for every reader of archives.
                let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
                let header = entry.header();
                let (major, minor) = (number(header.device_major()), number(header.device_minor()));
                clear(&place)?;
                make_node(&place, kind, major, minor)?;
                own(&place, entry)?;
                rustix::fs::chmodat(&place.parent, place.name(), mode(entry)?, AtFlags::empty())?;
                set_time(&place, seconds(entry))
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => regular(&place, entry, &mut self.room),
            // Extensions that the reader has taken in, or that say nothing about files.
            _ => Ok(()),
        }
    }

    fn directory<R: Read>(&mut self, path: &Path, place: &Place, entry: &mut Entry<'_, R>) -> io::Result<()> {
        match rustix::fs::mkdirat(&place.parent, place.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&place.parent, place.name(), AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    clear(place)?;
                    rustix::fs::mkdirat(&place.parent, place.name(), Mode::from_raw_mode(0o755))?;
                }
            }
            Err(e) => return Err(e.into()),
        }
        own(place, entry)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&place.parent, place.name(), flags, Mode::empty())?;
        rustix::fs::fchmod(&dir, mode(entry)?)?;
        xattrs(&dir, entry)?;
        self.times.push((path.to_owned(), seconds(entry)));
        self.implied.remove(&names(path)?.iter().collect::<PathBuf>());
        Ok(())
    }

    fn root_attributes<R: Read>(&self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.root, ".", flags, Mode::empty())?;
        rustix::fs::fchmod(&dir, mode(entry)?)?;
        xattrs(&dir, entry)
    }

    /// A link to a file that this layer does not have waits for the layers below.
    fn hard_link<R: Read>(&mut self, path: &Path, place: &Place, entry: &Entry<'_, R>) -> io::Result<()> {
        let target = entry.link_name_bytes().ok_or_else(|| invalid("a link to nothing"))?;
        let parts = names(Path::new(OsStr::from_bytes(&target)))?;
        let (name, folders) = parts.split_last().ok_or_else(|| invalid("a hard link to the root"))?;
        clear(place)?;
        let folder = self.open_folder(&Path::new(".").join(folders.iter().collect::<PathBuf>()));
        let linked = folder.and_then(|folder| {
            if is_whiteout(&rustix::fs::statat(&folder, *name, AtFlags::SYMLINK_NOFOLLOW)?) {
                return Ok(false);
            }
            rustix::fs::linkat(&folder, *name, &place.parent, place.name(), AtFlags::empty()).map(|()| true)
        });
        match linked {
            Ok(true) => Ok(()),
            Ok(false) => Err(invalid("a hard link to what the layer deletes")),
            Err(Errno::NOENT) => {
                self.links.push((names(path)?.iter().collect(), parts.iter().collect()));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where an entry goes; its folders are made when they are missing. `None` is the root.
    fn place(&mut self, path: &Path) -> io::Result<Option<Place>> {
        let mut parts = names(path)?;
        let Some(name) = parts.pop() else { return Ok(None) };
        let parent = self.folder_at(&parts)?;
        Ok(Some(Place { parent, name: name.as_bytes().to_vec() }))
    }

    fn folder_at(&mut self, parts: &[&OsStr]) -> io::Result<OwnedFd> {
        let path: PathBuf = parts.iter().collect();
        let path = if parts.is_empty() { Path::new(".") } else { &path };
        match self.open_folder(path) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
        let mut done = PathBuf::new();
        for part in parts {
            let above = self.open_folder(&Path::new(".").join(&done))?;
            done.push(part);
            match rustix::fs::mkdirat(&above, *part, Mode::from_raw_mode(0o755)) {
                Ok(()) => drop(self.implied.insert(done.clone())),
                Err(Errno::EXIST) => self.make_target(&done)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(self.open_folder(path)?)
    }

    /// Makes the folder that a link of this layer leads to, if it is only in a layer below.
    fn make_target(&mut self, link: &Path) -> io::Result<()> {
        let Err(Errno::NOENT) = self.open_folder(&Path::new(".").join(link)) else { return Ok(()) };
        let parent = self.open_folder(&Path::new(".").join(link.parent().unwrap_or(Path::new(""))))?;
        let Ok(target) = rustix::fs::readlinkat(&parent, link.file_name().unwrap_or_default(), Vec::new()) else {
            return Ok(());
        };
        let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
        // A target that begins at the root takes the place of the link's own folder.
        let whole = link.parent().unwrap_or(Path::new("")).join(target);
        let mut parts = Vec::new();
        for part in whole.components() {
            match part {
                Component::Normal(name) => parts.push(name),
                Component::ParentDir => drop(parts.pop()),
                _ => {}
            }
        }
        self.folder_at(&parts).map(drop)
    }

    fn open_folder(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Sets the times of folders, the deepest first.
    fn finish(&mut self) -> Result<(), Error> {
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let set = self.place(&path).and_then(|p| p.map_or(Ok(()), |p| set_time(&p, time)));
            set.map_err(|e| self.bad(&path, e))?;
        }
        Ok(())
    }

    fn bad(&self, path: &Path, e: io::Error) -> Error {
        if let Some(full) = self.room.refusal(&e) {
            return full;
        }
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace(self.folder.to_owned()),
            _ => Error::BadEntry {
                digest: self.layer.to_owned(),
                entry: path.display().to_string(),
                reason: e.to_string(),
            },
        }
    }
}

/// The names on a path from the layer's root.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(invalid("a path with ..")),
        }
    }
    Ok(names)
}

impl Place {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
}

fn regular<R: Read>(place: &Place, entry: &mut Entry<'_, R>, room: &mut Room) -> io::Result<()> {
    clear(place)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.parent, place.name(), flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(file);
    copy(entry, &mut file, room)?;
    own(place, entry)?;
    // After the owner: a change of owner takes set-uid bits and file capabilities away.
    rustix::fs::fchmod(&file, mode(entry)?)?;
    xattrs(&file, entry)?;
    rustix::fs::futimens(&file, &times(seconds(entry)))?;
    Ok(())
}

fn copy(from: &mut impl Read, to: &mut impl Write, room: &mut Room) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                room.take(n as u64)?;
                to.write_all(&buffer[..n])?;
            }
        }
    }
}

/// Removes what an earlier entry of the same layer put there.
fn clear(place: &Place) -> io::Result<()> {
    match rustix::fs::unlinkat(&place.parent, place.name(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            rustix::fs::unlinkat(&place.parent, place.name(), AtFlags::REMOVEDIR)?;
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

fn make_node(place: &Place, kind: FileType, major: u32, minor: u32) -> io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(&place.parent, place.name(), kind, Mode::from_raw_mode(0o600), device)?;
    Ok(())
}

fn own<R: Read>(place: &Place, entry: &Entry<'_, R>) -> io::Result<()> {
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| invalid("an owner beyond 32 bits"));
    // An empty field is zero, as for every reader of archives.
    let (uid, gid) = (id(header.uid().unwrap_or(0))?, id(header.gid().unwrap_or(0))?);
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(&place.parent, place.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn mode<R: Read>(entry: &Entry<'_, R>) -> io::Result<Mode> {
    Ok(Mode::from_raw_mode(entry.header().mode()? & 0o7777))
}

fn seconds<R: Read>(entry: &Entry<'_, R>) -> u64 {
    entry.header().mtime().unwrap_or(0)
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn set_time(place: &Place, seconds: u64) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(&place.parent, place.name(), &times(seconds), flags)?;
    Ok(())
}

fn xattrs<R: Read>(file: &impl AsFd, entry: &mut Entry<'_, R>) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|k| k.strip_prefix(XATTR_PREFIX)) else {
            continue;
        };
        if !name.starts_with(OVERLAY_PREFIX) {
            set_xattr(file, name, extension.value_bytes())?;
        }
    }
    Ok(())
}

/// A file system without an attribute's kind does without it.
fn set_xattr(file: &impl AsFd, name: &str, value: &[u8]) -> io::Result<()> {
    // Descriptors opened as places only (`O_PATH`) take attributes by their path alone.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
    match rustix::fs::setxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
