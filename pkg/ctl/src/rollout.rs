// SPDX-License-Identifier: Apache-2.0
//! `rollout`: status, history, undo and restart of Deployments, DaemonSets and StatefulSets; pause and resume of
//! Deployments.

mod history;
mod status;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::error::CtlError;
use crate::output::print;
use crate::resources::{Named, Resource, named};
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RolloutCommand {
    /// Waits until the rollout is complete.
    Status {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
        /// Only says how it is now.
        #[arg(long, short = 'w', default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        watch: bool,
        /// How long to wait, as 30s or 5m; 0 is for ever.
        #[arg(long, default_value = "0")]
        timeout: String,
    },
    /// Lists the revisions.
    History {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
    },
    /// Goes back to an earlier revision.
    Undo {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
        /// Which one [default: the one before].
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
    },
    /// Replaces all pods, one after the other.
    Restart {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
    },
    /// Holds the rollout.
    Pause {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
    },
    /// Goes on with it.
    Resume {
        /// TYPE/NAME or TYPE NAME, of a deployment, daemonset or statefulset.
        #[arg(required = true, value_name = "TYPE/NAME")]
        what: Vec<String>,
    },
}

/// Runs `rollout`.
pub(crate) async fn run(session: &Session, command: RolloutCommand) -> Result<u8, CtlError> {
    match command {
        RolloutCommand::Status { what, watch, timeout } => {
            let seconds = u64::try_from(crate::logs::seconds(&timeout)?).unwrap_or_default();
            let target = Target::of(session, &what, Lacking::Part("status viewer")).await?;
            let status = status::follow(&target, watch);
            if seconds == 0 {
                status.await?;
            } else {
                let timed = tokio::time::timeout(std::time::Duration::from_secs(seconds), status).await;
                timed.unwrap_or_else(|_| Err(CtlError::usage("timed out waiting for the condition")))?;
            }
        }
        RolloutCommand::History { what } => {
            let target = Target::of(session, &what, Lacking::Part("history viewer")).await?;
            history::print_all(session, &target).await?;
        }
        RolloutCommand::Undo { what, to_revision } => {
            let target = Target::of(session, &what, Lacking::Part("rollbacker")).await?;
            let done = history::undo(session, &target, to_revision).await?;
            target.say(&done)?;
        }
        RolloutCommand::Restart { what } => {
            let target = Target::of(session, &what, Lacking::Verb("restarting")).await?;
            restart(&target).await?;
        }
        RolloutCommand::Pause { what } => {
            pause(&Target::of(session, &what, Lacking::Verb("pausing")).await?, true).await?
        }
        RolloutCommand::Resume { what } => {
            pause(&Target::of(session, &what, Lacking::Verb("resuming")).await?, false).await?
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
}

impl<'a> Target<'a> {
    /// The one object that the words name; others than those with rollouts lack what is wanted.
    async fn of(session: &'a Session, what: &[String], lacking: Lacking) -> Result<Self, CtlError> {
        let Named::Objects(objects) = named(what)? else {
            return Err(CtlError::usage("required resource not specified: for example deployment/web"));
        };
        let [(type_, name)] = objects[..] else { return Err(CtlError::usage("one object at a time")) };
        let resource = session.resources().await?.find(type_)?;
        let kind = match (resource.api.group.as_str(), resource.api.kind.as_str()) {
            ("apps", "Deployment") => Kind::Deployment,
            ("apps", "DaemonSet") => Kind::DaemonSet,
            ("apps", "StatefulSet") => Kind::StatefulSet,
            _ => return Err(CtlError::usage(lacking.text(resource, name))),
        };
        let api = session.api(resource, Some(&session.namespace));
        Ok(Self { kind, resource, name: name.to_owned(), api })
    }

    async fn get(&self) -> Result<Value, CtlError> {
        Ok(json!(self.api.get(&self.name).await?))
    }

    async fn patch(&self, patch: &Patch<Value>) -> Result<(), CtlError> {
        self.api.patch(&self.name, &PatchParams::default(), patch).await?;
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
