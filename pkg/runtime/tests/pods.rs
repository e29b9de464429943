// SPDX-License-Identifier: Apache-2.0

//! Real pods: started, watched, adopted and removed, as root. The test program is also its own
//! shim, so it has a `main`.

#![allow(clippy::unwrap_used)] // all of it is tests

mod support;

use std::process::ExitCode;

use support::Case;

mod cases {
    pub mod adoption;
    pub mod cleanup;
    pub mod confinement;
    pub mod lifecycle;
    pub mod streams;
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|first| first == "shim") {
        return knarr_runtime::shim::main(args.skip(1));
    }
    let args: Vec<String> = args.map(|a| a.to_string_lossy().into_owned()).collect();
    let all: Vec<Case> = [
        cases::lifecycle::CASES,
        cases::streams::CASES,
        cases::confinement::CASES,
        cases::adoption::CASES,
        cases::cleanup::CASES,
    ]
    .concat();
    support::run(&all, &args)
}
