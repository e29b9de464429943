// SPDX-License-Identifier: Apache-2.0

//! What comes out of a container: into its log file, and to those who attached.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::logs::{LineCutter, LogFile};

/// Bytes read from a pipe at once.
const READ_BYTES: usize = 32 << 10;
/// Reads of one pipe before others get their turn.
const READS_PER_TURN: usize = 8;

/// The outputs of one container.
pub struct Outputs {
    log: LogFile,
    streams: Vec<Output>,
    attached: Vec<Attached>,
}

struct Output {
    name: &'static str,
    fd: OwnedFd,
    cutter: LineCutter,
}

/// Someone who sees the output as it comes.
struct Attached {
    client: u64,
    name: &'static str,
    /// `None` when it fell behind or went away.
    fd: Option<OwnedFd>,
}

impl Outputs {
    /// Opens the log file; streams come when the container starts.
    pub fn new(log_path: PathBuf) -> io::Result<Outputs> {
        Ok(Outputs { log: LogFile::open(log_path)?, streams: Vec::new(), attached: Vec::new() })
    }

    /// Takes the reading ends, by the names that the log gives them.
    pub fn listen(&mut self, ends: Vec<(&'static str, OwnedFd)>) -> io::Result<()> {
        for (name, fd) in ends {
            rustix::io::ioctl_fionbio(&fd, true)?;
            self.streams.push(Output { name, fd, cutter: LineCutter::new(name) });
        }
        Ok(())
    }

    /// The descriptors to poll.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().map(|s| s.fd.as_fd())
    }

    /// Copies what comes on `name` to `fd` from now on. The writer does not wait for who reads.
    pub fn attach(&mut self, client: u64, name: &'static str, fd: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        self.attached.push(Attached { client, name, fd: Some(fd) });
        Ok(())
    }

    /// Forgets a client.
    pub fn detach(&mut self, client: u64) {
        self.attached.retain(|a| a.client != client);
    }

    /// Reads what is there on the nth descriptor; ended streams go away.
    pub fn pump(&mut self, index: usize) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        for _ in 0..READS_PER_TURN {
            match pump_once(stream, &mut self.log, &mut self.attached) {
                Pumped::Data => {}
                Pumped::Nothing => return,
                Pumped::End => {
                    drop(self.streams.remove(index));
                    return;
                }
            }
        }
    }

    /// Reads what is left and lets go of everything. A process that kept the pipe open without
    /// being of the container cannot hold this up.
    pub fn close(&mut self) {
        for mut stream in std::mem::take(&mut self.streams) {
            while let Pumped::Data = pump_once(&mut stream, &mut self.log, &mut self.attached) {}
            stream.cutter.finish(&mut self.log);
        }
        self.attached.clear();
    }
}

enum Pumped {
    Data,
    Nothing,
    End,
}

fn pump_once(stream: &mut Output, log: &mut LogFile, attached: &mut [Attached]) -> Pumped {
    let mut buffer = [0; READ_BYTES];
    match rustix::io::read(&stream.fd, &mut buffer) {
        Ok(n) if n > 0 => {
            stream.cutter.feed(&buffer[..n], log);
            attached.iter_mut().filter(|a| a.name == stream.name).for_each(|a| a.write(&buffer[..n]));
            Pumped::Data
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Pumped::Nothing,
        // End of file; of a terminal, EIO.
        _ => {
            stream.cutter.finish(log);
            Pumped::End
        }
    }
}

impl Attached {
    fn write(&mut self, data: &[u8]) {
        let Some(fd) = &self.fd else { return };
        match rustix::io::write(fd, data) {
            Ok(n) if n == data.len() => {}
            // It does not read, or is gone: it is cut off, not waited for.
            _ => self.fd = None,
        }
    }
}
