// SPDX-License-Identifier: Apache-2.0
//! APIServices of what this server serves itself: those of built-in groups from the start, those of
//! definitions as they come and go.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{join_all, try_join_all};
use http::Method;
use knarr_store::{Scope, WatchEvent};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, ResourceId};
use tokio::sync::watch;

use crate::app::App;
use crate::bootstrap::make;
use crate::loopback::send;
use crate::server::ServerError;

const GROUP: &str = "apiregistration.k8s.io";
const VERSION: &str = "apiregistration.k8s.io/v1";
const PLURAL: &str = "apiservices";
/// Who keeps an APIService: `onstart` for built-in groups, `true` for those of definitions.
const KEPT: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Group, version, and the priorities that upstream gives them.
const BUILT_IN: [(&str, &str, u32, u32); 21] = [
    ("", "v1", 18_000, 1),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("apps", "v1", 17_800, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("resource.k8s.io", "v1", 16_200, 21),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
];
/// The priorities of a definition's group and version.
const OF_DEFINITIONS: (u32, u32) = (1000, 100);

/// A group and one of its versions.
pub type Served = (String, String);

/// Makes what is missing of the built-in ones, and gives their spec back to those that nobody took over. Upstream does
/// so when it starts, and not again.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub async fn bootstrap(app: &Arc<App>) -> Result<(), ServerError> {
    let services = BUILT_IN.map(|(group, version, minimum, priority)| {
        settle(app, service(group, version, (minimum, priority), "onstart"))
    });
    try_join_all(services).await.map(drop)
}

/// Makes one that is not there, or gives it its spec back if it is one that servers keep.
async fn settle(app: &Arc<App>, wanted: Value) -> Result<(), ServerError> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let Some(mut there) = stored(app, &name) else { return make(app, VERSION, PLURAL, wanted).await };
    let is_kept = !there["metadata"]["labels"][KEPT].is_null();
    if !is_kept || there["spec"] == wanted["spec"] {
        return Ok(());
    }
    there["spec"] = wanted["spec"].clone();
    let path = format!("/apis/{VERSION}/{PLURAL}/{name}");
    match send(app, Method::PUT, &path, &there).await {
        // Whoever was faster brings us back.
        (200..300 | 404 | 409, _) => Ok(()),
        (_, why) => Err(ServerError::Bootstrap { what: path, why }),
    }
}

fn stored(app: &App, name: &str) -> Option<Object> {
    app.object(app.registry.load().by_resource(GROUP, "v1", PLURAL)?, "", name)
}

fn service(group: &str, version: &str, (minimum, priority): (u32, u32), kept: &str) -> Value {
    let mut spec = json!({"version": version, "groupPriorityMinimum": minimum, "versionPriority": priority});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    let metadata = json!({"name": format!("{version}.{group}"), "labels": {KEPT: kept}});
    json!({"apiVersion": VERSION, "kind": "APIService", "metadata": metadata, "spec": spec})
}

/// The groups and versions that definitions serve.
#[must_use]
pub fn of_definitions(definitions: &[Object]) -> BTreeSet<Served> {
    let versions = |definition: &Object| {
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let served = definition["spec"]["versions"].as_array().cloned().unwrap_or_default();
        let names = served.into_iter().filter(|version| version["served"] == true);
        names
            .filter_map(|version| version["name"].as_str().map(str::to_owned))
            .map(move |name| (group.clone(), name))
            .collect::<Vec<_>>()
    };
    definitions.iter().flat_map(versions).collect()
}

/// Those of definitions that the store has.
fn kept(app: &App) -> BTreeSet<Served> {
    let all = knarr_admission::Lookup::list(app, GROUP, PLURAL, None);
    let ours = all.iter().filter(|service| service["metadata"]["labels"][KEPT] == "true");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ours.map(|service| (text(&service["spec"]["group"]), text(&service["spec"]["version"]))).collect()
}

/// Makes and removes APIServices until there is one for each that is wanted, and goes on while that changes, or
/// they do.
pub async fn follow(app: Arc<App>, mut wanted: watch::Receiver<BTreeSet<Served>>) {
    let mut known = kept(&app);
    // Until the definitions were read nothing is known to be wanted.
    if wanted.changed().await.is_err() {
        return;
    }
    let id = ResourceId::new(GROUP, PLURAL);
    loop {
        let mut seen = app.store.watch(&id, app.store.snapshot(&id).revision(), Scope::All);
        loop {
            let now = wanted.borrow_and_update().clone();
            step(&app, &known, &now).await;
            known = now;
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    return;
                },
                event = seen.next() => match event {
                    WatchEvent::Commits(_) => {}
                    WatchEvent::Expired => break,
                    WatchEvent::Closed => return,
                },
            }
        }
    }
}

/// One that somebody else has made stays theirs.
async fn step(app: &Arc<App>, known: &BTreeSet<Served>, wanted: &BTreeSet<Served>) {
    let there = wanted.iter().map(|(group, version)| async move {
        let object = service(group, version, OF_DEFINITIONS, "true");
        if let Err(error) = settle(app, object).await {
            tracing::warn!(%error, "a definition has no APIService");
        }
    });
    let ours = |(group, version): &&Served| {
        let service = stored(app, &format!("{version}.{group}"));
        service.is_some_and(|service| service["metadata"]["labels"][KEPT] == "true")
    };
    let gone = known.difference(wanted).filter(ours).map(|(group, version)| async move {
        let path = format!("/apis/{VERSION}/{PLURAL}/{version}.{group}");
        let (code, why) = send(app, Method::DELETE, &path, &Value::Null).await;
        if code >= 400 && code != 404 {
            tracing::warn!(path, why, "an APIService outlives its definition");
        }
    });
    futures::join!(join_all(there), join_all(gone));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_that_is_built_in_has_one() {
        let have: BTreeSet<(&str, &str)> = BUILT_IN.iter().map(|(group, version, ..)| (*group, *version)).collect();
        let registry = knarr_schema::Registry::builtin();
        let served = registry.iter().map(|kind| (&*kind.group, &*kind.version));
        // The aggregator has none for itself.
        let served: BTreeSet<_> = served.filter(|(group, _)| *group != GROUP).collect();
        assert_eq!(have, served);
    }

    #[test]
    fn definitions_have_one_for_each_version_that_is_served() {
        let definition = json!({"spec": {"group": "g.io", "versions": [{"name": "v1", "served": true}, {"name": "v2", "served": false}]}});
        assert_eq!(of_definitions(&[definition]), [("g.io".to_owned(), "v1".to_owned())].into());
        let service = service("g.io", "v1", OF_DEFINITIONS, "true");
        assert_eq!(service["metadata"]["name"], "v1.g.io");
    }
}
