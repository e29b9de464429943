// SPDX-License-Identifier: Apache-2.0
//! How far a rollout is, in kubectl's words.

use futures::TryStreamExt as _;
use knarr_types::labels::DEPLOYMENT_REVISION;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::{Kind, Target};
use crate::error::CtlError;
use crate::output::print;

/// What is to be said of a rollout.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    text: String,
    is_over: bool,
}

/// Says how the rollout goes until it is complete; only how it is now unless `follow`.
/// `revision` is the one that a Deployment must be at, or 0.
pub(super) async fn follow(target: &Target<'_>, follow: bool, revision: i64) -> Result<(), CtlError> {
    let mut said = String::new();
    loop {
        let mut object = target.get().await?;
        if revision > 0 && target.kind == Kind::Deployment {
            is_at(&object, revision)?;
        }
        let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let params = WatchParams::default().fields(&format!("metadata.name={}", target.name));
        let mut events = Box::pin(target.api.watch(&params, &version).await?);
        loop {
            let progress = progress(target.kind, &target.name, &object)?;
            if progress.text != said {
                print(&format!("{}\n", progress.text))?;
                said = progress.text;
            }
            if progress.is_over || !follow {
                return Ok(());
            }
            match events.try_next().await? {
                Some(WatchEvent::Added(new) | WatchEvent::Modified(new)) => object = json!(new),
                Some(WatchEvent::Deleted(_)) => return Err(CtlError::usage("object has been deleted")),
                Some(WatchEvent::Bookmark(_)) => {}
                Some(WatchEvent::Error(_)) | None => break,
            }
        }
    }
}

fn is_at(object: &Value, wanted: i64) -> Result<(), CtlError> {
    let at = object["metadata"]["annotations"][DEPLOYMENT_REVISION].as_str().and_then(|text| text.parse::<i64>().ok());
    match at {
        Some(at) if at == wanted => Ok(()),
        at => Err(CtlError::usage(format!(
            "desired revision ({wanted}) is different from the running revision ({})",
            at.unwrap_or_default()
        ))),
    }
}

fn progress(kind: Kind, name: &str, object: &Value) -> Result<Progress, CtlError> {
    match kind {
        Kind::Deployment => deployment(name, object),
        Kind::DaemonSet => daemon_set(name, object),
        Kind::StatefulSet => stateful_set(object),
    }
}

fn waiting(text: impl Into<String>) -> Result<Progress, CtlError> {
    Ok(Progress { text: text.into(), is_over: false })
}

fn over(text: impl Into<String>) -> Result<Progress, CtlError> {
    Ok(Progress { text: text.into(), is_over: true })
}

/// A number of the object; none is 0.
fn number(part: &Value, key: &str) -> i64 {
    part[key].as_i64().unwrap_or_default()
}

/// Whether the controller has seen the present spec.
fn is_observed(object: &Value) -> bool {
    number(&object["metadata"], "generation") <= number(&object["status"], "observedGeneration")
}

fn deployment(name: &str, object: &Value) -> Result<Progress, CtlError> {
    let status = &object["status"];
    if !is_observed(object) {
        return waiting("Waiting for deployment spec update to be observed...");
    }
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.iter().any(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Err(CtlError::usage(format!("deployment {name:?} exceeded its progress deadline")));
    }
    let (wanted, updated) = (object["spec"]["replicas"].as_i64().unwrap_or(1), number(status, "updatedReplicas"));
    let (all, available) = (number(status, "replicas"), number(status, "availableReplicas"));
    let unfinished = format!("Waiting for deployment {name:?} rollout to finish:");
    if updated < wanted {
        return waiting(format!("{unfinished} {updated} out of {wanted} new replicas have been updated..."));
    }
    if all > updated {
        return waiting(format!("{unfinished} {} old replicas are pending termination...", all - updated));
    }
    if available < updated {
        return waiting(format!("{unfinished} {available} of {updated} updated replicas are available..."));
    }
    over(format!("deployment {name:?} successfully rolled out"))
}

/// Others are not rolled out by a controller.
fn only_rolling(object: &Value) -> Result<(), CtlError> {
    match object["spec"]["updateStrategy"]["type"].as_str() {
        Some("RollingUpdate") => Ok(()),
        _ => Err(CtlError::usage("rollout status is only available for RollingUpdate strategy type")),
    }
}

