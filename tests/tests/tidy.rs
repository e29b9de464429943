// SPDX-License-Identifier: Apache-2.0
//! The house rules that a machine can check. Every failure says how to mend it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The crates from the top down: each may use only those before it. `spec.md` has the same list.
const ORDER: [&str; 19] = [
    "knarr-types",
    "knarr-schema",
    "knarr-pki",
    "knarr-store",
    "knarr-auth",
    "knarr-admission",
    "knarr-apiserver",
    "knarr-client",
    "knarr-scheduler",
    "knarr-controllers",
    "knarr-image",
    "knarr-runtime",
    "knarr-network",
    "knarr-edge",
    "knarr-agent",
    "knarr-ctl",
    "knarr",
    "knarr-init",
    "knarr-tests",
];
/// Crates that do no I/O, hold no locks and know no async.
const PURE: [&str; 2] = ["knarr-types", "knarr-schema"];
const NOT_IN_PURE: [&str; 5] = ["tokio", "async-trait", "futures", "parking_lot", "rustix"];
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;
/// What does not belong into product code, and what to do instead.
const BANNED: [(&str, &str); 4] = [
    ("thread::sleep", "wait for the thing itself, with a deadline"),
    ("println!(\"DEBUG", "use tracing"),
    ("FIXME", "mend it, or say in docs what is missing"),
    ("XXX", "mend it, or say in docs what is missing"),
];

fn root() -> PathBuf {
    knarr_tests::manifest_folder().parent().expect("tests/ is in the workspace").to_owned()
}

/// The crates of the workspace: their folders and manifests.
fn crates() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut folders = vec![root.join("tests")];
    for group in ["cmd", "pkg"] {
        folders.extend(fs::read_dir(root.join(group)).unwrap().map(|entry| entry.unwrap().path()));
    }
    folders.into_iter().map(|folder| (folder.clone(), fs::read_to_string(folder.join("Cargo.toml")).unwrap())).collect()
}

/// The names in one table of a manifest.
fn names_in(manifest: &str, table: &str) -> Vec<String> {
    let table = manifest.split("\n[").find_map(|part| part.strip_prefix(table)?.strip_prefix("]\n"));
    let keys = table.into_iter().flat_map(str::lines).filter_map(|line| line.split(['.', ' ', '=']).next());
    keys.filter(|key| !key.is_empty() && !key.starts_with('#')).map(str::to_owned).collect()
}

struct Source {
    path: String,
    text: String,
}

/// The Rust files below `cmd` and `pkg`.
fn sources() -> Vec<Source> {
    sources_below(vec![root().join("cmd"), root().join("pkg")])
}

fn sources_below(mut folders: Vec<PathBuf>) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().display().to_string(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The lines before the unit tests of a file.
fn product(source: &Source) -> Vec<&str> {
    let lines: Vec<_> = source.text.lines().collect();
    let end = lines.iter().position(|l| l.starts_with("#[cfg(test)]")).unwrap_or(lines.len());
    lines[..end].to_vec()
}

fn is_product(source: &Source) -> bool {
    source.path.contains("/src/") && !source.path.ends_with("tests.rs") && !source.path.contains("/tests/")
}

fn report(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}\n  {}\n", faults.join("\n  "));
}

#[test]
fn crates_use_only_those_above_them() {
    let mut faults = Vec::new();
    for (_, manifest) in crates() {
        let name = manifest.lines().find_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).unwrap();
        let Some(rank) = ORDER.iter().position(|c| *c == name) else {
            faults.push(format!("{name} is not in ORDER of tests/tests/tidy.rs: say where it stands, and in spec.md"));
            continue;
        };
        for dependency in names_in(&manifest, "dependencies") {
            let allowed = !dependency.starts_with("knarr") || ORDER[..rank].contains(&dependency.as_str());
            if !allowed {
                faults.push(format!("{name} uses {dependency}, which stands below it: move what is shared up"));
            }
            if PURE.contains(&name) && NOT_IN_PURE.contains(&dependency.as_str()) {
                faults.push(format!("{name} is pure and may not use {dependency}"));
            }
        }
    }
    report("crates may use only those above them (spec.md, the map)", &faults);
}

