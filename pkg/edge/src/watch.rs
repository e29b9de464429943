// SPDX-License-Identifier: Apache-2.0

//! Waits until the snapshot is replaced: inotify, no polling.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use crate::Error;

/// A watch on one file, by its folder: the file is replaced, not written.
pub(crate) struct Watch {
    events: AsyncFd<OwnedFd>,
    name: OsString,
}

impl Watch {
    /// Watches `file`, which may not exist yet; its folder must.
    pub fn new(file: &Path) -> Result<Self, Error> {
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let watch = || -> io::Result<_> {
            let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            inotify::add_watch(&descriptor, dir, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE)?;
            crate::readiness::register(descriptor)
        };
        let events = watch().map_err(Error::file("watch", dir))?;
        Ok(Self { events, name: file.file_name().unwrap_or_default().to_owned() })
    }

    /// Returns when the file was replaced since the last call; several replacements are one. Cancel-safe.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            let mut ours = false;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        // Without a name the queue ran over: look, to be sure.
                        ours |= event.file_name().is_none_or(|name| name.to_bytes() == self.name.as_bytes());
                    }
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            ready.clear_ready();
            if ours {
                return Ok(());
            }
        }
    }
}
