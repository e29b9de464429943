// SPDX-License-Identifier: Apache-2.0
//! Links releases small: functions that came out the same are kept once, tables that only unwinding reads are left out
//! (a panic aborts), and relocations are packed. Where the linker does not know how, a release is larger.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is left out.
const SCRIPT: &str = include_str!("link/no-unwind-tables.ld");

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link/no-unwind-tables.ld");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // One that is to be looked into by a debugger keeps its tables.
    if variable("PROFILE") != "release" || variable("DEBUG") != "false" {
        return;
    }
    // Where it is built, not where it lies: checkouts that share a target folder share this answer, and may go.
    let script = Path::new(&variable("OUT_DIR")).join("no-unwind-tables.ld");
    if let Err(error) = std::fs::write(&script, SCRIPT) {
        println!("cargo::error=cannot write {}: {error}", script.display());
    }
    let tables = ["-Wl,--no-eh-frame-hdr".to_owned(), format!("-Wl,-T,{}", script.display())];
    let ways = [vec!["-Wl,--icf=all".to_owned()], vec!["-Wl,-z,pack-relative-relocs".to_owned()], tables.to_vec()];
    for flags in ways.iter().filter(|flags| works(flags)) {
        flags.iter().for_each(|flag| println!("cargo::rustc-link-arg-bins={flag}"));
    }
}

/// Whether a program that is linked so runs here.
fn works(flags: &[String]) -> bool {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let (source, program) = (folder.join("probe.rs"), folder.join("probe"));
    if std::fs::write(&source, "fn main() { println!(\"{:?}\", std::env::args().collect::<Vec<_>>()) }").is_err() {
        return false;
    }
    let mut compile = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    compile.args(["-C", "panic=abort", "-o"]).arg(&program).arg(&source);
    for flag in flags {
        compile.args(["-C", &format!("link-arg={flag}")]);
    }
    let quiet = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    quiet(&mut compile) && quiet(&mut Command::new(&program))
}
