// SPDX-License-Identifier: Apache-2.0
//! `knarr down`: undoes what Knarr made on this host, and proves it.

use std::path::PathBuf;
use std::process::ExitCode;

/// Stops the pods of this host and removes everything that Knarr made on it.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// The data dir of `knarr up`, or of an agent.
    #[arg(long, value_name = "DIR", default_value = crate::up::DATA_DIR)]
    pub data_dir: PathBuf,
    /// Deletes the data dir too: the state of the cluster, keys and images.
    #[arg(long)]
    pub delete_data: bool,
}

/// Prints a line for everything that is gone, and fails when anything is left.
pub fn run(args: &DownArgs) -> anyhow::Result<ExitCode> {
    let below = args.data_dir.join(crate::up::AGENT_DIR);
    let agent = if below.exists() { below } else { args.data_dir.clone() };
    let report = knarr_agent::down(&agent)?;
    for line in &report.removed {
        println!("removed {line}");
    }
    for line in &report.left {
        eprintln!("left {line}");
    }
    if !report.left.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if args.delete_data && args.data_dir.exists() {
        std::fs::remove_dir_all(&args.data_dir)?;
        println!("removed {}", args.data_dir.display());
    }
    println!("nothing of the node in {} is left on this host", args.data_dir.display());
    Ok(ExitCode::SUCCESS)
}
