// SPDX-License-Identifier: Apache-2.0
//! A folder of files that changes all at once: readers see the old set or the new one.
//!
//! As upstream lays it out: the files lie in `..<time>/`, `..data` points to it, and each top-level
//! name is a link through `..data`. An update makes a new folder and swings `..data` over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};

use super::content::File;
use crate::pod::Moment;

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Brings the folder to hold exactly `files`; files belong to `group` where one is given.
pub fn write(dir: &Path, files: &BTreeMap<String, File>, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| is_current(&dir.join(old), files)) {
        return Ok(());
    }
    let name = format!("..{}", Moment::now().0);
    let fresh = dir.join(&name);
    fs::create_dir_all(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, (bytes, mode)) in files {
        write_file(&fresh, path, bytes, *mode, group)?;
    }
    let next = dir.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, dir.join(DATA))?;
    link_names(dir, files)?;
    match old {
        Some(old) if old != Path::new(&name) => fs::remove_dir_all(dir.join(old)),
        _ => Ok(()),
    }
}

fn write_file(dir: &Path, path: &str, bytes: &[u8], mode: u32, group: Option<u32>) -> io::Result<()> {
    let relative = Path::new(path);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} leads out of the volume")));
    }
    let target = dir.join(relative);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&target, bytes)?;
    let mode = match group {
        Some(group) => {
            chown(&target, None, Some(group))?;
            mode | 0o440
        }
        None => mode,
    };
    fs::set_permissions(&target, fs::Permissions::from_mode(mode))
}

/// A link for each top-level name, and none for names that are gone.
fn link_names(dir: &Path, files: &BTreeMap<String, File>) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_current(dir: &Path, files: &BTreeMap<String, File>) -> bool {
    let mut count = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { return false };
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                pending.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    let same = |(path, (bytes, mode)): (&String, &File)| {
        let path = dir.join(path);
        fs::read(&path).is_ok_and(|old| old == *bytes)
            && fs::metadata(&path).is_ok_and(|metadata| metadata.mode() & *mode == *mode)
    };
    count == files.len() && files.iter().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(items: &[(&str, &str)]) -> BTreeMap<String, File> {
        items.iter().map(|(path, text)| (path.to_string(), (text.as_bytes().to_vec(), 0o644))).collect()
    }

    #[test]
    fn an_update_swaps_all_files_and_drops_old_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("v");
        write(&root, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        let first = fs::read_link(root.join("..data")).unwrap();
        assert_eq!(fs::read_to_string(root.join("d/b")).unwrap(), "2");
        write(&root, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(root.join("..data")).unwrap(), first, "nothing changed, nothing moves");
        std::thread::sleep(std::time::Duration::from_millis(2));
        write(&root, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
        assert!(!root.join("d").exists() && !root.join(first).exists());
    }

    #[test]
    fn no_path_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["../x", "/etc/x", "a/../../x"] {
            assert!(write(&dir.path().join("v"), &files(&[(bad, "1")]), None).is_err(), "{bad}");
        }
    }
}
