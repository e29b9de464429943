// SPDX-License-Identifier: Apache-2.0

//! A small program for the inside of pods: pause process, demo web server. It runs alone in an
//! empty root, so it is built static:
//!
//! ```text
//! RUSTFLAGS="-C target-feature=+crt-static" cargo build -p knarr-init --release \
//!     --target x86_64-unknown-linux-gnu
//! ```

mod serve;
mod signals;

use std::process::ExitCode;

const USAGE: &str = "\
usage: knarr-init pause              do nothing but reap, until told to end
       knarr-init serve [--port N]   answer HTTP on port N (8080) with this pod's name";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The first process of a pod hears no signal that it does not ask for.
    signals::end_on_request();
    match parse(&args) {
        Some(Mode::Pause) => signals::reap_for_ever(),
        Some(Mode::Serve(port)) => match serve::run(port) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("cannot serve on port {port}: {e}");
                ExitCode::FAILURE
            }
        },
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Pause,
    Serve(u16),
}

fn parse(args: &[&str]) -> Option<Mode> {
    match args {
        ["pause"] => Some(Mode::Pause),
        ["serve"] => Some(Mode::Serve(8080)),
        ["serve", "--port", port] => port.parse().ok().map(Mode::Serve),
        ["serve", port] => port.strip_prefix("--port=")?.parse().ok().map(Mode::Serve),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_parsed_and_typos_refused() {
        assert_eq!(parse(&["pause"]), Some(Mode::Pause));
        assert_eq!(parse(&["serve"]), Some(Mode::Serve(8080)));
        assert_eq!(parse(&["serve", "--port", "80"]), Some(Mode::Serve(80)));
        assert_eq!(parse(&["serve", "--port=81"]), Some(Mode::Serve(81)));
        for bad in [&[][..], &["pause", "x"], &["serve", "--port", "http"], &["serve", "--prot", "1"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
