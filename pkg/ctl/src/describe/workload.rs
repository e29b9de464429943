// SPDX-License-Identifier: Apache-2.0
//! Deployments and ReplicaSets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_types::labels::POD_TEMPLATE_HASH;
use kube::api::{Api, ListParams};

use super::page::{Page, date};
use super::{controller, pod, selector};
use crate::error::CtlError;
use crate::session::Session;

/// The ReplicaSets of a Deployment, the oldest first.
pub(super) async fn sets(session: &Session, deployment: &Deployment) -> Result<Vec<ReplicaSet>, CtlError> {
    let mut sets: Vec<ReplicaSet> = owned(session, &deployment.metadata, |set: &ReplicaSet| &set.metadata).await?;
    sets.sort_by_key(|set| set.metadata.creation_timestamp.as_ref().map(|time| time.0));
    Ok(sets)
}

/// The Pods of a set.
pub(super) async fn pods(session: &Session, set: &ObjectMeta) -> Result<Vec<Pod>, CtlError> {
    owned(session, set, |pod: &Pod| &pod.metadata).await
}

/// The objects of a kind that `owner` controls.
async fn owned<K>(session: &Session, owner: &ObjectMeta, meta: fn(&K) -> &ObjectMeta) -> Result<Vec<K>, CtlError>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    let mut all = Api::<K>::namespaced(session.client.clone(), namespace).list(&ListParams::default()).await?.items;
    all.retain(|object| {
        let owners = meta(object).owner_references.iter().flatten();
        owners.filter(|it| it.controller == Some(true)).any(|it| Some(&it.uid) == owner.uid.as_ref())
    });
    Ok(all)
}

pub(super) fn deployment(deployment: &Deployment, sets: &[ReplicaSet]) -> Page {
    let meta = &deployment.metadata;
    let (spec, status) = (deployment.spec.clone().unwrap_or_default(), deployment.status.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.field(0, "CreationTimestamp", date(meta.creation_timestamp.as_ref().map(|time| time.0)));
    page.labels_and_annotations(meta);
    page.field(0, "Selector", selector(Some(&spec.selector)));
    let count = |number: Option<i32>| number.unwrap_or_default();
    page.field(
        0,
        "Replicas",
        format_args!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            count(spec.replicas),
            count(status.updated_replicas),
            count(status.replicas),
            count(status.available_replicas),
            count(status.unavailable_replicas)
        ),
    );
    let strategy = spec.strategy.clone().unwrap_or_default();
    page.field(0, "StrategyType", strategy.type_.as_deref().unwrap_or_default());
    page.field(0, "MinReadySeconds", count(spec.min_ready_seconds));
    if let Some(rolling) = &strategy.rolling_update {
        let amount = |value: &Option<IntOrString>| match value {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(text)) => text.clone(),
            None => "<nil>".to_owned(),
        };
        let (unavailable, surge) = (amount(&rolling.max_unavailable), amount(&rolling.max_surge));
        page.field(0, "RollingUpdateStrategy", format_args!("{unavailable} max unavailable, {surge} max surge"));
    }
    pod::template(&mut page, &spec.template);
    let conditions = status.conditions.iter().flatten();
    conditions_table(
        &mut page,
        conditions.map(|c| [c.type_.as_str(), &c.status, c.reason.as_deref().unwrap_or_default()]),
    );
    if !sets.is_empty() {
        let (new, old): (Vec<_>, Vec<_>) = split(&spec.template, sets);
        page.field(0, "OldReplicaSets", counts(&old));
        page.field(0, "NewReplicaSet", counts(&new));
    }
    page
}

/// The set of the present template, and the others.
fn split<'a>(
    template: &k8s_openapi::api::core::v1::PodTemplateSpec,
    sets: &'a [ReplicaSet],
) -> (Vec<&'a ReplicaSet>, Vec<&'a ReplicaSet>) {
    let is_new = |set: &&ReplicaSet| {
        let mut its = set.spec.clone().and_then(|spec| spec.template).unwrap_or_default();
        if let Some(labels) = its.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
            labels.remove(POD_TEMPLATE_HASH);
        }
        its == *template
    };
    let new = sets.iter().find(is_new);
    let old = sets.iter().filter(|set| new.is_none_or(|new| new.metadata.name != set.metadata.name));
    (new.into_iter().collect(), old.collect())
}

fn counts(sets: &[&ReplicaSet]) -> String {
    let one = |set: &&ReplicaSet| {
        let made = set.status.as_ref().map_or(0, |status| status.replicas);
        let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        format!("{} ({made}/{wanted} replicas created)", set.metadata.name.as_deref().unwrap_or_default())
    };
    if sets.is_empty() { "<none>".to_owned() } else { sets.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn conditions_table<'a>(page: &mut Page, conditions: impl Iterator<Item = [&'a str; 3]>) {
    let mut conditions = conditions.peekable();
    if conditions.peek().is_some() {
        page.line(0, "Conditions:");
        page.line(1, "Type\tStatus\tReason");
        page.line(1, "----\t------\t------");
        conditions.for_each(|[type_, status, reason]| page.line(1, format_args!("{type_} \t{status}\t{reason}")));
    }
}

pub(super) fn replica_set(set: &ReplicaSet, pods: &[Pod]) -> Page {
    let (meta, spec) = (&set.metadata, set.spec.clone().unwrap_or_default());
    let status = set.status.clone().unwrap_or_default();
    let mut page = Page::of(meta);
    page.field(0, "Selector", selector(Some(&spec.selector)));
    page.labels_and_annotations(meta);
    page.some(0, "Controlled By", controller(meta).as_ref());
    let wanted = spec.replicas.unwrap_or_default();
    page.field(0, "Replicas", format_args!("{} current / {wanted} desired", status.replicas));
    page.field(0, "Pods Status", phases(pods));
    pod::template(&mut page, &spec.template.unwrap_or_default());
    let conditions = status.conditions.iter().flatten();
    conditions_table(
        &mut page,
        conditions.map(|c| [c.type_.as_str(), &c.status, c.reason.as_deref().unwrap_or_default()]),
    );
    page
}

/// How many pods are in which phase.
pub(super) fn phases(pods: &[Pod]) -> String {
    let of = |phase: &str| {
        let its = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase);
        pods.iter().filter(its).count()
    };
    let (running, waiting) = (of("Running"), of("Pending"));
    let (succeeded, failed) = (of("Succeeded"), of("Failed"));
    format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_set_of_the_present_template_is_the_new_one() {
        let template = |image: &str, hash: bool| {
            let mut labels = json!({"a": "b"});
            if hash {
                labels[POD_TEMPLATE_HASH] = "123".into();
            }
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}})
        };
        let set = |name: &str, image: &str| -> ReplicaSet {
            let spec = json!({"replicas": 2, "selector": {}, "template": template(image, true)});
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec, "status": {"replicas": 1}}))
                .unwrap()
        };
        let sets = [set("one", "old"), set("two", "new")];
        let now = serde_json::from_value(template("new", false)).unwrap();
        let (new, old) = split(&now, &sets);
        assert_eq!(counts(&new), "two (1/2 replicas created)");
        assert_eq!(counts(&old), "one (1/2 replicas created)");
        assert_eq!(counts(&[]), "<none>");
    }
}
