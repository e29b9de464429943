// SPDX-License-Identifier: Apache-2.0

//! Terminals: libcontainer makes one inside the container and sends it over a socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// A socket that waits for one terminal.
pub struct Console {
    listener: UnixListener,
    /// Keeps `/proc/self/fd/N` valid: the real path may be longer than a socket's address.
    _dir: OwnedFd,
    path: PathBuf,
    real_path: PathBuf,
}

impl Console {
    /// Listens in the container's folder.
    pub fn listen(dir: &Path) -> io::Result<Console> {
        let real_path = dir.join("console.sock");
        let _not_there = std::fs::remove_file(&real_path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(dir, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/console.sock", handle.as_raw_fd()));
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Console { listener, _dir: handle, path, real_path })
    }

    /// What libcontainer is told.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that was sent. It was, when libcontainer said that it is done.
    pub fn accept(self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let terminal = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        terminal.ok_or_else(|| io::Error::other("no terminal came"))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _gone_with_the_folder_else = std::fs::remove_file(&self.real_path);
    }
}
