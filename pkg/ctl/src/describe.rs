// SPDX-License-Identifier: Apache-2.0
//! `describe`: objects for people, with what belongs to them and what happened to them.
//!
//! Each kind's page is a pure function of the object and of what was asked for around it, laid out as kubectl's; a
//! kind without a page of its own shows all of its fields.

mod access;
mod amounts;
mod autoscaler;
mod bounds;
mod classes;
mod containers;
mod data;
mod events;
mod generic;
mod ingress;
mod jobs;
mod node;
mod page;
mod pod;
mod policy;
mod service;
mod sets;
mod slice;
mod storage;
mod volumes;
mod workload;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use knarr_types::tree::to_value;
use kube::api::{DynamicObject, ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::{DescribeArgs, Selection};
use crate::error::CtlError;
use crate::get::say;
use crate::manifest::{self, Target};
use crate::output::print;
use crate::resources::{Named, Resource, named};
use crate::session::Session;
use page::Page;

/// Kinds whose pages end without events.
const EVENTLESS: [(&str, &str); 9] = [
    ("", "Secret"),
    ("", "Namespace"),
    ("", "ResourceQuota"),
    ("", "LimitRange"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
];

/// Runs `describe`.
pub(crate) async fn run(session: &Session, args: DescribeArgs) -> Result<u8, CtlError> {
    args.selection.check()?;
    let mut failures = Vec::new();
    let found = find(session, &args.selection, &mut failures).await?;
    if found.objects.is_empty() && failures.is_empty() {
        let place = (!args.selection.all_namespaces).then(|| format!(" in {} namespace.", session.namespace));
        eprintln!("No resources found{}", place.unwrap_or_default());
    }
    // Of many objects at once only those are asked for who want them.
    let alone = found.objects.len() == 1 && !found.by_prefix;
    let with_events = args.show_events.unwrap_or(alone && failures.is_empty());
    for (i, (resource, object)) in found.objects.iter().enumerate() {
        let text = text(session, resource, object, with_events).await?;
        let (before, after) = if found.by_prefix { ("", "\n") } else { (if i > 0 { "\n\n" } else { "" }, "") };
        print(&format!("{before}{text}{after}"))?;
    }
    Ok(say(&failures))
}

/// A template of pods, as pages of those who have one show it, but not aligned.
pub(crate) fn template_text(of: &PodTemplateSpec) -> String {
    let mut page = Page::default();
    pod::template(&mut page, of);
    page.unaligned()
}

/// What was asked for.
#[derive(Default)]
struct Found<'a> {
    objects: Vec<(&'a Resource, Value)>,
    /// By the beginning of their names, as nothing has the whole one.
    by_prefix: bool,
}

async fn find<'a>(
    session: &'a Session,
    selection: &Selection,
    failures: &mut Vec<CtlError>,
) -> Result<Found<'a>, CtlError> {
    let mut found = Found::default();
    let mut wanted = Vec::new();
    if selection.files.is_empty() {
        let resources = session.resources().await?;
        match named(&selection.what)? {
            Named::Types(types) => {
                for resource in resources.find_all(types)? {
                    found.objects.extend(list(session, resource, selection).await?);
                }
            }
            Named::Objects(objects) => {
                for (type_, name) in objects {
                    wanted.push((resources.find(type_)?, Some(session.namespace.clone()), name.to_owned()));
                }
            }
        }
    } else {
        for object in manifest::read(&selection.files, selection.recursive)? {
            let target = Target::of(session, object).await?;
            wanted.push((target.resource, target.namespace, target.name));
        }
    }
    let typed_with_name = selection.what.len() == 2 && !selection.what[0].contains('/');
    for (resource, namespace, name) in wanted {
        match session.api(resource, namespace.as_deref()).get(&name).await.map_err(CtlError::from) {
            Ok(object) => found.objects.push((resource, value(resource, object))),
            Err(error) if error.is_not_found() && typed_with_name => {
                let mut all = list(session, resource, selection).await?;
                all.retain(|(_, object)| object["metadata"]["name"].as_str().unwrap_or_default().starts_with(&name));
                if all.is_empty() {
                    failures.push(error);
                }
                found = Found { objects: all, by_prefix: true };
            }
            Err(error) => failures.push(error),
        }
    }
    Ok(found)
}

async fn list<'a>(
    session: &Session,
    resource: &'a Resource,
    selection: &Selection,
) -> Result<Vec<(&'a Resource, Value)>, CtlError> {
    let namespace = (!selection.all_namespaces).then_some(session.namespace.as_str());
    let params = ListParams::default().labels(&selection.selector).fields(&selection.field_selector);
    let all = session.api(resource, namespace).list(&params).await?.items;
    Ok(all.into_iter().map(|object| (resource, value(resource, object))).collect())
}

/// The object with its kind, which those of a list leave out.
fn value(resource: &Resource, object: DynamicObject) -> Value {
    let mut object = json!(object);
    object["apiVersion"] = resource.api.api_version.clone().into();
    object["kind"] = resource.api.kind.clone().into();
    object
}

async fn text(session: &Session, resource: &Resource, object: &Value, with_events: bool) -> Result<String, CtlError> {
    let mut page = page(session, resource, object).await?;
    if with_events && !EVENTLESS.contains(&(resource.api.group.as_str(), resource.api.kind.as_str())) {
        events::section(&mut page, &events::about(session, object).await?);
    }
    Ok(page.finish())
}

