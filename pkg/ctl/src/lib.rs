// SPDX-License-Identifier: Apache-2.0
//! The commands of knarr ctl, and how they print.
//!
//! For hosts that have only `knarr`: kubectl's commands, flags and habits, on kube-rs. A command is a
//! module; [`session`] holds what all share, [`resources`] turns what people type into resources,
//! [`output`] what they asked for into text.

mod apply;
mod args;
mod cluster;
mod copy;
mod custom_columns;
mod delete;
mod describe;
mod error;
mod exec;
mod get;
mod go_text;
mod image;
mod jsonpath;
mod logs;
mod manifest;
mod node;
mod output;
mod portforward;
mod resources;
mod rollout;
mod scale;
mod selected;
mod session;
mod sort;
mod template;
mod token;
mod warnings;
mod yaml;

pub use args::{Args, as_kubectl};
pub use error::CtlError;

use args::Command;
use session::Session;

/// Runs one command; gives the exit code that `knarr ctl` ends with.
///
/// # Errors
/// What went wrong, for the person who typed the command.
pub async fn run(args: Args) -> Result<u8, CtlError> {
    let global = args.global;
    match args.command {
        // These need no server.
        Command::Completion(completion) => args::complete(&completion),
        Command::Image(command) => image::run(command).await,
        Command::Version(version) if version.client => cluster::version(None, &version.output).await,
        command => {
            let session = Session::open(&global).await?;
            let server = session.server.clone();
            dispatch(session, command).await.map_err(|error| error.of(&server))
        }
    }
}

async fn dispatch(session: Session, command: Command) -> Result<u8, CtlError> {
    match command {
        Command::Get(args) => get::run(&session, args).await,
        Command::Describe(args) => describe::run(&session, args).await,
        Command::Apply(args) => apply::run(&session, args).await,
        Command::Delete(args) => delete::run(&session, args).await,
        Command::Logs(args) => logs::run(&session, args).await,
        Command::Exec(args) => exec::run(&session, args).await,
        Command::Cp(args) => copy::run(&session, args).await,
        Command::PortForward(args) => portforward::run(&session, args).await,
        Command::Scale(args) => scale::run(&session, args).await,
        Command::Rollout(command) => rollout::run(&session, command).await,
        Command::ClusterInfo => cluster::info(&session).await,
        Command::Node(command) => node::run(&session, command).await,
        Command::Token(command) => token::run(&session, command).await,
        Command::Kubeconfig => cluster::kubeconfig(&session),
        Command::Version(args) => cluster::version(Some(&session), &args.output).await,
        Command::Image(_) | Command::Completion(_) => Ok(0),
    }
}
