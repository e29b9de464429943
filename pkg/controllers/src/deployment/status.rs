// SPDX-License-Identifier: Apache-2.0
//! What a Deployment says of itself: counts and conditions. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::plan::Bounds;

/// The status of `deployment` as its sets are now.
#[must_use]
pub fn status(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    sets: &[Arc<ReplicaSet>],
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |f: &dyn Fn(&ReplicaSet) -> i32| sets.iter().map(|s| f(s)).sum::<i32>();
    let of = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let replicas = sum(&|s| of(s).replicas);
    let available = sum(&|s| of(s).available_replicas.unwrap_or_default());
    let wanted = sum(&|s| s.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default());
    let updated = new.map_or(0, |s| of(s).replicas);
    let old = deployment.status.clone().unwrap_or_default();
    let some = |n: i32| (n != 0).then_some(n);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(replicas),
        updated_replicas: some(updated),
        ready_replicas: some(sum(&|s| of(s).ready_replicas.unwrap_or_default())),
        available_replicas: some(available),
        unavailable_replicas: some((wanted - available).max(0)),
        terminating_replicas: Some(sum(&|s| of(s).terminating_replicas.unwrap_or_default())),
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
    };
    let conditions = status.conditions.get_or_insert_default();
    set(conditions, availability(deployment, available), now);
    let failed = sets.iter().flat_map(|s| of(s).conditions.unwrap_or_default()).find(|c| c.type_ == "ReplicaFailure");
    match failed {
        Some(f) => {
            let condition = condition("ReplicaFailure", "True", "FailedCreate", f.message.unwrap_or_default());
            set(conditions, condition, now);
        }
        None => conditions.retain(|c| c.type_ != "ReplicaFailure"),
    }
    if let Some(progress) = progress(deployment, new, &status, now) {
        set(status.conditions.get_or_insert_default(), progress, now);
    }
    status
}

/// When the Deployment has to be looked at again because it makes no progress.
#[must_use]
pub fn progress_deadline(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    let progressing = status.conditions.iter().flatten().find(|c| c.type_ == "Progressing" && c.status == "True")?;
    if is_complete(deployment, status) {
        return None;
    }
    Some(progressing.last_update_time.as_ref()?.0 + SignedDuration::from_secs(i64::from(seconds) + 1))
}

fn availability(deployment: &Deployment, available: i32) -> DeploymentCondition {
    let bounds = Bounds::of(deployment);
    let unavailable = if bounds.recreate { 0 } else { bounds.max_unavailable };
    if available >= bounds.replicas - unavailable {
        condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.".into())
    } else {
        let message = "Deployment does not have minimum availability.".into();
        condition("Available", "False", "MinimumReplicasUnavailable", message)
    }
}

fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    status.updated_replicas.unwrap_or_default() == wanted
        && status.replicas.unwrap_or_default() == wanted
        && status.available_replicas.unwrap_or_default() == wanted
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let of = |n: Option<i32>| n.unwrap_or_default();
    let old_pods = |s: &DeploymentStatus| of(s.replicas) - of(s.updated_replicas);
    of(new.updated_replicas) > of(old.updated_replicas)
        || old_pods(new) < old_pods(old)
        || of(new.ready_replicas) > of(old.ready_replicas)
        || of(new.available_replicas) > of(old.available_replicas)
}

