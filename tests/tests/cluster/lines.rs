// SPDX-License-Identifier: Apache-2.0
//! What a command that goes on says, line by line.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use knarr_tests::cluster::{LATER, SOON};
use knarr_tests::running::Running;
use knarr_tests::wait::eventually;

/// The lines of a command that goes on; it is ended when this is dropped.
pub struct Lines {
    child: Running,
    /// What it has said.
    pub lines: Receiver<String>,
}

impl Lines {
    /// Starts it.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child: Running(child), lines }
    }

    /// Reads on to a line that holds.
    pub fn find(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if holds(&line) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("{what}: not within {SOON:?}; seen: {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the command ended; seen: {seen:?}"),
            }
        }
    }

    /// What comes until the command ends by itself.
    pub fn finish(mut self) -> (Option<i32>, Vec<String>) {
        let code = eventually("the command ends", LATER, || self.child.try_wait().unwrap().ok_or("it runs")).code();
        (code, self.lines.iter().collect())
    }
}
