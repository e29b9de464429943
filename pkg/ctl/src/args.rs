// SPDX-License-Identifier: Apache-2.0
//! The command line, after kubectl's.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::CtlError;
use crate::image::ImageCommand;
use crate::node::NodeCommand;
use crate::rollout::RolloutCommand;
use crate::token::TokenCommand;

/// Talks to a cluster, as kubectl does.
#[derive(Debug, Parser)]
#[command(name = "ctl", bin_name = "knarr ctl")]
pub struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The kubeconfig to use [default: $KUBECONFIG, ~/.kube/config, that of a server on this host].
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace.
    #[arg(long, short = 'n', global = true)]
    pub namespace: Option<String>,
    /// The kubeconfig's context.
    #[arg(long, global = true)]
    pub context: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows objects.
    Get(GetArgs),
    /// Shows one object in detail, with its events.
    Describe(DescribeArgs),
    /// Brings objects to what files say.
    Apply(ApplyArgs),
    /// Deletes objects.
    Delete(DeleteArgs),
    /// Shows what a container prints.
    Logs(LogsArgs),
    /// Runs a command in a container.
    Exec(ExecArgs),
    /// Copies files to or from a container, which needs tar.
    Cp(CpArgs),
    /// Forwards local ports to a pod.
    PortForward(PortForwardArgs),
    /// Sets the number of replicas.
    Scale(ScaleArgs),
    /// Watches, undoes and restarts rollouts.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Shows where the cluster is.
    ClusterInfo,
    /// Looks after nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Looks after bootstrap tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Looks after the images of this host.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Prints the kubeconfig in use.
    Kubeconfig,
    /// Prints the versions of this program and of the server.
    Version(VersionArgs),
    /// Prints a completion script for a shell.
    Completion(CompletionArgs),
}

/// Which objects.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// TYPE, TYPE NAME..., TYPE/NAME..., or TYPE,TYPE.
    #[arg(value_name = "TYPE[/NAME]")]
    pub what: Vec<String>,
    /// All namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Only those that this label selector fits.
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// Only those that this field selector fits.
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    pub field_selector: String,
    /// Files, folders or - with the objects' manifests.
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them.
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// wide, json, yaml, name, jsonpath=TEMPLATE, go-template=TEMPLATE, custom-columns=HEADING:PATH,...
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// Goes on with what changes.
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Leaves out the line of headings.
    #[arg(long)]
    pub no_headers: bool,
    /// Adds a column of labels.
    #[arg(long)]
    pub show_labels: bool,
    /// Says nothing where an object is not there.
    #[arg(long)]
    pub ignore_not_found: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// With the events of each object [default: of a single one].
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub show_events: Option<bool>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// Files, folders or - with manifests.
    #[arg(long = "filename", short = 'f', value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them.
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Checks on the server without keeping anything.
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "server")]
    pub dry_run: DryRun,
    /// Takes over fields that others own.
    #[arg(long)]
    pub force_conflicts: bool,
    /// Under which name fields are owned.
    #[arg(long, value_name = "NAME", default_value = "knarrctl")]
    pub field_manager: String,
    /// As is always done here: taken for those who are used to typing it.
    #[arg(long = "server-side")]
    pub _server_side: bool,
}

/// Whether a write is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// It is.
    None,
    /// The server only checks it.
    Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// Seconds that pods get to end.
    #[arg(long, value_name = "SECONDS")]
    pub grace_period: Option<u32>,
    /// With --grace-period=0: does not wait for the node.
    #[arg(long)]
    pub force: bool,
    /// Waits until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub wait: bool,
    /// What happens to dependents: background, foreground, orphan.
    #[arg(long, value_enum, default_value = "background")]
    pub cascade: Cascade,
    /// Says nothing where an object is not there.
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// What happens to an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cascade {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD")]
    pub target: Option<String>,
    /// The container [default: the pod's first].
    #[arg(value_name = "CONTAINER")]
    pub container_argument: Option<String>,
    /// The container.
    #[arg(long, short = 'c')]
    pub container: Option<String>,
    /// Of all pods that this label selector fits.
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Goes on with what is printed.
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Of the container's previous run.
    #[arg(long, short = 'p')]
    pub previous: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Only what is newer than this: 5s, 2m, 3h.
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// With the time before each line.
    #[arg(long)]
    pub timestamps: bool,
    /// Of all containers.
    #[arg(long)]
    pub all_containers: bool,
    /// With pod and container before each line.
    #[arg(long)]
    pub prefix: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD")]
    pub target: String,
    /// The container [default: the pod's first].
    #[arg(long, short = 'c')]
    pub container: Option<String>,
    /// Passes standard input on.
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// With a terminal.
    #[arg(long, short = 't')]
    pub tty: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    /// PATH, POD:PATH or NAMESPACE/POD:PATH.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// The same.
    #[arg(value_name = "TO")]
    pub to: String,
    /// The container [default: the pod's first].
    #[arg(long, short = 'c')]
    pub container: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PortForwardArgs {
    /// POD or TYPE/NAME.
    #[arg(value_name = "POD")]
    pub target: String,
    /// LOCAL:REMOTE, PORT, or :REMOTE for any free local port; REMOTE may be a name.
    #[arg(required = true, value_name = "PORT")]
    pub ports: Vec<String>,
    /// The local address.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// TYPE/NAME or TYPE NAME.
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub what: Vec<String>,
    /// How many.
    #[arg(long)]
    pub replicas: i32,
    /// Only if there are so many now.
    #[arg(long, value_name = "N")]
    pub current_replicas: Option<i32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// Only this program's.
    #[arg(long)]
    pub client: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// bash, zsh, fish, ...
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Prints a shell's completion script.
pub(crate) fn complete(args: &CompletionArgs) -> Result<u8, CtlError> {
    let mut command = <Args as clap::CommandFactory>::command();
    clap_complete::generate(args.shell, &mut command, "knarrctl", &mut std::io::stdout());
    Ok(0)
}
