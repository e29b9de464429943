// SPDX-License-Identifier: Apache-2.0

//! Network namespaces with a name: made, entered for a task, removed.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;

use crate::Error;

/// The magic number of the filesystem that namespaces live in (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Whether a namespace is mounted at `path`.
pub(crate) fn exists(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type == NSFS_MAGIC)
}

/// Makes a namespace and mounts it at `path`.
pub(crate) async fn create(path: &Path) -> Result<(), Error> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    }
    File::create(path).map_err(Error::file("create", path))?;
    let target = path.to_owned();
    // A thread of its own: the namespace is the thread's, and both end together but for the mount.
    let made = on_a_thread(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
        nix::mount::mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    });
    made.await.map_err(Error::system(format!("create network namespace {}", path.display())))
}

/// Runs `work` in the namespace at `path`, on a thread and a runtime of its own.
pub(crate) async fn within<T, F>(path: &Path, work: impl FnOnce() -> F + Send + 'static) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
    T: Send + 'static,
{
    let file = File::open(path).map_err(Error::file("open", path))?;
    let done = on_a_thread(move || {
        nix::sched::setns(&file, CloneFlags::CLONE_NEWNET)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        Ok(runtime.block_on(work()))
    });
    done.await.map_err(Error::system(format!("enter network namespace {}", path.display())))?
}

/// Unmounts the namespace and removes its file; false if there was neither.
pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
    if exists(path) {
        nix::mount::umount2(path, MntFlags::MNT_DETACH)
            .map_err(|errno| Error::file("unmount", path)(io::Error::from(errno)))?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("remove", path)(error)),
    }
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (done, wait) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || done.send(work()))?;
    wait.await.unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
}
