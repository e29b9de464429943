// SPDX-License-Identifier: Apache-2.0

//! Layers, well-meant and not.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use super::*;

/// An archive of (path, kind, link or content).
fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o4755 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        // Written by hand: the builder refuses what an attacker would write.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let content = if matches!(kind, Symlink | Link) {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            ""
        } else {
            text
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(entries: &[(&str, EntryType, &str)]) -> (tempfile::TempDir, Result<Unpacked, Error>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("layer")).unwrap();
    let result = unpack("test", &archive(entries)[..], &dir.path().join("layer"));
    (dir, result)
}

use EntryType::{Directory as Dir, Link, Regular as File, Symlink};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn links_may_lead_to_folders_that_only_lower_layers_have() {
    if !is_root() {
        return;
    }
    let (dir, result) = unpacked(&[
        ("lib", Symlink, "usr/lib"),
        ("chain", Symlink, "/lib"),
        ("up", Symlink, "../../../elsewhere"),
        ("lib/a", File, "a"),
        ("chain/b", File, "b"),
        ("up/deep/c", File, "c"),
    ]);
    let implied = result.unwrap().implied.folders;
    let layer = dir.path().join("layer");
    for (file, content) in [("usr/lib/a", "a"), ("usr/lib/b", "b"), ("elsewhere/deep/c", "c")] {
        assert_eq!(fs::read_to_string(layer.join(file)).unwrap(), content);
    }
    assert!(implied.contains(&"usr/lib".into()) && implied.contains(&"elsewhere".into()), "{implied:?}");
    assert!(fs::symlink_metadata(layer.join("lib")).unwrap().is_symlink());
}

#[test]
fn files_keep_content_mode_owner_and_time() {
    if !is_root() {
        return;
    }
    let (dir, result) = unpacked(&[
        ("a/", Dir, ""),
        ("a/file", File, "text"),
        ("a/hard", Link, "a/file"),
        ("b/made/on/the/way", File, "x"),
        ("c", Symlink, "/etc/passwd"),
    ]);
    result.unwrap();
    let layer = dir.path().join("layer");
    let meta = fs::metadata(layer.join("a/file")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mtime()), (7, 8, 1_000_000));
    assert_eq!((meta.permissions().mode() & 0o7777, meta.nlink()), (0o4755, 2));
    assert_eq!(fs::read_to_string(layer.join("a/hard")).unwrap(), "text");
    assert_eq!(fs::metadata(layer.join("a")).unwrap().mtime(), 1_000_000);
    assert_eq!(fs::read_link(layer.join("c")).unwrap(), Path::new("/etc/passwd"));
    assert!(layer.join("b/made/on/the/way").exists());
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    if !is_root() {
        return;
    }
    let (dir, result) = unpacked(&[
        ("d/", Dir, ""),
        ("d/.wh..wh..opq", File, ""),
        ("d/.wh.gone", File, ""),
        (".wh..wh.plnk", File, ""),
    ]);
    result.unwrap();
    let layer = dir.path().join("layer");
    let gone = fs::symlink_metadata(layer.join("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let n = rustix::fs::getxattr(layer.join("d"), "trusted.overlay.opaque", &mut value[..]).unwrap();
    assert_eq!(&value[..n], b"y");
    assert_eq!(fs::read_dir(&layer).unwrap().count(), 1);
}

#[test]
fn nothing_leaves_the_layer_s_folder() {
    if !is_root() {
        return;
    }
    let attacks: [&[(&str, EntryType, &str)]; 7] = [
        &[("../out", File, "x")],
        &[("a/../../out", File, "x")],
        &[("/out", File, "x")],
        &[("up", Symlink, "../"), ("up/out", File, "x")],
        &[("abs", Symlink, "/tmp"), ("abs/knarr-out", File, "x")],
        &[("hard", Link, "../../../../etc/passwd")],
        &[("l", Symlink, "../out"), ("l", File, "x")],
    ];
    for attack in attacks {
        let (dir, _either_way) = unpacked(attack);
        assert!(!dir.path().join("out").exists(), "{attack:?}");
        assert!(!Path::new("/tmp/knarr-out").exists(), "{attack:?}");
    }
    let (_dir, result) = unpacked(&[("a/../../out", File, "x")]);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("a/../../out") && error.contains(".."), "{error}");
}

#[test]
fn marks_and_hard_links_lead_nowhere_either() {
    if !is_root() {
        return;
    }
    // Each of them is refused by name, and what lies beside the layer stays.
    type Entries<'a> = &'a [(&'a str, EntryType, &'a str)];
    let attacks: [(&str, Entries<'_>); 5] = [
        (".wh..", &[(".wh..", File, "")]),
        (".wh...", &[("a/", Dir, ""), ("a/.wh...", File, "")]),
        (".wh.", &[(".wh.", File, "")]),
        ("hard", &[("gone/", Dir, ""), ("gone/.wh.x", File, ""), ("hard", Link, "gone/x")]),
        ("hard", &[("hard", Link, "/")]),
    ];
    for (entry, attack) in attacks {
        let (dir, result) = unpacked(attack);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("layer test has a bad entry") && error.contains(entry), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{attack:?}");
    }
}

#[test]
fn hard_links_to_what_a_layer_lacks_wait_for_those_below() {
    let (dir, result) = unpacked(&[
        ("up", Symlink, "/"),
        ("deep/hard", Link, "/up/etc/passwd"),
        ("other", Link, "./below"),
        ("chain", Link, "other"),
    ]);
    let links = result.unwrap().implied.links;
    let wanted = [("deep/hard", "up/etc/passwd"), ("other", "below"), ("chain", "other")];
    assert_eq!(links, wanted.map(|(link, target)| (link.into(), target.into())));
    assert!(!dir.path().join("layer/other").exists() && !dir.path().join("layer/below").exists());
}

#[test]
fn devices_are_only_nodes() {
    if !is_root() {
        return;
    }
    let (dir, result) = unpacked(&[("memory", EntryType::Char, ""), ("pipe", EntryType::Fifo, "")]);
    result.unwrap();
    let kind = |name: &str| fs::symlink_metadata(dir.path().join("layer").join(name)).unwrap().file_type();
    assert!(kind("memory").is_char_device() && kind("pipe").is_fifo());
}

#[test]
fn every_compression_gives_the_same_content() {
    if !is_root() {
        return;
    }
    let plain = archive(&[("f", File, "text")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for bytes in [&plain, &gzip, &zstd] {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = unpack("test", &bytes[..], dir.path()).unwrap();
        assert_eq!(unpacked.diff_id, crate::digest::of(&plain));
        assert_eq!(unpacked.digest, crate::digest::of(bytes));
        assert_eq!(unpacked.bytes, bytes.len() as u64);
        assert_eq!(fs::read_to_string(dir.path().join("f")).unwrap(), "text");
    }
}

#[test]
fn a_damaged_archive_is_an_error_that_names_the_layer() {
    let dir = tempfile::tempdir().unwrap();
    let error = unpack("sha256:abc", &[0x1f, 0x8b, 1, 2, 3][..], dir.path()).unwrap_err();
    assert!(error.to_string().starts_with("layer sha256:abc is malformed"), "{error}");
}
