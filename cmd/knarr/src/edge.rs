// SPDX-License-Identifier: Apache-2.0
//! `knarr edge`: started by the agent, with its sockets on standard input.

use std::path::PathBuf;

use knarr_edge::EdgeConfig;

/// Answers DNS and ingress of a node.
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// The file that the agent writes.
    #[arg(long)]
    pub snapshot: PathBuf,
    /// The unix socket on which the agent finds this process.
    #[arg(long)]
    pub control: PathBuf,
}

/// Runs until SIGTERM.
pub fn run(args: EdgeArgs) -> anyhow::Result<()> {
    let _telemetry = crate::telemetry::start(None)?;
    let config = EdgeConfig { snapshot: args.snapshot, control: args.control, listen: Vec::new() };
    Ok(knarr_edge::run(config)?)
}
