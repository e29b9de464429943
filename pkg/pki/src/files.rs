// SPDX-License-Identifier: Apache-2.0
//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::PkiError;

/// Writes a file that only its owner may read.
///
/// # Errors
/// [`PkiError::File`].
pub fn write_private(path: &Path, content: &str) -> Result<(), PkiError> {
    write(path, content, 0o600)
}

/// Writes a file that everybody may read.
///
/// # Errors
/// [`PkiError::File`].
pub fn write_public(path: &Path, content: &str) -> Result<(), PkiError> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    let failed = |source| PkiError::File { action: "write", path: path.display().to_string(), source };
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(failed)
}

/// Reads the file, or makes it with what `make` gives, for the owner alone.
///
/// # Errors
/// [`PkiError::File`], or what `make` fails with.
pub fn read_or_create(path: &Path, make: impl FnOnce() -> Result<String, PkiError>) -> Result<String, PkiError> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(content),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let content = make()?;
            write_private(path, &content)?;
            Ok(content)
        }
        Err(source) => Err(PkiError::File { action: "read", path: path.display().to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_are_for_their_owner_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(read_or_create(&path, || Ok("a".into())).unwrap(), "a");
        assert_eq!(read_or_create(&path, || Ok("b".into())).unwrap(), "a");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
