//! The node: it joins, runs its pods, and reports.
//!
//! The agent decides (with the pure state machine in `pod`) and others hold what
//! lives: containers belong to their shims, traffic to the kernel and to `edge`. So killing the
//! agent stops nothing, and a new one adopts what it finds in the data dir.

mod actions;
mod config;
mod container;
mod context;
mod dns;
mod down;
mod env;
mod error;
mod fields;
mod hooks;
mod join;
mod layout;
mod logs;
mod machine;
mod network;
mod node;
mod objects;
pub mod pod;
mod pods;
mod probes;
mod resources;
mod security;
mod serve;
mod server;
mod tunnel;
mod volumes;
mod worker;
mod writer;

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
