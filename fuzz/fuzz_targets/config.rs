// SPDX-License-Identifier: Apache-2.0

//! Configuration files: whatever is in one, it becomes flags that the program knows, or a message with its name.
#![no_main]

use std::path::Path;

use clap::{Arg, ArgAction, Command};
use libfuzzer_sys::fuzz_target;

// The program has no library: its module is compiled in here.
#[path = "../../cmd/knarr/src/config/flags.rs"]
mod config;

fuzz_target!(|text: &str| {
    let command = Command::new("server").args([
        Arg::new("port").long("port"),
        Arg::new("tls-san").long("tls-san").action(ArgAction::Append),
        Arg::new("bare").long("bare").action(ArgAction::SetTrue),
    ]);
    match config::flags(&command, &[], Path::new("c.yaml"), text) {
        Ok(flags) => {
            let known = |flag: &str| ["--port=", "--tls-san=", "--bare"].iter().any(|known| flag.starts_with(known));
            assert!(flags.iter().all(|flag| flag.to_str().is_some_and(known)), "{flags:?}");
        }
        Err(error) => assert!(format!("{error:#}").contains("c.yaml"), "{error:#}"),
    }
});
