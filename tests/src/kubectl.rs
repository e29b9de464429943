// SPDX-License-Identifier: Apache-2.0
//! kubectl against a test cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;

use crate::hosts::Host;
use crate::wait::eventually;

/// No call of a test takes longer, those that wait for something included.
const LONGEST_CALL: Duration = Duration::from_secs(150);

/// kubectl with a kubeconfig, on a host.
#[derive(Clone, Debug)]
pub struct Kubectl {
    host: Host,
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    /// How `command` ends with `input` on its standard input.
    ///
    /// # Panics
    /// When its program is not installed.
    #[must_use]
    pub fn of(mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is installed");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_owned();
        // A child that ends early closes the pipe: that is its outcome, not a failure here.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let (over, is_over) = channel::<()>();
        let pid = child.id().to_string();
        // A call that hangs is ended, so that the test says which one it was.
        let watchdog = std::thread::spawn(move || {
            if is_over.recv_timeout(LONGEST_CALL) == Err(RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &pid]).status();
            }
        });
        let output = child.wait_with_output().expect("the program can be waited for");
        drop(over);
        let _ = (writer.join(), watchdog.join());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Kubectl {
    /// kubectl on `host` with this kubeconfig.
    #[must_use]
    pub fn new(host: &Host, kubeconfig: &Path) -> Self {
        Self { host: host.clone(), program: "kubectl".into(), kubeconfig: kubeconfig.to_owned() }
    }

    /// The same with another version of the program.
    #[must_use]
    pub fn with_program(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
    }

    /// Where the cluster and its administrator are written down.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The command, for callers that need its pipes.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command(&self.program);
        // A cache of its own: no two clusters under one address.
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--cache-dir").arg(self.kubeconfig.with_extension("kubectl-cache"));
        command.args(arguments);
        command
    }

    /// Runs it.
    ///
    /// # Panics
    /// When kubectl is not installed.
    #[must_use]
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Outcome {
        Outcome::of(self.command(arguments), input)
    }

    /// Runs it, and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "")
    }

    /// The same with something on standard input.
    ///
    /// # Panics
    /// When it fails.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let outcome = self.try_run(arguments, input);
        assert!(outcome.code == 0, "kubectl {}: exit code {}\n{}", arguments.join(" "), outcome.code, outcome.err);
        outcome.out
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn apply(&self, manifest: &str) -> String {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// `get ARGUMENTS -o json`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Waits until `get ARGUMENTS -o jsonpath=PATH` prints `want`.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_for(&self, arguments: &[&str], path: &str, want: &str, within: Duration) {
        let path = format!("jsonpath={path}");
        let all = [&["get", "-o", &path], arguments].concat();
        eventually(&format!("{} has {path} = {want:?}", arguments.join(" ")), within, || {
            let outcome = self.try_run(&all, "");
            if outcome.code == 0 && outcome.out == want { Ok(()) } else { Err((outcome.out, outcome.err)) }
        });
    }
}