fn daemon_set(name: &str, object: &Value) -> Result<Progress, CtlError> {
    only_rolling(object)?;
    let status = &object["status"];
    if !is_observed(object) {
        return waiting("Waiting for daemon set spec update to be observed...");
    }
    let (wanted, updated) = (number(status, "desiredNumberScheduled"), number(status, "updatedNumberScheduled"));
    let available = number(status, "numberAvailable");
    let unfinished = format!("Waiting for daemon set {name:?} rollout to finish:");
    if updated < wanted {
        return waiting(format!("{unfinished} {updated} out of {wanted} new pods have been updated..."));
    }
    if available < wanted {
        return waiting(format!("{unfinished} {available} of {wanted} updated pods are available..."));
    }
    over(format!("daemon set {name:?} successfully rolled out"))
}

fn stateful_set(object: &Value) -> Result<Progress, CtlError> {
    only_rolling(object)?;
    let (spec, status) = (&object["spec"], &object["status"]);
    if number(status, "observedGeneration") == 0 || !is_observed(object) {
        return waiting("Waiting for statefulset spec update to be observed...");
    }
    let (wanted, updated) = (spec["replicas"].as_i64(), number(status, "updatedReplicas"));
    let ready = number(status, "readyReplicas");
    if let Some(wanted) = wanted.filter(|wanted| ready < *wanted) {
        return waiting(format!("Waiting for {} pods to be ready...", wanted - ready));
    }
    if let Some(partition) = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64() {
        if let Some(wanted) = wanted.map(|wanted| wanted - partition).filter(|wanted| updated < *wanted) {
            return waiting(format!(
                "Waiting for partitioned roll out to finish: {updated} out of {wanted} new pods have been updated..."
            ));
        }
        return over(format!("partitioned roll out complete: {updated} new pods have been updated..."));
    }
    let revision = |key: &str| status[key].as_str().unwrap_or_default();
    let (current, next) = (revision("currentRevision"), revision("updateRevision"));
    if current != next {
        return waiting(format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {next}..."
        ));
    }
    over(format!(
        "statefulset rolling update complete {} pods at revision {current}...",
        number(status, "currentReplicas")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, spec: Value, status: Value) -> String {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status});
        progress(kind, "x", &object).map_or_else(|error| error.to_string(), |progress| progress.text)
    }

    #[test]
    fn what_is_pending_reads_as_kubectl_says_it() {
        let deployment = |status| check(Kind::Deployment, json!({"replicas": 2}), status);
        assert!(deployment(json!({})).contains("to be observed"));
        assert!(deployment(json!({"observedGeneration": 2})).contains("0 out of 2"));
        let old = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2});
        assert!(deployment(old).contains("1 old replicas"));
        let coming = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2});
        assert!(deployment(coming).contains("0 of 2"));
        let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(deployment(done), "deployment \"x\" successfully rolled out");
    }

    #[test]
    fn daemon_and_stateful_sets_have_words_of_their_own() {
        let rolling = json!({"updateStrategy": {"type": "RollingUpdate"}, "replicas": 3});
        let daemons = |status| check(Kind::DaemonSet, rolling.clone(), status);
        assert!(check(Kind::DaemonSet, json!({}), json!({})).contains("only available for RollingUpdate"));
        let some = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1});
        assert!(daemons(some).ends_with("1 out of 3 new pods have been updated..."));
        let sets = |spec: &Value, status| check(Kind::StatefulSet, spec.clone(), status);
        assert_eq!(
            sets(&rolling, json!({"observedGeneration": 2, "readyReplicas": 1})),
            "Waiting for 2 pods to be ready..."
        );
        let status = json!({"observedGeneration": 2, "readyReplicas": 3, "currentReplicas": 3, "updatedReplicas": 1,
            "currentRevision": "x-1", "updateRevision": "x-2"});
        assert!(sets(&rolling, status.clone()).contains("complete 1 pods at revision x-2..."));
        let parted =
            json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, "replicas": 3});
        assert_eq!(sets(&parted, status), "partitioned roll out complete: 1 new pods have been updated...");
    }
}
