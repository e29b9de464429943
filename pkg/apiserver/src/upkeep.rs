// SPDX-License-Identifier: Apache-2.0
//! What every cluster holds and gets back while the server runs, when somebody deletes or changes it: flow control,
//! the namespace of heartbeats, the server's own Service.
//!
//! Upstream looks every few seconds; here a change of these objects is what wakes anybody.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::try_join_all;
use http::Method;
use knarr_schema::rules::flow_control;
use knarr_store::{Scope, WatchEvent};
use knarr_types::tree::json;
use knarr_types::{Object, ResourceId};
use tokio::task::JoinSet;

use crate::app::App;
use crate::bootstrap::{make, own_service, write};
use crate::loopback::send;
use crate::server::ServerError;

/// The group of flow schemas and priority levels.
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
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
            flow_control,
        ));
    }
    let namespaces = ResourceId::new("", "namespaces");
    kept.spawn(after_each_change(Arc::clone(&app), namespaces, one("", HEARTBEATS), async |app| {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HEARTBEATS}});
        send(app, Method::POST, "/api/v1/namespaces", &object).await;
        Ok(())
    }));
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
    let Some(there) = there else { return make(app, &version, plural, wanted).await };
    let Some(revised) = flow_control::reconcile(&there, &wanted) else { return Ok(()) };
    let path = format!("/apis/{version}/{plural}/{name}");
    match send(app, Method::PUT, &path, &revised).await {
        // Whoever was faster brings us back.
        (200..300 | 404 | 409, _) => Ok(()),
        (_, why) => Err(ServerError::Bootstrap { what: path, why }),
    }
}
