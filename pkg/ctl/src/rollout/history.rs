// SPDX-License-Identifier: Apache-2.0
//! Earlier revisions: of Deployments in their ReplicaSets, of others in their ControllerRevisions.

use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_types::labels::{DEPLOYMENT_REVISION, LAST_APPLIED, POD_TEMPLATE_HASH};
use kube::api::{Api, ListParams, Patch};
use serde_json::{Value, json};

use super::{Kind, Target};
use crate::describe::template_text;
use crate::error::CtlError;
use crate::output::{Columns, print};
use crate::session::Session;

/// The annotation in which people say why.
const CAUSE: &str = "kubernetes.io/change-cause";
/// Annotations of a Deployment that are not of its template.
const OWN_PREFIX: &str = "deployment.kubernetes.io/";

/// A state that the object was in.
struct Revision {
    number: i64,
    cause: Option<String>,
    /// What a ReplicaSet tells its pods by.
    hash: Option<String>,
    state: State,
}

impl Revision {
    /// The pods of this revision as `describe` has them: with the hash that a ReplicaSet gives them, and why.
    fn shown_template(&self) -> Result<PodTemplateSpec, CtlError> {
        let mut template = match &self.state {
            State::Set { template, .. } => template.clone(),
            State::Patch(patch) => patch["spec"]["template"].clone(),
        };
        if let Some(cause) = &self.cause {
            template["metadata"]["annotations"][CAUSE] = cause.clone().into();
        }
        if let Some(hash) = &self.hash {
            template["metadata"]["labels"][POD_TEMPLATE_HASH] = hash.clone().into();
        }
        serde_json::from_value(template).map_err(|error| CtlError::usage(error.to_string()))
    }
}

enum State {
    /// The template of a Deployment's ReplicaSet, and its annotations.
    Set { template: Value, annotations: Value },
    /// What makes the object what it was, as a strategic merge patch.
    Patch(Value),
}

/// Prints the revisions, the oldest first; or the pods of one, which is not 0.
pub(super) async fn print_all(session: &Session, target: &Target<'_>, only: i64) -> Result<(), CtlError> {
    let object = target.get().await?;
    let revisions = revisions(session, target, &object).await?;
    if only > 0 {
        let title = format!("{}/{} with revision #{only}\n", target.resource.qualified(), target.name);
        if revisions.is_empty() {
            return print(&format!("{title}No rollout history found.\n"));
        }
        let found = revisions.into_iter().find(|revision| revision.number == only);
        let revision = found.ok_or_else(|| CtlError::usage("unable to find the specified revision"))?;
        return print(&format!("{title}{}\n", template_text(&revision.shown_template()?)));
    }
    let title = format!("{}/{} \n", target.resource.qualified(), target.name);
    if revisions.is_empty() {
        return print(&format!("{title}No rollout history found.\n"));
    }
    let mut rows = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
    let row =
        |revision: Revision| vec![revision.number.to_string(), revision.cause.unwrap_or_else(|| "<none>".to_owned())];
    rows.extend(revisions.into_iter().map(row));
    print(&format!("{title}{}\n", Columns::narrow().lines(&rows)))
}

/// Goes back to a revision, 0 for the one before; gives what was done.
pub(super) async fn undo(session: &Session, target: &Target<'_>, to: i64) -> Result<String, CtlError> {
    let object = target.get().await?;
    if !object["metadata"]["annotations"][LAST_APPLIED].is_null() {
        eprintln!(
            "Warning: resource {}/{} was previously managed with 'kubectl apply'. Rolling back will not update the {LAST_APPLIED} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider using 'kubectl apply' with your previous configuration file instead.",
            target.resource.api.plural, target.name
        );
    }
    if object["spec"]["paused"] == true {
        return Err(CtlError::usage(format!(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume {}' and try again",
            target.name
        )));
    }
    let mut revisions = revisions(session, target, &object).await?;
    let found = match to {
        0 if revisions.len() > 1 => revisions.len() - 2,
        0 => {
            return Err(CtlError::usage(format!(
                "no rollout history found for {} {:?}",
                target.resource.singular(),
                target.name
            )));
        }
        to => revisions
            .iter()
            .position(|revision| revision.number == to)
            .ok_or_else(|| CtlError::usage(format!("unable to find specified revision {to} in history")))?,
    };
    let revision = revisions.swap_remove(found);
    if is_present(&object, &revision.state) {
        return Ok(format!("skipped rollback (current template already matches revision {})", revision.number));
    }
    target.patch(&patch(&object, revision.state)?).await?;
    Ok("rolled back".to_owned())
}

