// SPDX-License-Identifier: Apache-2.0
//! `knarr up`: server and agent of one host in one process.

use knarr_auth::UserInfo;
use tokio_util::sync::CancellationToken;

/// Where everything is unless `--data-dir` says otherwise.
pub const DATA_DIR: &str = "/var/lib/knarr";
/// The agent's folder below it.
pub const AGENT_DIR: &str = "agent";

/// Runs server and agent on this host.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// The server's flags.
    #[command(flatten)]
    pub server: crate::server::Settings,
    /// The node's flags.
    #[command(flatten)]
    pub node: crate::agent::NodeArgs,
}

/// Runs until SIGTERM, or until the agent fails. Pods go on either way.
pub async fn run(args: UpArgs) -> anyhow::Result<()> {
    let started = crate::server::start(&args.server, args.node.node_name.as_deref()).await?;
    let (url, token) = (started.running.url(), started.running.token.to_string());
    let mut config = args.node.config(args.server.data_dir.join(AGENT_DIR), url, token);
    let node =
        UserInfo::new(&format!("system:node:{}", config.node_name), &["system:nodes", knarr_auth::SERVING_NODES]);
    config.in_process = Some(started.client(node));
    let ending = CancellationToken::new();
    let mut agent = Box::pin(knarr_agent::run(config, ending.clone().cancelled_owned()));
    let ended = tokio::select! {
        ended = &mut agent => ended,
        () = crate::terminated() => {
            tracing::info!("ending; the pods go on");
            ending.cancel();
            agent.await
        }
    };
    started.shutdown().await;
    Ok(ended?)
}
