// SPDX-License-Identifier: Apache-2.0
//! `rollout`: status, history, undo, restart, pause, resume of Deployments.

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use knarr_types::labels::{DEPLOYMENT_REVISION, LAST_APPLIED, POD_TEMPLATE_HASH};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::error::CtlError;
use crate::output::{Columns, print};
use crate::session::Session;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum RolloutCommand {
    /// Waits until the rollout is complete.
    Status {
        /// deployment/NAME.
        target: String,
        /// Only says how it is now.
        #[arg(long, short = 'w', default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
        watch: bool,
        /// How long to wait, as 30s or 5m; 0 is for ever.
        #[arg(long, default_value = "0")]
        timeout: String,
    },
    /// Lists the revisions.
    History {
        /// deployment/NAME.
        target: String,
    },
    /// Goes back to an earlier revision.
    Undo {
        /// deployment/NAME.
        target: String,
        /// Which one [default: the one before].
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
    },
    /// Replaces all pods, one after the other.
    Restart {
        /// deployment/NAME.
        target: String,
    },
    /// Holds the rollout.
    Pause {
        /// deployment/NAME.
        target: String,
    },
    /// Goes on with it.
    Resume {
        /// deployment/NAME.
        target: String,
    },
}

/// Runs `rollout`.
pub(crate) async fn run(session: &Session, command: RolloutCommand) -> Result<u8, CtlError> {
    let api = Api::<Deployment>::namespaced(session.client.clone(), &session.namespace);
    match command {
        RolloutCommand::Status { target, watch, timeout } => {
            let seconds = u64::try_from(crate::logs::seconds(&timeout)?).unwrap_or_default();
            let status = status(&api, deployment(&target)?, watch);
            if seconds == 0 {
                status.await?;
            } else {
                let timed = tokio::time::timeout(std::time::Duration::from_secs(seconds), status).await;
                timed.unwrap_or_else(|_| Err(CtlError::usage("timed out waiting for the condition")))?;
            }
        }
        RolloutCommand::History { target } => history(session, &api, deployment(&target)?).await?,
        RolloutCommand::Undo { target, to_revision } => undo(session, &api, deployment(&target)?, to_revision).await?,
        RolloutCommand::Restart { target } => {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let annotations = json!({"kubectl.kubernetes.io/restartedAt": now});
            let spec = json!({"template": {"metadata": {"annotations": annotations}}});
            let name = deployment(&target)?;
            if api.get(name).await?.spec.and_then(|spec| spec.paused) == Some(true) {
                return Err(CtlError::usage(format!(
                    "deployments.apps {name:?} can't restart paused deployment (run rollout resume first)"
                )));
            }
            change(&api, name, spec, "restarted").await?;
        }
        RolloutCommand::Pause { target } => {
            change(&api, deployment(&target)?, json!({"paused": true}), "paused").await?;
        }
        RolloutCommand::Resume { target } => {
            change(&api, deployment(&target)?, json!({"paused": false}), "resumed").await?;
        }
    }
    Ok(0)
}

/// The name in `deployment/NAME`.
fn deployment(target: &str) -> Result<&str, CtlError> {
    match target.split_once('/') {
        Some(("deployment" | "deployments" | "deploy" | "deployment.apps" | "deployments.apps", name)) => Ok(name),
        _ => Err(CtlError::usage(format!("{target:?} is not deployment/NAME, the only kind that has rollouts here"))),
    }
}

async fn change(api: &Api<Deployment>, name: &str, spec: serde_json::Value, done: &str) -> Result<(), CtlError> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    print(&format!("deployment.apps/{name} {done}\n"))
}

