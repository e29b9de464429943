// SPDX-License-Identifier: Apache-2.0
//! hostPath: a place of the host, checked or made by its type.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// The path, if it is what its type asks for.
pub fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("hostPath {} must not contain '..'", source.path));
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    match kind {
        "DirectoryOrCreate" if !path.exists() => make_dir(&path)?,
        "FileOrCreate" if !path.exists() => make_file(&path)?,
        // What is not there is made as a folder, as container runtimes do.
        "" if !path.exists() => make_dir(&path)?,
        _ => {}
    }
    let found = fs::metadata(&path).map_err(|error| format!("hostPath {}: {error}", source.path))?.file_type();
    let fits = match kind {
        "" => true,
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        other => return Err(format!("unknown hostPath type {other:?}")),
    };
    if fits { Ok(path) } else { Err(format!("hostPath type check failed: {} is not a {kind}", source.path)) }
}

fn make_dir(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("make hostPath {}: {error}", path.display()))
}

fn make_file(path: &Path) -> Result<(), String> {
    fs::File::create_new(path)
        .and_then(|_| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(|error| format!("make hostPath {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_checked_and_or_create_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let made = dir.path().join("made");
        let cases = [
            (&file, "File", true),
            (&file, "Directory", false),
            (&file, "Socket", false),
            (&made, "Directory", false),
            (&made, "DirectoryOrCreate", true),
            (&made, "Directory", true),
        ];
        for (path, kind, fits) in cases {
            let source = HostPathVolumeSource { path: path.display().to_string(), type_: Some(kind.to_owned()) };
            assert_eq!(check(&source).is_ok(), fits, "{} {kind}", path.display());
        }
        assert!(check(&HostPathVolumeSource { path: "/a/../b".to_owned(), type_: None }).is_err());
    }
}
