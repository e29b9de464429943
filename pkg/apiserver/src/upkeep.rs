// SPDX-License-Identifier: Apache-2.0
//! What every cluster holds and gets back while the server runs, when somebody deletes or changes it: flow control,
//! the namespace of heartbeats, the server's own Service, the authority of its clients.
//!
//! Upstream looks every few seconds; here a change of these objects is what wakes anybody.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::try_join_all;
use http::Method;
use knarr_admission::Lookup as _;
use knarr_schema::rules::flow_control;
use knarr_store::{Scope, WatchEvent};
use knarr_types::tree::json;
use knarr_types::{Object, ResourceId};
use tokio::task::JoinSet;

use crate::app::App;
use crate::bootstrap::{AUTHENTICATION, authentication, own_service, write};
use crate::loopback::send;
use crate::server::ServerError;

/// The group of flow schemas and priority levels.
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
/// Who makes them, and who looks whether they fit together, as upstream calls it.
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
const HEARTBEATS: &str = knarr_types::labels::NAMESPACE_NODE_LEASE;

/// Keeps it until the server ends; `service_address` and `server` are what [`crate::bootstrap::run`] was told.
pub async fn run(app: Arc<App>, service_address: IpAddr, server: Option<SocketAddr>) {
    let one = |namespace: &str, name: &str| Scope::Object { namespace: namespace.into(), name: name.into() };
    let mut kept = JoinSet::new();
    for plural in ["flowschemas", "prioritylevelconfigurations"] {
        kept.spawn(after_each_change(
            Arc::clone(&app),
            ResourceId::new(FLOW_CONTROL, plural),
            Scope::All,
            async |app: &Arc<App>| {
                flow_control(app).await?;
                tell_dangling(app).await
            },
        ));
    }
    if let Err(error) = tell_dangling(&app).await {
        tracing::warn!(%error, "flow schemas do not say whether their priority levels are there");
    }
    let namespaces = ResourceId::new("", "namespaces");
    kept.spawn(after_each_change(Arc::clone(&app), namespaces, one("", HEARTBEATS), async |app| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HEARTBEATS}});
        send(app, Method::POST, "/api/v1/namespaces", &object).await;
        Ok(())
    }));
    let config_maps = ResourceId::new("", "configmaps");
    let settle = async |app: &Arc<App>| write(app, authentication(app)).await;
    kept.spawn(after_each_change(Arc::clone(&app), config_maps, one("kube-system", AUTHENTICATION), settle));
    for (group, plural) in [("", "services"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices")] {
        let settle = async move |app: &Arc<App>| {
            for object in own_service(service_address, server) {
                write(app, object).await?;
            }
            Ok(())
        };
        let resource = ResourceId::new(group, plural);
        kept.spawn(after_each_change(Arc::clone(&app), resource, one("default", "kubernetes"), settle));
    }
    kept.join_all().await;
}

/// Does something after each change of these objects, until the server ends.
async fn after_each_change(
    app: Arc<App>,
    resource: ResourceId,
    scope: Scope,
    settle: impl AsyncFn(&Arc<App>) -> Result<(), ServerError>,
) {
    let stopping = app.stopping.clone();
    loop {
        let from = app.store.snapshot(&resource).revision();
        let mut watcher = app.store.watch(&resource, from, scope.clone());
        loop {
            let event = tokio::select! {
                () = stopping.cancelled() => return,
                event = watcher.next() => event,
            };
            match event {
                WatchEvent::Commits(_) => {
                    if let Err(error) = settle(&app).await {
                        tracing::warn!(%error, %resource, "what every cluster holds was not made again");
                    }
                }
                WatchEvent::Expired => break,
                WatchEvent::Closed => return,
            }
        }
    }
}

/// Makes what is missing of flow control, and gives back its spec to what nobody took over.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub async fn flow_control(app: &Arc<App>) -> Result<(), ServerError> {
    let settled = flow_control::bootstrap().into_iter().map(|(plural, wanted)| settle(app, plural, wanted));
    try_join_all(settled).await.map(drop)
}

async fn settle(app: &Arc<App>, plural: &str, wanted: Object) -> Result<(), ServerError> {
    let version = format!("{FLOW_CONTROL}/v1");
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let there = {
        let registry = app.registry.load();
        let kind = registry.by_resource(FLOW_CONTROL, "v1", plural);
        kind.and_then(|kind| app.object(kind, "", &name))
    };
    let collection = format!("/apis/{version}/{plural}");
    let (method, path, object) = match there {
        None => (Method::POST, format!("{collection}?fieldManager={PRODUCER}"), wanted),
        Some(there) => {
            let Some(revised) = flow_control::reconcile(&there, &wanted) else { return Ok(()) };
            (Method::PUT, format!("{collection}/{name}?fieldManager={PRODUCER}"), revised)
        }
    };
    settled(send(app, method, &path, &object).await, &format!("{collection}/{name}"))
}

/// Lets flow schemas say whether their priority levels are there.
async fn tell_dangling(app: &Arc<App>) -> Result<(), ServerError> {
    let levels: HashSet<String> =
        app.list(FLOW_CONTROL, "prioritylevelconfigurations", None).iter().map(name_of).collect();
    for schema in app.list(FLOW_CONTROL, "flowschemas", None) {
        let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
        let now = crate::write::seconds(jiff::Timestamp::now());
        let Some(told) = flow_control::dangling(&schema, levels.contains(level), &now) else { continue };
        let path = format!("/apis/{FLOW_CONTROL}/v1/flowschemas/{}/status", name_of(&schema));
        let answer = send(app, Method::PATCH, &format!("{path}?fieldManager={CONSUMER}&force=true"), &told).await;
        settled(answer, &path)?;
    }
    Ok(())
}

fn name_of(object: &Arc<Object>) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Whoever was faster brings us back.
fn settled((code, why): (u16, String), path: &str) -> Result<(), ServerError> {
    match code {
        200..300 | 404 | 409 => Ok(()),
        _ => Err(ServerError::Bootstrap { what: path.to_owned(), why }),
    }
}
