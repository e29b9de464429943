// SPDX-License-Identifier: Apache-2.0
//! Pod templates of a Deployment: which ReplicaSet has which, and what the next one is called.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use knarr_types::labels::{DEPLOYMENT_REVISION, POD_TEMPLATE_HASH};
use sha2::{Digest as _, Sha256};

/// Letters that make no words, as upstream's `rand.SafeEncodeString`.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many letters of the hash a name carries.
const HASH_LETTERS: usize = 10;

/// The ReplicaSet that has the Deployment's template; the oldest where several do.
#[must_use]
pub fn new_set<'a>(deployment: &Deployment, sets: &'a [Arc<ReplicaSet>]) -> Option<&'a Arc<ReplicaSet>> {
    let wanted = without_hash(&deployment.spec.as_ref()?.template);
    let same = sets
        .iter()
        .filter(|set| set.spec.as_ref().and_then(|s| s.template.as_ref()).is_some_and(|t| without_hash(t) == wanted));
    same.min_by_key(|set| (created(set), set.metadata.name.clone()))
}

fn created(set: &ReplicaSet) -> Option<k8s_openapi::jiff::Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        meta.creation_timestamp = None;
        if let Some(labels) = &mut meta.labels {
            labels.remove(POD_TEMPLATE_HASH);
        }
    }
    template
}

/// The hash of a template, for names and labels; `collisions` makes it another one.
#[must_use]
pub fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut digest = Sha256::new();
    // A template is plain data: serialising it to memory does not fail.
    digest.update(serde_json::to_vec(&without_hash(template)).unwrap_or_default());
    digest.update(collisions.to_be_bytes());
    let letters = digest.finalize();
    letters.iter().take(HASH_LETTERS).map(|b| char::from(ALPHABET[usize::from(*b) % ALPHABET.len()])).collect()
}

/// A new ReplicaSet for the Deployment's template, with this many replicas and this revision.
#[must_use]
pub fn replica_set(deployment: &Deployment, replicas: i32, revision: i64) -> ReplicaSet {
    let meta = &deployment.metadata;
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or_default();
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut match_labels = spec.selector.match_labels.unwrap_or_default();
    match_labels.insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", meta.name.as_deref().unwrap_or_default())),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owner_of(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector { match_labels: Some(match_labels), ..spec.selector },
            template: Some(template),
        }),
        status: None,
    };
    annotate(&mut set, deployment, revision);
    set
}

/// Annotations that a ReplicaSet does not take over from its Deployment.
const NOT_COPIED: [&str; 6] = [
    knarr_types::labels::LAST_APPLIED,
    DEPLOYMENT_REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// How many replicas the Deployment wants, noted on its ReplicaSets to tell scaling from rolling.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// How many there may be during a rollout, noted on its ReplicaSets.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// Gives the newest set the Deployment's annotations, its bounds and its revision. Whether anything changed.
pub fn annotate(set: &mut ReplicaSet, deployment: &Deployment, revision: i64) -> bool {
    let before = set.metadata.annotations.clone();
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(DEPLOYMENT_REVISION).and_then(|r| r.parse::<i64>().ok()).unwrap_or_default();
    if revision > old {
        if old > 0 {
            let history = annotations.entry("deployment.kubernetes.io/revision-history".into()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&old.to_string());
        }
        annotations.insert(DEPLOYMENT_REVISION.into(), revision.to_string());
    }
    note_bounds(set, deployment);
    set.metadata.annotations != before
}

/// Notes on a set, which keeps its other annotations, for how many replicas it was scaled. Whether anything changed.
pub fn note_bounds(set: &mut ReplicaSet, deployment: &Deployment) -> bool {
    let before = set.metadata.annotations.clone();
    let annotations = set.metadata.annotations.get_or_insert_default();
    let bounds = super::plan::Bounds::of(deployment);
    annotations.insert(DESIRED_REPLICAS.into(), bounds.replicas.to_string());
    annotations.insert(MAX_REPLICAS.into(), (bounds.replicas + bounds.max_surge).to_string());
    set.metadata.annotations != before
}

/// The revision that a Deployment or ReplicaSet carries; 0 where it carries none.
#[must_use]
pub fn revision(meta: &ObjectMeta) -> i64 {
    let text = meta.annotations.as_ref().and_then(|a| a.get(DEPLOYMENT_REVISION));
    text.and_then(|r| r.parse().ok()).unwrap_or_default()
}

/// What says that a Deployment controls an object.
pub fn owner_of(deployment: &Deployment) -> OwnerReference {
    let meta = &deployment.metadata;
    OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "uid": "u", "annotations": {"note": "x", DEPLOYMENT_REVISION: "1"}},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_set_is_found_by_its_template_whatever_its_hash() {
        let old = Arc::new(replica_set(&deployment("a"), 1, 1));
        let new = Arc::new(replica_set(&deployment("b"), 1, 2));
        assert_ne!(old.metadata.name, new.metadata.name);
        let sets = [old.clone(), new.clone()];
        assert_eq!(new_set(&deployment("a"), &sets), Some(&old));
        assert_eq!(new_set(&deployment("c"), &sets), None);
        let selector = &new.spec.as_ref().unwrap().selector;
        assert!(selector.match_labels.as_ref().unwrap().contains_key(POD_TEMPLATE_HASH));
    }

    #[test]
    fn annotations_are_copied_and_revisions_only_rise() {
        let mut set = replica_set(&deployment("a"), 1, 1);
        assert_eq!((revision(&set.metadata), set.metadata.annotations.as_ref().unwrap()["note"].as_str()), (1, "x"));
        assert!(annotate(&mut set, &deployment("a"), 3));
        assert!(!annotate(&mut set, &deployment("a"), 2));
        assert_eq!(revision(&set.metadata), 3);
        assert_eq!(set.metadata.annotations.unwrap()["deployment.kubernetes.io/revision-history"], "1");
    }
}
