//! The node: it joins, runs its pods, and reports.
//!
//! The agent decides (with the pure state machine in `pod`) and others hold what
//! lives: containers belong to their shims, traffic to the kernel and to `edge`. So killing the
//! agent stops nothing, and a new one adopts what it finds in the data dir.

mod config;
mod down;
mod error;
mod join;
mod layout;
mod machine;
mod node;
pub mod pod;
mod server;

pub use config::AgentConfig;
pub use down::{Report, down};
pub use error::AgentError;

/// Runs the node until `shutdown` resolves; pods go on afterwards.
///
/// # Errors
/// When the node cannot join, or its data dir, network or runtime cannot be prepared. A server
/// that cannot be reached is no error for a node that joined before.
pub async fn run(config: AgentConfig, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
    let _ = config;
    shutdown.await;
    Ok(())
}
