// SPDX-License-Identifier: Apache-2.0
//! The real binary on a host.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::hosts::Host;
use crate::wait::eventually;

/// The port of the API on every test server.
pub const PORT: u16 = 6443;

/// The binary under test: `$KNARR_BIN`, or the one that was built beside the tests.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KNARR_BIN") {
        return path.into();
    }
    let tests = std::env::current_exe().expect("a test has an executable");
    let found = tests.ancestors().map(|folder| folder.join("knarr")).find(|path| path.is_file());
    found.expect("build it first: cargo build -p knarr")
}

/// A running `knarr`; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    arguments: Vec<String>,
    host: Host,
}

impl Process {
    /// Starts `knarr ARGUMENTS` on `host`; what it prints goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(host: &Host, log: &Path, arguments: &[&str]) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log's folder exists");
        let child = host
            .command(binary())
            .args(arguments)
            .env("KNARR_LOG", std::env::var("KNARR_LOG").unwrap_or_else(|_| "info".into()))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be duplicated"))
            .stderr(file)
            .spawn()
            .expect("nsenter is installed");
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self { child, log: log.to_owned(), arguments, host: host.clone() }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as a power cut would: SIGKILL, to it alone.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process runs");
        self.child.wait().expect("the process can be waited for");
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        eventually("the process ends after SIGTERM", within, || {
            self.child.try_wait().expect("the process can be waited for").ok_or("it runs")
        })
    }

    /// The same without a word about one that does not end: it is killed. For clean-up after a failure.
    pub fn end(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the same again.
    pub fn restart(&mut self) {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        *self = Self::start(&self.host, &self.log, &arguments);
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            let lines: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("--- knarr {} ---\n{}\n", self.arguments.join(" "), lines.join("\n"));
        }
    }
}

/// Runs `knarr ARGUMENTS` on `host` to its end: exit code, and what it printed to both outputs.
///
/// # Panics
/// When it cannot be started, or does not end within a minute.
#[must_use]
pub fn run(host: &Host, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = host.command("timeout");
    command.args(["--kill-after=5", "60"]).arg(binary()).args(arguments);
    let output = command.output().expect("nsenter and timeout are installed");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.code() != Some(124), "knarr {} does not end: {text}", arguments.join(" "));
    (output.status.code(), text)
}
