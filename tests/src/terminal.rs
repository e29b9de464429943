// SPDX-License-Identifier: Apache-2.0
//! A program at a terminal: what a user types, sees, and how large the window is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::termios::{Winsize, tcsetwinsize};

use crate::running::Running;
use crate::wait::eventually;

/// A running program whose standard streams are a terminal of ours; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Running,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Starts `program` at a terminal of so many rows and columns.
    ///
    /// # Panics
    /// When there are no terminals, or the program is not there.
    #[must_use]
    pub fn start(program: &Command, rows: u16, columns: u16) -> Self {
        let pair = nix::pty::openpty(None, None).expect("the machine has pseudo terminals");
        let keyboard = File::from(pair.master);
        tcsetwinsize(&keyboard, size(rows, columns)).expect("a terminal has a size");
        let side = |slave: &OwnedFd| Stdio::from(slave.try_clone().expect("a descriptor can be duplicated"));
        // Its terminal in the full sense: changes of the window's size are signalled to it.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(program.get_program())
            .args(program.get_args())
            .env("TERM", "xterm")
            .stdin(side(&pair.slave))
            .stdout(side(&pair.slave))
            .stderr(side(&pair.slave))
            .spawn()
            .expect("util-linux is installed");
        let (tell, screen) = channel();
        let mut output = keyboard.try_clone().expect("a descriptor can be duplicated");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if tell.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child: Running(child), keyboard, screen, seen: String::new() }
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\r").as_bytes()).expect("the terminal takes input");
    }

    /// Makes the window another size.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.keyboard, size(rows, columns)).expect("a terminal has a size");
    }

    /// Whether `text` shows up within a while; what was before it is then forgotten.
    pub fn shows(&mut self, text: &str, within: Duration) -> bool {
        let end = std::time::Instant::now() + within;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return true;
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return false,
            }
        }
    }

    /// What was shown since the last text that was found.
    #[must_use]
    pub fn rest(&self) -> &str {
        &self.seen
    }

    /// Waits for the program's end; its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn exit_code(&mut self, within: Duration) -> Option<i32> {
        let status = eventually("the program at the terminal ends", within, || {
            self.child.try_wait().expect("the program can be waited for").ok_or("it runs")
        });
        status.code()
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
