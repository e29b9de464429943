// SPDX-License-Identifier: Apache-2.0
//! The command line, after kubectl's.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

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
    /// The kubeconfig's cluster, instead of the context's.
    #[arg(long, global = true)]
    pub cluster: Option<String>,
    /// The kubeconfig's user, instead of the context's.
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// Where the server is, instead of where the kubeconfig says.
    #[arg(long, short = 's', global = true, value_name = "URL")]
    pub server: Option<String>,
    /// A bearer token, beside the kubeconfig's credentials.
    #[arg(long = "token", global = true, value_name = "TOKEN", hide_env_values = true)]
    pub bearer_token: Option<String>,
    /// Whom to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub act_as: Option<String>,
    /// As a member of which groups.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub act_as_group: Vec<String>,
    /// How long to wait for the server at a time, as 30s or 5m; 0 is for ever.
    #[arg(long, global = true, value_name = "DURATION", default_value = "0")]
    pub request_timeout: String,
    /// Takes any certificate of the server for its own.
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
}

/// How kubectl reads a command line: `--flag=false` is a flag that is not set, and the last of several values counts.
#[must_use]
pub fn as_kubectl(command: clap::Command) -> clap::Command {
    let takes_value = |arg: clap::Arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL"),
        _ => arg,
    };
    command.args_override_self(true).mut_args(takes_value).mut_subcommands(as_kubectl)
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
    #[arg(long = "filename", short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them.
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

impl Selection {
    /// What kubectl refuses to take together.
    pub fn check(&self) -> Result<(), CtlError> {
        if !self.files.is_empty() && !self.what.is_empty() {
            return Err(CtlError::usage(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let selects = !self.selector.is_empty() || !self.field_selector.is_empty();
        let names = self.what.len() > 1 || self.what.first().is_some_and(|word| word.contains('/'));
        if selects && names {
            return Err(CtlError::usage("name cannot be provided when a selector is specified"));
        }
        Ok(())
    }
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// wide, json, yaml, name, jsonpath=TEMPLATE, go-template=TEMPLATE, custom-columns=HEADING:PATH,...
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// The template, or its file, of a format that takes one.
    #[arg(long, value_name = "TEMPLATE")]
    pub template: Option<String>,
    /// Goes on with what changes.
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Only what changes.
    #[arg(long)]
    pub watch_only: bool,
    /// With what happened to each object that is watched.
    #[arg(long)]
    pub output_watch_events: bool,
    /// Leaves out the line of headings.
    #[arg(long)]
    pub no_headers: bool,
    /// Adds a column of labels.
    #[arg(long)]
    pub show_labels: bool,
    /// Adds a column for each of these labels.
    #[arg(long, short = 'L', value_name = "LABEL", value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Names the type before each name.
    #[arg(long)]
    pub show_kind: bool,
    /// Sorts by this field, a JSONPath.
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// Lists in chunks of so many; 0 is at once.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub chunk_size: u64,
    /// With who manages which field.
    #[arg(long)]
    pub show_managed_fields: bool,
    /// This part of each object: status, scale, ...
    #[arg(long, value_name = "NAME")]
    pub subresource: Option<String>,
    /// Prints what the server answers at this path.
    #[arg(long, value_name = "PATH", conflicts_with = "what")]
    pub raw: Option<String>,
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
    #[arg(long = "filename", short = 'f', value_name = "FILE", value_delimiter = ',', required = true)]
    pub files: Vec<PathBuf>,
    /// Folders with all that is below them.
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Keeps nothing: client, or server to have it checked.
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: DryRun,
    /// Only those of the files that this label selector fits.
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// Prints the objects: name, yaml, json, jsonpath=TEMPLATE, ...
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// What becomes of fields that the server does not know: strict (true), warn, ignore (false).
    #[arg(long, default_value = "strict", num_args = 0..=1, default_missing_value = "strict", require_equals = true)]
    pub validate: String,
    /// Takes over fields that others own.
    #[arg(long)]
    pub force_conflicts: bool,
    /// Under which name fields are owned.
    #[arg(long, value_name = "NAME", default_value = "knarrctl")]
    pub field_manager: String,
    /// As is always done here: taken for those who are used to typing it.
    #[arg(long = "server-side")]
    pub _server_side: bool,
    /// The same.
    #[arg(long = "wait", hide = true)]
    pub _wait: bool,
    /// The same.
    #[arg(long = "overwrite", hide = true)]
    pub _overwrite: bool,
}

/// Whether a write is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// It is.
    None,
    /// It is said what would be.
    Client,
    /// The server only checks it.
    Server,
}

impl DryRun {
    /// What is said behind what would be.
    pub fn note(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// Seconds that pods get to end; -1 is what they ask for.
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// One second of them.
    #[arg(long)]
    pub now: bool,
    /// How long to wait until the objects are gone, as 30s or 5m; 0 is for ever.
    #[arg(long, value_name = "DURATION", default_value = "0")]
    pub timeout: String,
    /// Keeps everything: client, or server to have it checked.
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: DryRun,
    /// name: prints the types and names alone.
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
    /// With --grace-period=0: does not wait for the node.
    #[arg(long)]
    pub force: bool,
    /// Waits until the objects are gone.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub wait: bool,
    /// What happens to dependents: background, foreground, orphan.
    #[arg(long, value_enum, default_value = "background", num_args = 0..=1, default_missing_value = "background", require_equals = true)]
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
    /// Only what is newer than this: 2026-01-02T15:04:05Z.
    #[arg(long, value_name = "TIME")]
    pub since_time: Option<String>,
    /// At most so many bytes of each container.
    #[arg(long, value_name = "BYTES")]
    pub limit_bytes: Option<i64>,
    /// Of all pods of the TYPE/NAME.
    #[arg(long)]
    pub all_pods: bool,
    /// Goes on where one of the containers cannot be read.
    #[arg(long)]
    pub ignore_errors: bool,
    /// How many containers may be followed at a time.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub max_log_requests: usize,
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
    /// Says nothing but what the command says.
    #[arg(long, short = 'q')]
    pub quiet: bool,
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
    /// Modes and owners are those of new files, as is always done here: taken for those who are used to typing it.
    #[arg(long = "no-preserve")]
    pub _no_preserve: bool,
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
    /// The local addresses; localhost is both of its addresses.
    #[arg(long, default_value = "localhost", value_delimiter = ',')]
    pub address: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    pub selection: Selection,
    /// All objects of the type in the namespace.
    #[arg(long)]
    pub all: bool,
    /// How many.
    #[arg(long, allow_negative_numbers = true)]
    pub replicas: i32,
    /// Only if there are so many now.
    #[arg(long, value_name = "N")]
    pub current_replicas: Option<i32>,
    /// Only if the object is the one with this version.
    #[arg(long, value_name = "VERSION")]
    pub resource_version: Option<String>,
    /// Keeps everything: client, or server to have it checked.
    #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
    pub dry_run: DryRun,
    /// name: prints the types and names alone.
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// Only this program's.
    #[arg(long)]
    pub client: bool,
    /// json or yaml.
    #[arg(long, short = 'o', value_name = "FORMAT", default_value = "")]
    pub output: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// bash, zsh, fish, ...
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Prints a shell's completion script.
pub(crate) fn complete(args: &CompletionArgs) -> Result<u8, CtlError> {
    let mut command = as_kubectl(<Args as clap::CommandFactory>::command());
    clap_complete::generate(args.shell, &mut command, "knarrctl", &mut std::io::stdout());
    Ok(0)
}
