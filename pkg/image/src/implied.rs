// SPDX-License-Identifier: Apache-2.0

//! What a layer leaves to the layers below: folders that it passes through without a word about them, and files that it
//! only gives another name.
//!
//! An archive may say `tmp/file` and nothing of `tmp`. Unpacked upon the layers below, as others do it, `tmp` keeps its
//! mode and owner; and where it is a symbolic link below, the file goes to where the link leads, inside of the root file
//! system. Here each layer is unpacked alone, so such a folder gets what it has below, or moves to where it belongs, as
//! soon as it is known what is below: when the first image has all of its layers. Then, too, a hard link to a file of a
//! layer below becomes one: the same file under a name in this layer.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

/// As the store keeps a list: paths do not have this byte.
const SEPARATOR: u8 = 0;
/// Comes before each path of a link and of what it is of; folders are relative paths.
const OF_A_LINK: u8 = b'/';
/// Links that are followed on one path, as the kernel does it.
const LINKS_MAX: usize = 40;

/// What is open of a layer until it is known what is below. All paths are relative to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Implied {
    /// Folders on the way to entries that the archive itself says nothing about, those above others first.
    pub folders: Vec<PathBuf>,
    /// Hard links to files that the layer does not have: where they go, and what they are of.
    pub links: Vec<(PathBuf, PathBuf)>,
}

impl Implied {
    pub(crate) fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.links.is_empty()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let end = [SEPARATOR];
        let folders = self.folders.iter().map(|path| [path.as_os_str().as_bytes(), &end].concat());
        let of_links = self.links.iter().flat_map(|(link, target)| [link, target]);
        let links = of_links.map(|path| [&[OF_A_LINK], path.as_os_str().as_bytes(), &end].concat());
        folders.chain(links).flatten().collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let all = bytes.split(|byte| *byte == SEPARATOR).filter(|path| !path.is_empty());
        let (links, folders): (Vec<_>, Vec<_>) = all.partition(|path| path[0] == OF_A_LINK);
        let pairs = links.as_chunks::<2>().0.iter().map(|[link, target]| (path(&link[1..]), path(&target[1..])));
        Self { folders: folders.into_iter().map(path).collect(), links: pairs.collect() }
    }
}

/// Has `layer` agree with what is in the layers `below`, the nearest first.
pub(crate) fn settle(layer: &Path, below: &[PathBuf], implied: &Implied) -> io::Result<()> {
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in &implied.folders {
        let now_at =
            |path: &Path, (from, to): &(PathBuf, PathBuf)| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let path = moved.iter().fold(path.clone(), |path, step| now_at(&path, step).unwrap_or(path));
        let Some(real) = real_path(below, &path)? else { continue };
        if real != path && move_folder(layer, below, &path, &real)? {
            moved.push((path, real));
        } else {
            adopt(layer, below, &real)?;
        }
    }
    implied.links.iter().try_for_each(|(link, target)| make_link(layer, below, link, target))
}

/// Gives the file `target` of the topmost layer that has it the name `link` in `layer`.
fn make_link(layer: &Path, below: &[PathBuf], link: &Path, target: &Path) -> io::Result<()> {
    let all = [&[layer.to_owned()], below].concat();
    let missing = || {
        let text = format!("{} is a hard link to {}, a file that no layer has", link.display(), target.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let place = |path: &Path| {
        let folder = real_path(&all, path.parent().unwrap_or(Path::new("")))?;
        folder.zip(path.file_name().map(OsStr::to_owned)).ok_or_else(missing)
    };
    let ((to, name), (from, of)) = (place(link)?, place(target)?);
    let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory && !is_whiteout(stat);
    let (source, _) = topmost(&all, &from, &of)?.filter(|(_, stat)| is_file(stat)).ok_or_else(missing)?;
    make_folders(layer, below, &to)?;
    let folder = open(layer, &to, OFlags::PATH | OFlags::DIRECTORY)?;
    match rustix::fs::linkat(&source, &of, &folder, &name, AtFlags::empty()) {
        // A later entry of the archive took the place.
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether it is what overlayfs takes for a file that is deleted.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
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

/// What the layers have at `name` in `folder`.
fn look(layers: &[PathBuf], folder: &Path, name: &OsStr) -> io::Result<Found> {
    let Some((dir, stat)) = topmost(layers, folder, name)? else { return Ok(Found::Nothing) };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Folder,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&dir, name, Vec::new())?;
            Found::Link(OsString::from_vec(target.into_bytes()).into())
        }
        _ => Found::Nothing,
    })
}