#[test]
fn crates_depend_on_what_their_code_names() {
    let (mut faults, mut used) = (Vec::new(), Vec::new());
    for (folder, manifest) in crates() {
        let code: String = sources_below(vec![folder.clone()]).into_iter().map(|source| source.text).collect();
        let words: BTreeSet<_> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for dependency in ["dependencies", "dev-dependencies"].iter().flat_map(|table| names_in(&manifest, table)) {
            if !words.contains(dependency.replace('-', "_").as_str()) {
                faults.push(format!("{}: no code names {dependency}: take it out", folder.display()));
            }
            used.push(dependency);
        }
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let unused = names_in(&workspace, "workspace.dependencies").into_iter().filter(|name| !used.contains(name));
    faults.extend(unused.map(|name| format!("Cargo.toml: no crate depends on {name}: take it out")));
    report("crates depend on what their code names", &faults);
}

#[test]
fn every_crate_is_in_the_spec_and_says_what_it_is() {
    let root = root();
    let spec = fs::read_to_string(root.join("spec.md")).unwrap();
    let mut faults = Vec::new();
    for folder in ["cmd", "pkg"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
            if !spec.contains(&format!("`{name}`")) {
                faults.push(format!("spec.md does not name `{name}`: add its line to the map"));
            }
            let main = ["src/lib.rs", "src/main.rs"].into_iter().map(|f| path.join(f)).find(|f| f.exists()).unwrap();
            if !fs::read_to_string(&main).unwrap().contains("//! ") {
                faults.push(format!("{name}: its root file does not begin with what the crate is"));
            }
        }
    }
    report("the spec names every crate, every crate names its job", &faults);
}

#[test]
fn files_begin_with_their_licence_and_what_lives_there() {
    let faults: Vec<_> = sources()
        .iter()
        .filter_map(|s| {
            let mut lines = s.text.lines();
            let licence = lines.next() == Some("// SPDX-License-Identifier: Apache-2.0");
            let says = s.text.lines().take(8).any(|l| l.starts_with("//! "));
            match (licence, says) {
                (false, _) => Some(format!("{}: first line must be // SPDX-License-Identifier: Apache-2.0", s.path)),
                (_, false) => Some(format!("{}: say in //! what lives here", s.path)),
                _ => None,
            }
        })
        .collect();
    report("files begin with their licence and what lives there", &faults);
}

#[test]
fn files_fit_in_a_head() {
    let long = |s: &Source| {
        let lines = product(s).len();
        (is_product(s) && lines > MAX_FILE_LINES).then(|| format!("{}: {lines} lines, split it", s.path))
    };
    report("files have at most 600 lines before their tests", &sources().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_fit_on_a_screen() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| is_product(s)) {
        let lines = product(source);
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_function =
                ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "pub(crate) async fn "]
                    .iter()
                    .any(|p| head.starts_with(p));
            if !is_function || head.ends_with(';') || head.ends_with('}') {
                continue;
            }
            let closing = format!("{}}}", " ".repeat(indent));
            let Some(length) = lines[start..].iter().position(|l| *l == closing) else { continue };
            if length + 1 > MAX_FUNCTION_LINES {
                faults.push(format!("{}:{}: {} lines, split it", source.path, start + 1, length + 1));
            }
        }
    }
    report("functions have at most 70 lines", &faults);
}

#[test]
fn nothing_banned_is_in_product_code() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|s| is_product(s)) {
        for (number, line) in product(source).iter().enumerate() {
            for (word, instead) in BANNED {
                if line.contains(word) {
                    faults.push(format!("{}:{}: {word}: {instead}", source.path, number + 1));
                }
            }
        }
    }
    report("product code has none of the banned words", &faults);
}

#[test]
fn unsafe_code_stands_only_where_the_spec_says() {
    let spec = fs::read_to_string(root().join("spec.md")).unwrap();
    let faults: Vec<_> = sources()
        .iter()
        .filter(|s| s.text.contains("allow(unsafe_code") && !spec.contains(&format!("`{}`", s.path)))
        .map(|s| format!("{}: name it in spec.md under unsafe, with its reason", s.path))
        .collect();
    report("unsafe stands only in modules that spec.md names", &faults);
}