/// The page of an object, less its events.
async fn page(session: &Session, resource: &Resource, object: &Value) -> Result<Page, CtlError> {
    let api = &resource.api;
    Ok(match (api.group.as_str(), api.kind.as_str()) {
        ("", "Pod") => pod::page(&typed(object)?),
        ("", "Node") => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            node::page(&typed(object)?, &node::around(session, name).await?)
        }
        ("", "Service") => {
            let service: k8s_openapi::api::core::v1::Service = typed(object)?;
            let (namespace, name) = (service.metadata.namespace.as_deref(), service.metadata.name.as_deref());
            let slices = service::slices(session, namespace.unwrap_or_default(), name.unwrap_or_default()).await?;
            service::page(&service, &slices)
        }
        ("", "Endpoints") => service::endpoints_page(&typed(object)?),
        ("", "ConfigMap") => data::config_map(&typed(object)?),
        ("", "Secret") => data::secret(&typed(object)?),
        ("", "ServiceAccount") => data::service_account(&typed(object)?),
        ("", "Namespace") => {
            let namespace = typed(object)?;
            let (quotas, ranges) = data::bounds(session, &namespace).await?;
            data::namespace(&namespace, &quotas, &ranges)
        }
        ("apps", "Deployment") => {
            let deployment = typed(object)?;
            workload::deployment(&deployment, &workload::sets(session, &deployment).await?)
        }
        ("apps", "ReplicaSet") => {
            let set: apps::ReplicaSet = typed(object)?;
            workload::replica_set(&set, &workload::pods(session, &set.metadata).await?)
        }
        ("apps", "DaemonSet") => {
            let set: apps::DaemonSet = typed(object)?;
            sets::daemon_set(&set, &workload::pods(session, &set.metadata).await?)
        }
        ("apps", "StatefulSet") => {
            let set: apps::StatefulSet = typed(object)?;
            sets::stateful_set(&set, &workload::pods(session, &set.metadata).await?)
        }
        ("networking.k8s.io", "Ingress") => {
            let ingress = typed(object)?;
            ingress::page(&ingress, &ingress::behind(session, &ingress).await)
        }
        ("", "PersistentVolumeClaim") => storage::claim(object, &storage::users(session, object).await?),
        (group, kind) => match of_rules(group, kind, object) {
            Some(page) => page?,
            None => generic::page(object),
        },
    })
}

/// The page of an object that says how others are treated, which needs nothing else to be read.
fn of_rules(group: &str, kind: &str, object: &Value) -> Option<Result<Page, CtlError>> {
    Some(match (group, kind) {
        ("", "PersistentVolume") => Ok(storage::volume(object)),
        ("autoscaling", "HorizontalPodAutoscaler") => Ok(autoscaler::page(object)),
        ("", "ResourceQuota") => typed(object).map(|it| bounds::quota(&it)),
        ("", "LimitRange") => typed(object).map(|it| bounds::limits(&it)),
        ("policy", "PodDisruptionBudget") => typed(object).map(|it| bounds::budget(&it)),
        ("scheduling.k8s.io", "PriorityClass") => typed(object).map(|it| bounds::priority(&it)),
        ("storage.k8s.io", "StorageClass") => typed(object).map(|it| classes::storage(&it)),
        ("networking.k8s.io", "IngressClass") => typed(object).map(|it| classes::ingress(&it)),
        ("networking.k8s.io", "NetworkPolicy") => typed(object).map(|it| policy::page(&it)),
        ("discovery.k8s.io", "EndpointSlice") => typed(object).map(|it| slice::page(&it)),
        ("batch", "Job") => typed(object).map(|it| jobs::job(&it)),
        ("batch", "CronJob") => typed(object).map(|it| jobs::cron_job(&it)),
        ("rbac.authorization.k8s.io", "Role") => {
            typed(object).map(|it: rbac::Role| access::role(&it.metadata, &it.rules.unwrap_or_default()))
        }
        ("rbac.authorization.k8s.io", "ClusterRole") => {
            typed(object).map(|it: rbac::ClusterRole| access::role(&it.metadata, &it.rules.unwrap_or_default()))
        }
        ("rbac.authorization.k8s.io", "RoleBinding") => typed(object)
            .map(|it: rbac::RoleBinding| access::binding(&it.metadata, &it.role_ref, &it.subjects.unwrap_or_default())),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => typed(object).map(|it: rbac::ClusterRoleBinding| {
            access::binding(&it.metadata, &it.role_ref, &it.subjects.unwrap_or_default())
        }),
        _ => return None,
    })
}

fn typed<T: DeserializeOwned>(object: &Value) -> Result<T, CtlError> {
    T::deserialize(object)
        .map_err(|error| CtlError::usage(format!("{} cannot be read: {error}", object["metadata"]["name"])))
}

/// Kind and name of who controls an object.
fn controller(meta: &ObjectMeta) -> Option<String> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    Some(format!("{}/{}", owner.kind, owner.name))
}

/// A label selector as a query writes it; one that says nothing is `<none>`.
fn selector(selector: Option<&LabelSelector>) -> String {
    let text = selector.and_then(|it| knarr_types::LabelSelector::from_object(&to_value(it).ok()?).ok());
    text.map(|it| it.to_string()).filter(|it| !it.is_empty()).unwrap_or_else(|| "<none>".to_owned())
}