/// The folder, opened, of the topmost layer that says something about `name` in it, and what is said: also that it is
/// deleted. `None` when none says anything, or what is said is hidden.
fn topmost(layers: &[PathBuf], folder: &Path, name: &OsStr) -> io::Result<Option<(OwnedFd, Stat)>> {
    for layer in layers {
        let dir = match open(layer, folder, OFlags::PATH) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => continue,
            // Something else hides the folder.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => return Ok(Some((dir, stat))),
            Err(Errno::NOENT) if is_opaque(layer, folder) => return Ok(None),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
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
    make_folders(layer, below, to)?;
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

/// Makes a folder of the layer and those above it, as they are below.
fn make_folders(layer: &Path, below: &[PathBuf], path: &Path) -> io::Result<()> {
    let mut made = PathBuf::new();
    for name in path {
        let above = open(layer, &made, OFlags::PATH | OFlags::DIRECTORY)?;
        made.push(name);
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => adopt(layer, below, &made)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
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
        let implied = Implied { folders: implied.to_vec(), links: vec![] };
        settle(&top, &[middle, lower], &implied).unwrap();
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
    fn links(pairs: &[(&str, &str)]) -> Implied {
        let links = pairs.iter().map(|(link, target)| (link.into(), target.into())).collect();
        Implied { folders: vec![], links }
    }

    #[test]
    fn a_hard_link_to_a_file_below_is_that_file() {
        let (_dir, [lower, middle, top]) = layers();
        write(&lower, "usr/lib/a");
        write(&lower, "b");
        write(&middle, "b");
        symlink("usr/lib", lower.join("lib")).unwrap();
        write(&top, "taken");
        let below = [middle.clone(), lower.clone()];
        let pairs = [("lib/z", "lib/a"), ("deep/b", "b"), ("again", "deep/b"), ("s", "lib"), ("taken", "b")];
        settle(&top, &below, &links(&pairs)).unwrap();
        let same = |a: PathBuf, b: PathBuf| {
            use std::os::unix::fs::MetadataExt as _;
            let inode = |path: PathBuf| fs::symlink_metadata(path).unwrap().ino();
            assert_eq!(inode(a), inode(b));
        };
        same(top.join("usr/lib/z"), lower.join("usr/lib/a"));
        same(top.join("deep/b"), middle.join("b"));
        same(top.join("again"), middle.join("b"));
        same(top.join("s"), lower.join("lib"));
        assert_eq!(fs::read_to_string(top.join("taken")).unwrap(), "taken", "what came later in the archive stays");
    }

    #[test]
    fn a_hard_link_to_nothing_is_named_and_none_leads_out() {
        let (dir, [lower, middle, top]) = layers();
        write(dir.path(), "outside");
        fs::create_dir(lower.join("folder")).unwrap();
        symlink("/", lower.join("root")).unwrap();
        symlink("..", lower.join("up")).unwrap();
        write(&lower, "deleted");
        let device = rustix::fs::makedev(0, 0);
        let kind = FileType::CharacterDevice;
        if rustix::fs::mknodat(rustix::fs::CWD, middle.join("deleted"), kind, Mode::empty(), device).is_err() {
            return; // only root makes them
        }
        for target in ["none", "none/x", "folder", "deleted", "root/outside", "up/outside", "up/up/outside", "b/../x"] {
            let error = settle(&top, &[middle.clone(), lower.clone()], &links(&[("link", target)])).unwrap_err();
            assert!(!top.join("link").exists(), "{target}: {error}");
        }
        let error = settle(&top, &[middle, lower], &links(&[("link", "none")])).unwrap_err().to_string();
        assert_eq!(error, "link is a hard link to none, a file that no layer has");
    }

    #[test]
    fn lists_come_back() {
        let both = Implied { folders: vec!["a".into(), "a/b".into()], ..links(&[("a/b/c", "d"), ("e", "f/g")]) };
        for list in [Implied::default(), both] {
            assert_eq!(Implied::from_bytes(&list.to_bytes()), list);
        }
    }
}