/// What is still to come of a rollout, in kubectl's words; `None` when it is complete.
fn pending(deployment: &Deployment) -> Result<Option<String>, CtlError> {
    let name = deployment.name_any();
    let spec = deployment.spec.clone().unwrap_or_default();
    let status = deployment.status.clone().unwrap_or_default();
    if deployment.metadata.generation > status.observed_generation {
        return Ok(Some("Waiting for deployment spec update to be observed...".into()));
    }
    let late = status.conditions.iter().flatten().any(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    if late {
        return Err(CtlError::usage(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let (wanted, updated) = (spec.replicas.unwrap_or(1), status.updated_replicas.unwrap_or_default());
    let (all, available) = (status.replicas.unwrap_or_default(), status.available_replicas.unwrap_or_default());
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        Some(format!("{waiting} {updated} out of {wanted} new replicas have been updated..."))
    } else if all > updated {
        Some(format!("{waiting} {} old replicas are pending termination...", all - updated))
    } else if available < updated {
        Some(format!("{waiting} {available} of {updated} updated replicas are available..."))
    } else {
        None
    })
}

async fn status(api: &Api<Deployment>, name: &str, follow: bool) -> Result<(), CtlError> {
    let mut said = String::new();
    loop {
        let mut deployment = api.get(name).await?;
        let revision = deployment.resource_version().unwrap_or_default();
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let mut events = Box::pin(api.watch(&params, &revision).await?);
        loop {
            let Some(text) = pending(&deployment)? else {
                return print(&format!("deployment {name:?} successfully rolled out\n"));
            };
            if text != said {
                print(&format!("{text}\n"))?;
                said = text;
            }
            if !follow {
                return Ok(());
            }
            match events.try_next().await? {
                Some(WatchEvent::Added(new) | WatchEvent::Modified(new)) => deployment = new,
                Some(WatchEvent::Deleted(_)) => {
                    return Err(CtlError::usage(format!("deployment {name:?} was deleted")));
                }
                Some(WatchEvent::Bookmark(_)) => {}
                Some(WatchEvent::Error(_)) | None => break,
            }
        }
    }
}

fn revision(meta: &kube::core::ObjectMeta) -> i64 {
    let text = meta.annotations.as_ref().and_then(|a| a.get(DEPLOYMENT_REVISION));
    text.and_then(|r| r.parse().ok()).unwrap_or_default()
}

/// The Deployment's sets, oldest revision first.
async fn sets(session: &Session, deployment: &Deployment) -> Result<Vec<ReplicaSet>, CtlError> {
    let api = Api::<ReplicaSet>::namespaced(session.client.clone(), &session.namespace);
    let uid = deployment.uid().unwrap_or_default();
    let mut sets = api.list(&ListParams::default()).await?.items;
    sets.retain(|s| s.owner_references().iter().any(|o| o.uid == uid));
    sets.sort_by_key(|s| revision(&s.metadata));
    Ok(sets)
}

async fn history(session: &Session, api: &Api<Deployment>, name: &str) -> Result<(), CtlError> {
    let deployment = api.get(name).await?;
    let mut rows = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
    let sets = sets(session, &deployment).await?;
    if sets.is_empty() {
        return print(&format!("deployment.apps/{name} \nNo rollout history found.\n"));
    }
    for set in sets {
        let cause = set.annotations().get("kubernetes.io/change-cause").cloned();
        rows.push(vec![revision(&set.metadata).to_string(), cause.unwrap_or_else(|| "<none>".into())]);
    }
    print(&format!("deployment.apps/{name} \n{}\n", Columns::narrow().lines(&rows)))
}

async fn undo(session: &Session, api: &Api<Deployment>, name: &str, to: i64) -> Result<(), CtlError> {
    let deployment = api.get(name).await?;
    let current = revision(&deployment.metadata);
    let sets = sets(session, &deployment).await?;
    let wanted = |s: &&ReplicaSet| {
        let revision = revision(&s.metadata);
        if to == 0 { revision != current } else { revision == to }
    };
    let set = sets.iter().rev().find(wanted).ok_or_else(|| match to {
        0 => CtlError::usage(format!("no rollout history found for deployment {name:?}")),
        n => CtlError::usage(format!("unable to find specified revision {n} in history")),
    })?;
    let mut template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    if let Some(labels) = template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(POD_TEMPLATE_HASH);
    }
    // The whole template is replaced; annotations go back too, less those that belong to the Deployment.
    let mut annotations = set.annotations().clone();
    annotations.retain(|k, _| k != LAST_APPLIED && !k.starts_with("deployment.kubernetes.io/"));
    for (key, value) in deployment.annotations() {
        if key == LAST_APPLIED || key.starts_with("deployment.kubernetes.io/") {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let patch = serde_json::from_value(json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ]))
    .map_err(|e| CtlError::usage(e.to_string()))?;
    api.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
    print(&format!("deployment.apps/{name} rolled back\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_reads_as_kubectl_says_it() {
        let check = |status: serde_json::Value| {
            let object = json!({"metadata": {"name": "d", "generation": 1}, "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": status});
            pending(&serde_json::from_value(object).unwrap())
                .map(|t| t.unwrap_or_default())
                .unwrap_or_else(|e| e.to_string())
        };
        assert!(check(json!({})).contains("to be observed"));
        assert!(check(json!({"observedGeneration": 1})).contains("0 out of 2"));
        assert!(
            check(json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2})).contains("1 old replicas")
        );
        assert!(check(json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2})).contains("0 of 2"));
        let done = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(check(done), "");
    }
}
