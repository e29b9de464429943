// SPDX-License-Identifier: Apache-2.0
//! The configuration file: YAML with the flags' names as keys, as in k3s.
//!
//! A file becomes flags, put before those of the command line, so that there is one parser, one set
//! of rules and one wording of errors: flags win over the file, the file over defaults.

mod flags;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

/// Where the file is when `--config` names none; it may be absent.
pub const DEFAULT_FILE: &str = "/etc/knarr/config.yaml";

/// The arguments of `command` (the first is its name) with those of its configuration file put in
/// before them. `command` says which flags there are.
pub fn with_file(command: &clap::Command, args: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let (file, named) = match named_file(&args) {
        Some(file) => (file, true),
        None => (PathBuf::from(DEFAULT_FILE), false),
    };
    if !named && !file.exists() {
        return Ok(args);
    }
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read the configuration file {}", file.display()))?;
    let flags = flags::flags(command, &args, &file, &text)?;
    let mut all = args;
    all.splice(1..1, flags);
    Ok(all)
}

fn named_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(file) = arg.to_str().and_then(|a| a.strip_prefix("--config=")) {
            return Some(PathBuf::from(file));
        }
    }
    None
}
