// SPDX-License-Identifier: Apache-2.0
//! Clients made by others, where `scripts/install-clients.py` puts them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::hosts::Host;
use crate::kubectl::Kubectl;

/// `$KNARR_CLIENTS`, or the folder that `scripts/test.sh` fills.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("KNARR_CLIENTS").map_or_else(|| cache().join("clients"), PathBuf::from)
}

/// Where the scripts keep what they fetched between runs.
#[must_use]
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.unwrap_or_default().join("knarr")
}

/// Every version of a program that is there, by version: `FOLDER/NAME/VERSION/NAME`. Says so when there is none.
#[must_use]
pub fn versions(name: &str) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder().join(name)).into_iter().flatten().flatten();
    let program = |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), entry.path().join(name));
    let mut found: Vec<_> = entries.map(program).filter(|(_, path)| path.is_file()).collect();
    found.sort();
    if found.is_empty() {
        println!("left out: no {name} below {}: scripts/install-clients.py installs it", folder().display());
    }
    found
}

/// Runs a Python or JavaScript file of the tests on `host`, with the path of `kubectl`'s kubeconfig and `more` as
/// arguments; gives what it printed, or nothing when the packages that it needs are not installed, which is said.
/// `folder` is the test's own.
///
/// # Panics
/// When the program fails, with what it printed, or does not end within three minutes.
pub fn run_script(host: &Host, kubectl: &Kubectl, folder: &Path, file: &Path, more: &[&str]) -> Option<String> {
    let (interpreter, packages) = match file.extension().and_then(|e| e.to_str()) {
        Some("py") => ("python3", self::folder().join("python")),
        _ => ("node", self::folder().join("node")),
    };
    if !packages.join(".installed").exists() {
        println!("left out: {} needs packages in {}", file.display(), packages.display());
        return None;
    }
    // JavaScript looks for modules from where the file lies.
    let copy = folder.join(file.file_name().expect("a file has a name"));
    fs::copy(file, &copy).expect("the test's folder can be written");
    let _ = std::os::unix::fs::symlink(packages.join("node_modules"), folder.join("node_modules"));
    let mut command: Command = host.command("timeout");
    command.args(["--kill-after=5", "180", interpreter]).arg(&copy);
    command.arg(kubectl.kubeconfig()).args(more);
    let output = command.env("PYTHONPATH", &packages).output().expect("nsenter and timeout are installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{}: {}\n{said}", file.display(), output.status);
    Some(said)
}
