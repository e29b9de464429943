// SPDX-License-Identifier: Apache-2.0
//! `rollout`: status, history, undo and restart of Deployments, DaemonSets and StatefulSets; pause and resume of
//! Deployments.

mod history;
mod status;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::args::DryRun;
use crate::error::CtlError;
use crate::output::print;
use crate::resources::{Named, Resource, named};
use crate::session::Session;

/// Which objects.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// TYPE, TYPE/NAME... or TYPE NAME..., of deployments, daemonsets or statefulsets.
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    what: Vec<String>,
    /// Only those that this label selector fits.
    #[arg(long, short = 'l', value_name = "SELECTOR", default_value = "")]
    selector: String,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RolloutCommand {
    /// Waits until the rollout is complete.
    Status {
        #[command(flatten)]
        which: Which,
        /// Only says how it is now.
        #[arg(long, short = 'w', default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        watch: bool,
        /// How long to wait, as 30s or 5m; 0 is for ever.
        #[arg(long, default_value = "0")]
        timeout: String,
        /// Of this revision; another one is an error [default: the newest].
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Lists the revisions.
    History {
        #[command(flatten)]
        which: Which,
        /// Shows the pods of this revision.
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Goes back to an earlier revision.
    Undo {
        #[command(flatten)]
        which: Which,
        /// Which one [default: the one before].
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
        /// Keeps everything: client, or server to have it checked.
        #[arg(long, value_enum, default_value = "none", num_args = 0..=1, default_missing_value = "client")]
        dry_run: DryRun,
    },
    /// Replaces all pods, one after the other.
    Restart {
        #[command(flatten)]
        which: Which,
    },
    /// Holds the rollout.
    Pause {
        #[command(flatten)]
        which: Which,
    },
    /// Goes on with it.
    Resume {
        #[command(flatten)]
        which: Which,
    },
}

/// Runs `rollout`.
pub(crate) async fn run(session: &Session, command: RolloutCommand) -> Result<u8, CtlError> {
    match command {
        RolloutCommand::Status { which, watch, timeout, revision } => {
            let seconds = u64::try_from(crate::logs::seconds(&timeout)?).unwrap_or_default();
            for target in Target::all(session, &which, Lacking::Part("status viewer")).await? {
                let status = status::follow(&target, watch, revision);
                if seconds == 0 {
                    status.await?;
                } else {
                    let timed = tokio::time::timeout(std::time::Duration::from_secs(seconds), status).await;
                    timed.unwrap_or_else(|_| Err(CtlError::usage("timed out waiting for the condition")))?;
                }
            }
        }
        RolloutCommand::History { which, revision } => {
            for target in Target::all(session, &which, Lacking::Part("history viewer")).await? {
                history::print_all(session, &target, revision).await?;
            }
        }
        RolloutCommand::Undo { which, to_revision, dry_run } => {
            for mut target in Target::all(session, &which, Lacking::Part("rollbacker")).await? {
                target.dry_run = dry_run;
                let done = history::undo(session, &target, to_revision).await?;
                target.say(&format!("{done}{}", dry_run.note()))?;
            }
        }
        RolloutCommand::Restart { which } => {
            for target in Target::all(session, &which, Lacking::Verb("restarting")).await? {
                restart(&target).await?;
            }
        }
        RolloutCommand::Pause { which } => {
            for target in Target::all(session, &which, Lacking::Verb("pausing")).await? {
                pause(&target, true).await?;
            }
        }
        RolloutCommand::Resume { which } => {
            for target in Target::all(session, &which, Lacking::Verb("resuming")).await? {
                pause(&target, false).await?;
            }
        }
    }
    Ok(0)
}

/// What kinds of rollouts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deployment,
    DaemonSet,
    StatefulSet,
}

/// What objects without rollouts have not.
#[derive(Clone, Copy)]
enum Lacking {
    Part(&'static str),
    Verb(&'static str),
}

impl Lacking {
    fn text(self, resource: &Resource, name: &str) -> String {
        let (api, dot) = (&resource.api, if resource.api.group.is_empty() { "" } else { "." });
        match self {
            Self::Part(part) => format!("no {part} has been implemented for {}", api.kind),
            Self::Verb(verb) => format!("{}{dot}{} {name:?} {verb} is not supported", api.plural, api.group),
        }
    }
}

/// What a command is about.
struct Target<'a> {
    kind: Kind,
    resource: &'a Resource,
    name: String,
    api: Api<DynamicObject>,
    dry_run: DryRun,
}

impl<'a> Target<'a> {
    /// The objects that the words name; others than those with rollouts lack what is wanted.
    async fn all(session: &'a Session, which: &Which, lacking: Lacking) -> Result<Vec<Self>, CtlError> {
        let resources = session.resources().await?;
        let mut targets = Vec::new();
        match named(&which.what)? {
            Named::Objects(_) if !which.selector.is_empty() => {
                return Err(CtlError::usage("name cannot be provided when a selector is specified"));
            }
            Named::Objects(objects) => {
                for (type_, name) in objects {
                    targets.push(Self::of(session, resources.find(type_)?, name, lacking)?);
                }
            }
            Named::Types(types) => {
                for resource in resources.find_all(types)? {
                    let list = ListParams::default().labels(&which.selector);
                    let found = session.api(resource, Some(&session.namespace)).list_metadata(&list).await?;
                    for name in found.items.into_iter().filter_map(|object| object.metadata.name) {
                        targets.push(Self::of(session, resource, &name, lacking)?);
                    }
                }
            }
        }
        if targets.is_empty() {
            eprintln!("No resources found in {} namespace.", session.namespace);
        }
        Ok(targets)
    }

    fn of(session: &Session, resource: &'a Resource, name: &str, lacking: Lacking) -> Result<Self, CtlError> {
        let kind = match (resource.api.group.as_str(), resource.api.kind.as_str()) {
            ("apps", "Deployment") => Kind::Deployment,
            ("apps", "DaemonSet") => Kind::DaemonSet,
            ("apps", "StatefulSet") => Kind::StatefulSet,
            _ => return Err(CtlError::usage(lacking.text(resource, name))),
        };
        let api = session.api(resource, Some(&session.namespace));
        Ok(Self { kind, resource, name: name.to_owned(), api, dry_run: DryRun::None })
    }

    async fn get(&self) -> Result<Value, CtlError> {
        Ok(json!(self.api.get(&self.name).await?))
    }

    async fn patch(&self, patch: &Patch<Value>) -> Result<(), CtlError> {
        let params = PatchParams { dry_run: self.dry_run == DryRun::Server, ..PatchParams::default() };
        if self.dry_run != DryRun::Client {
            self.api.patch(&self.name, &params, patch).await?;
        }
        Ok(())
    }

    /// Prints what was done to the object.
    fn say(&self, done: &str) -> Result<(), CtlError> {
        print(&format!("{}/{} {done}\n", self.resource.qualified(), self.name))
    }
}

async fn restart(target: &Target<'_>) -> Result<(), CtlError> {
    if target.get().await?["spec"]["paused"] == true {
        return Err(CtlError::usage(format!(
            "deployments.apps {:?} can't restart paused deployment (run rollout resume first)",
            target.name
        )));
    }
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
    let spec = json!({"template": {"metadata": {"annotations": annotations}}});
    target.patch(&Patch::Merge(json!({"spec": spec}))).await?;
    target.say("restarted")
}

async fn pause(target: &Target<'_>, paused: bool) -> Result<(), CtlError> {
    let (doing, done) = if paused { ("pausing", "paused") } else { ("resuming", "resumed") };
    if target.kind != Kind::Deployment {
        return Err(CtlError::usage(Lacking::Verb(doing).text(target.resource, &target.name)));
    }
    if (target.get().await?["spec"]["paused"] == true) == paused {
        let already = if paused { "is already paused" } else { "is not paused" };
        return Err(CtlError::usage(format!("deployments.apps {:?} {already}", target.name)));
    }
    target.patch(&Patch::Merge(json!({"spec": {"paused": paused}}))).await?;
    target.say(done)
}