fn progress(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<DeploymentCondition> {
    let spec = deployment.spec.as_ref()?;
    let seconds = spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    let old = deployment.status.clone().unwrap_or_default();
    let current = old.conditions.iter().flatten().find(|c| c.type_ == "Progressing");
    let set_name = new.and_then(|s| s.metadata.name.clone()).unwrap_or_default();
    let subject = format!("ReplicaSet \"{set_name}\"");
    let done = "NewReplicaSetAvailable";
    let at = |status: &str, reason: &str, words: &str| {
        Some(condition("Progressing", status, reason, format!("{subject} {words}")))
    };
    if spec.paused == Some(true) {
        let paused = condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".into());
        return current.is_none_or(|c| c.reason.as_deref() != Some("DeploymentPaused")).then_some(paused);
    }
    if is_complete(deployment, status) && new.is_some() {
        return at("True", done, "has successfully progressed.");
    }
    let Some(current) = current else {
        return at("True", "NewReplicaSetCreated", "is progressing.").filter(|_| new.is_some());
    };
    let reason = current.reason.as_deref().unwrap_or_default();
    let new_rollout = old.observed_generation != deployment.metadata.generation && reason == done;
    if reason == "DeploymentPaused" {
        return Some(condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed".into()));
    }
    if has_progressed(&old, status) || (new_rollout && old.updated_replicas != status.updated_replicas) {
        return at("True", "ReplicaSetUpdated", "is progressing.");
    }
    let since = current.last_update_time.as_ref().map_or(now, |t| t.0);
    let late = now.duration_since(since).as_secs() > i64::from(seconds);
    if late && reason != done {
        return at("False", "ProgressDeadlineExceeded", "has timed out progressing.");
    }
    None
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: None,
        last_update_time: None,
    }
}

/// Puts the condition in place of the one of its type; times move only where something changed, and
/// progress always counts as an update.
fn set(conditions: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition, now: Timestamp) {
    let place = conditions.iter().position(|c| c.type_ == new.type_);
    let old = place.map(|i| conditions[i].clone());
    let updating = new.reason.as_deref() == Some("ReplicaSetUpdated");
    if let Some(old) = &old
        && old.status == new.status
        && old.reason == new.reason
        && old.message == new.message
        && !updating
    {
        return;
    }
    new.last_update_time = Some(Time(now));
    new.last_transition_time = match old {
        Some(old) if old.status == new.status => old.last_transition_time,
        _ => Some(Time(now)),
    };
    match place {
        Some(i) => conditions[i] = new,
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: serde_json::Value) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "d", "generation": 2},
            "spec": {"replicas": 2, "progressDeadlineSeconds": 600, "selector": {}, "template": {}},
            "status": status,
        }))
        .unwrap()
    }

    fn new_set(available: i32) -> Arc<ReplicaSet> {
        Arc::new(
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "d-1"}, "spec": {"replicas": 2, "selector": {}},
                "status": {"replicas": 2, "readyReplicas": available, "availableReplicas": available},
            }))
            .unwrap(),
        )
    }

    fn reason(status: &DeploymentStatus, type_: &str) -> String {
        let condition = status.conditions.iter().flatten().find(|c| c.type_ == type_).unwrap();
        format!("{} {}", condition.status, condition.reason.as_deref().unwrap())
    }

    #[test]
    fn a_rollout_goes_from_created_to_available() {
        let now = Timestamp::now();
        let set = new_set(0);
        let first = status(&deployment(serde_json::json!({})), Some(&set), std::slice::from_ref(&set), now);
        assert_eq!(reason(&first, "Available"), "False MinimumReplicasUnavailable");
        assert_eq!(reason(&first, "Progressing"), "True NewReplicaSetCreated");
        assert_eq!(first.unavailable_replicas, Some(2));
        let set = new_set(2);
        let then = status(&deployment(serde_json::json!(first)), Some(&set), std::slice::from_ref(&set), now);
        assert_eq!(reason(&then, "Available"), "True MinimumReplicasAvailable");
        assert_eq!(reason(&then, "Progressing"), "True NewReplicaSetAvailable");
        assert_eq!(progress_deadline(&deployment(serde_json::json!({})), &then), None);
    }

    #[test]
    fn no_progress_within_the_deadline_is_said() {
        let start = Timestamp::now();
        let set = new_set(0);
        let first = status(&deployment(serde_json::json!({})), Some(&set), std::slice::from_ref(&set), start);
        let stuck = deployment(serde_json::json!(first));
        assert_eq!(progress_deadline(&stuck, &first), Some(start + SignedDuration::from_secs(601)));
        let late = status(&stuck, Some(&set), std::slice::from_ref(&set), start + SignedDuration::from_secs(601));
        assert_eq!(reason(&late, "Progressing"), "False ProgressDeadlineExceeded");
    }
}