async fn revisions(session: &Session, target: &Target<'_>, object: &Value) -> Result<Vec<Revision>, CtlError> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let mut revisions: Vec<Revision> = match target.kind {
        Kind::Deployment => {
            let sets = Api::<ReplicaSet>::namespaced(session.client.clone(), &session.namespace);
            let sets = sets.list(&ListParams::default()).await?.items;
            sets.into_iter().filter(|set| belongs(&set.metadata, uid)).map(of_set).collect()
        }
        Kind::DaemonSet | Kind::StatefulSet => {
            let all = Api::<ControllerRevision>::namespaced(session.client.clone(), &session.namespace);
            let all = all.list(&ListParams::default()).await?.items;
            all.into_iter().filter(|revision| belongs(&revision.metadata, uid)).map(of_revision).collect()
        }
    };
    revisions.sort_by_key(|revision| revision.number);
    Ok(revisions)
}

fn belongs(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

fn cause(meta: &ObjectMeta) -> Option<String> {
    meta.annotations.as_ref()?.get(CAUSE).cloned()
}

fn of_set(set: ReplicaSet) -> Revision {
    let number = set.metadata.annotations.as_ref().and_then(|all| all.get(DEPLOYMENT_REVISION)?.parse().ok());
    let mut template = set.spec.and_then(|spec| spec.template).unwrap_or_default();
    let labels = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut());
    let hash = labels.and_then(|labels| labels.remove(POD_TEMPLATE_HASH));
    let state = State::Set { template: json!(template), annotations: json!(set.metadata.annotations) };
    Revision { number: number.unwrap_or_default(), cause: cause(&set.metadata), hash, state }
}

fn of_revision(revision: ControllerRevision) -> Revision {
    let state = State::Patch(revision.data.map(|data| data.0).unwrap_or_default());
    Revision { number: revision.revision, cause: cause(&revision.metadata), hash: None, state }
}

/// Whether the object is in that state already.
fn is_present(object: &Value, state: &State) -> bool {
    let now = &object["spec"]["template"];
    match state {
        State::Set { template, .. } => template == now,
        State::Patch(patch) => {
            let mut template = patch["spec"]["template"].clone();
            template.as_object_mut().and_then(|template| template.remove("$patch"));
            template == *now
        }
    }
}

/// What brings the object to that state.
fn patch(object: &Value, state: State) -> Result<Patch<Value>, CtlError> {
    let (template, then) = match state {
        State::Patch(patch) => return Ok(Patch::Strategic(patch)),
        State::Set { template, annotations } => (template, annotations),
    };
    // The whole template is replaced; annotations go back too, less those that belong to the Deployment.
    let is_own = |key: &str| key == LAST_APPLIED || key.starts_with(OWN_PREFIX);
    let of = |annotations: &Value, own: bool| {
        let all = annotations.as_object().cloned().unwrap_or_default();
        all.into_iter().filter(|(key, _)| is_own(key) == own).collect::<Vec<_>>()
    };
    let now = &object["metadata"]["annotations"];
    let annotations: serde_json::Map<_, _> = of(&then, false).into_iter().chain(of(now, true)).collect();
    let operations = json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ]);
    serde_json::from_value(operations).map(Patch::Json).map_err(|error| CtlError::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployments_own_annotations_stay() {
        let object = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "3", "note": "new"}}});
        let annotations = json!({"deployment.kubernetes.io/revision": "1", "note": "old"});
        let patch = patch(&object, State::Set { template: json!({"spec": {}}), annotations }).unwrap();
        let Patch::Json(patch) = patch else { panic!() };
        let want = json!({"deployment.kubernetes.io/revision": "3", "note": "old"});
        assert_eq!(json!(patch)[1]["value"], want);
    }
}
