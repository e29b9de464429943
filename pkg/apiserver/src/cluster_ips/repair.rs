// SPDX-License-Identifier: Apache-2.0
//! The loop that mends service addresses: it looks at what changed, and at all of it when the server
//! starts. Nothing is asked again and again: an address that waits for its Service is looked at once more
//! when its time is over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use jiff::Timestamp;
use knarr_store::{Commit, Scope, WatchEvent};
use knarr_types::tree::Value;
use knarr_types::{Object, ResourceId};

use super::plan::{self, Action, Cluster, Told};
use super::{ADDRESSES, GROUP, RANGES, objects};
use crate::app::App;
use crate::loopback::send;

/// Who tells of addresses, and who of node ports. Upstream's names.
const ADDRESS_CONTROLLER: &str = "ipallocator-repair-controller";
const PORT_CONTROLLER: &str = "portallocator-repair-controller";

impl Cluster for App {
    fn address(&self, name: &str) -> Option<Object> {
        self.object(self.registry.load().by_resource(GROUP, "v1", ADDRESSES)?, "", name)
    }

    fn service(&self, namespace: &str, name: &str) -> Option<Object> {
        self.object(self.registry.load().by_resource("", "v1", "services")?, namespace, name)
    }

    fn ranges(&self) -> Vec<IpNet> {
        objects(self, RANGES).iter().flat_map(plan::cidrs).collect()
    }
}

fn services_id() -> ResourceId {
    ResourceId::new("", "services")
}

fn addresses_id() -> ResourceId {
    ResourceId::new(GROUP, ADDRESSES)
}

/// Gives each Service that is stored the addresses that it says it has: before the first request, so that
/// nobody else gets them.
pub async fn settle(app: &Arc<App>) {
    for service in services(app) {
        act(app, plan::check_service(&service, &**app)).await;
    }
}

fn services(app: &App) -> Vec<Object> {
    let registry = app.registry.load();
    let Some(kind) = registry.by_resource("", "v1", "services") else { return Vec::new() };
    let snapshot = app.store.snapshot(&kind.storage);
    snapshot.list(&Scope::All, None).map(|record| crate::serve_object::tree(kind, record)).collect()
}

/// Mends until the server ends.
pub async fn run(app: Arc<App>) {
    let stopping = app.stopping.clone();
    loop {
        let from = |id: &ResourceId| app.store.snapshot(id).revision();
        let mut services_seen = app.store.watch(&services_id(), from(&services_id()), Scope::All);
        let mut addresses_seen = app.store.watch(&addresses_id(), from(&addresses_id()), Scope::All);
        // Names of addresses by when they are due.
        let mut later: BTreeMap<Timestamp, String> = BTreeMap::new();
        look_at_all(&app, &mut later).await;
        loop {
            let due = later.keys().next().copied();
            tokio::select! {
                () = stopping.cancelled() => return,
                event = services_seen.next() => match event {
                    WatchEvent::Commits(commits) => {
                        for commit in &commits {
                            of_service(&app, commit, &mut later).await;
                        }
                    }
                    WatchEvent::Expired => break,
                    WatchEvent::Closed => return,
                },
                event = addresses_seen.next() => match event {
                    WatchEvent::Commits(commits) => {
                        for commit in &commits {
                            of_address(&app, commit, &mut later).await;
                        }
                    }
                    WatchEvent::Expired => break,
                    WatchEvent::Closed => return,
                },
                () = until(due), if due.is_some() => {
                    if let Some((_, name)) = later.pop_first() {
                        check_address(&app, &name, &mut later).await;
                    }
                }
            }
        }
    }
}

async fn until(due: Option<Timestamp>) {
    let left = due.map(|due| due.duration_since(Timestamp::now()));
    let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
    tokio::time::sleep(left).await;
}

async fn look_at_all(app: &Arc<App>, later: &mut BTreeMap<Timestamp, String>) {
    settle(app).await;
    let names: Vec<String> = objects(app, ADDRESSES).iter().filter_map(name_of).collect();
    for name in names {
        check_address(app, &name, later).await;
    }
    for told in plan::check_node_ports(&services(app), app.settings.node_ports) {
        tell(app, &told, PORT_CONTROLLER).await;
    }
}

fn name_of(object: &Object) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// What a change of a Service may have broken: its own addresses, and those that it had.
async fn of_service(app: &Arc<App>, commit: &Commit, later: &mut BTreeMap<Timestamp, String>) {
    let (namespace, name) = (&commit.key.namespace, &commit.key.name);
    if let Some(service) = app.service(namespace, name) {
        act(app, plan::check_service(&service, &**app)).await;
    }
    let Some(before) = &commit.before else { return };
    let before: Object = serde_json::from_slice(&before.json).unwrap_or_default();
    for address in knarr_admission::services::addresses_of(&before) {
        check_address(app, &address.to_string(), later).await;
    }
}

/// What a change of an address may have broken: itself, and the Service that has it.
async fn of_address(app: &Arc<App>, commit: &Commit, later: &mut BTreeMap<Timestamp, String>) {
    check_address(app, &commit.key.name, later).await;
    for record in [&commit.before, &commit.after].into_iter().flatten() {
        let object: Object = serde_json::from_slice(&record.json).unwrap_or_default();
        let service = plan::parent(&object).and_then(|(namespace, name)| app.service(namespace, name));
        let has = |service: &Object| {
            let own = knarr_admission::services::addresses_of(service);
            commit.key.name.parse::<IpAddr>().is_ok_and(|address| own.contains(&address))
        };
        if let Some(service) = service.filter(has) {
            act(app, plan::check_service(&service, &**app)).await;
        }
    }
}

async fn check_address(app: &Arc<App>, name: &str, later: &mut BTreeMap<Timestamp, String>) {
    let Some(address) = app.address(name) else { return };
    let mut actions = plan::check_address(&address, &**app, Timestamp::now());
    actions.retain(|action| match action {
        Action::Later(at) => {
            later.insert(*at, name.to_owned());
            false
        }
        _ => true,
    });
    act(app, actions).await;
}

async fn act(app: &Arc<App>, actions: Vec<Action>) {
    let collection = format!("/apis/{GROUP}/v1/{ADDRESSES}");
    for action in actions {
        let (code, why) = match action {
            Action::Tell(told) => {
                tell(app, &told, ADDRESS_CONTROLLER).await;
                continue;
            }
            Action::Create(object) => send(app, Method::POST, &collection, &object).await,
            Action::Delete(name) => send(app, Method::DELETE, &format!("{collection}/{name}"), &Value::Null).await,
            Action::Later(_) => continue,
        };
        if code >= 400 && code != 404 && code != 409 {
            tracing::warn!(code, why, "a service address was not mended");
        }
    }
}

async fn tell(app: &Arc<App>, told: &Told, controller: &str) {
    tracing::warn!(reason = told.reason, "{}", told.note);
    let suffix = format!("{:016x}", fastrand::u64(..));
    let event = plan::event(told, controller, &suffix, Timestamp::now());
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    let (code, why) = send(app, Method::POST, &path, &event).await;
    if code >= 400 {
        tracing::debug!(code, why, "an event was not written");
    }
}
