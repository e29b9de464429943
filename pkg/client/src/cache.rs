// SPDX-License-Identifier: Apache-2.0
//! A collection followed by list and watch, kept as projections.
//!
//! The objects themselves are dropped as soon as the owner's projection is taken: a cache costs what
//! its owner needs. It asks for a streaming list (`sendInitialEvents`), so that no list is ever held
//! whole; a lost watch goes on at the last revision seen, one that fell out of the server's window
//! starts over and reports what went missing as deletions.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::future::ready;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Resource, ResourceExt as _};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::readable;

/// Where an object of a collection is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// `""` for objects of the cluster.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectRef {
    /// From its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Where `object` is.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What happened to one object, as its owner sees it.
#[derive(Debug)]
pub struct Change<P> {
    /// Which object.
    pub object: ObjectRef,
    /// Its projection until now; `None` for a new one.
    pub before: Option<Arc<P>>,
    /// Its projection from now on; `None` where it is gone.
    pub after: Option<Arc<P>>,
}

/// Which objects of the collection are followed.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A field selector, or empty.
    pub fields: String,
    /// A label selector, or empty.
    pub labels: String,
}

type Objects<P> = BTreeMap<ObjectRef, Arc<P>>;

/// A followed collection. Clones share it; the following ends when the last clone is dropped.
#[derive(Debug)]
pub struct Cache<P> {
    inner: Arc<Inner<P>>,
}

#[derive(Debug)]
struct Inner<P> {
    objects: Arc<RwLock<Objects<P>>>,
    synced: watch::Receiver<bool>,
    follower: JoinHandle<()>,
}

impl<P> Clone for Cache<P> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<P> Drop for Inner<P> {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl<P: Send + Sync + 'static> Cache<P> {
    /// Follows `api`, keeps `project` of each object, and calls `on_change` for every change, in
    /// order, after the cache shows it. `on_change` must be quick: it typically adds a key to a
    /// work queue. Must be called within a tokio runtime.
    pub fn start<K, F, C>(api: Api<K>, selection: Selection, project: F, on_change: C) -> Self
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        F: Fn(&K) -> P + Send + Sync + 'static,
        C: Fn(&Change<P>) + Send + Sync + 'static,
    {
        let objects = Arc::new(RwLock::new(Objects::new()));
        let (synced_sender, synced) = watch::channel(false);
        let follower = Follower { objects: Arc::clone(&objects), synced: synced_sender, project, on_change };
        let follower = tokio::spawn(follower.run(api, selection));
        Self { inner: Arc::new(Inner { objects, synced, follower }) }
    }

    /// Waits until the cache has held the whole collection once.
    pub async fn synced(&self) {
        let mut synced = self.inner.synced.clone();
        // The sender lives in the follower, which lives as long as `self`.
        let _ = synced.wait_for(|done| *done).await;
    }

    /// The projection of one object.
    #[must_use]
    pub fn get(&self, object: &ObjectRef) -> Option<Arc<P>> {
        self.inner.objects.read().get(object).cloned()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.objects.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All objects in the order of their keys, as they are now.
    #[must_use]
    pub fn list(&self) -> Vec<(ObjectRef, Arc<P>)> {
        self.inner.objects.read().iter().map(|(k, v)| (k.clone(), Arc::clone(v))).collect()
    }

    /// The objects of one namespace, as they are now.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<(ObjectRef, Arc<P>)> {
        let first = ObjectRef::new(namespace, "");
        let objects = self.inner.objects.read();
        objects
            .range(first..)
            .take_while(|(k, _)| k.namespace == namespace)
            .map(|(k, v)| (k.clone(), Arc::clone(v)))
            .collect()
    }
}

// === impl Follower ===

struct Follower<P, F, C> {
    objects: Arc<RwLock<Objects<P>>>,
    synced: watch::Sender<bool>,
    project: F,
    on_change: C,
}

/// How one watch ended.
enum End {
    /// It can go on at this revision.
    Resume(String),
    /// Its revision is no longer kept: everything again.
    StartOver,
}

impl<P, F, C> Follower<P, F, C> {
    async fn run<K>(self, api: Api<K>, selection: Selection)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        F: Fn(&K) -> P,
        C: Fn(&Change<P>),
    {
        let mut resume = None;
        let mut failures = 0;
        loop {
            match self.watch(&api, &selection, resume.clone()).await {
                Ok(End::Resume(revision)) if resume.as_ref() != Some(&revision) => {
                    resume = Some(revision);
                    failures = 0;
                    continue;
                }
                // One that ends where it began may do so again.
                Ok(End::Resume(_)) => {}
                Ok(End::StartOver) => {
                    resume = None;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, kind = std::any::type_name::<K>(), "a watch failed; it is tried again");
                }
            }
            tokio::time::sleep(back_off(failures)).await;
            failures += 1;
        }
    }

    /// One watch, from `resume` or from the beginning.
    async fn watch<K>(&self, api: &Api<K>, selection: &Selection, resume: Option<String>) -> kube::Result<End>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        F: Fn(&K) -> P,
        C: Fn(&Change<P>),
    {
        let initial = resume.is_none();
        let mut params = if initial { WatchParams::streaming_lists() } else { WatchParams::default() };
        params = params.fields(&selection.fields).labels(&selection.labels);
        let mut revision = resume.unwrap_or_default();
        let mut unseen: Option<BTreeSet<ObjectRef>> = initial.then(|| self.objects.read().keys().cloned().collect());
        let request = Request::new(api.resource_url()).watch(&params, &revision).map_err(kube::Error::BuildRequest)?;
        let stream = match api.clone().into_client().request_stream(request).await {
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(End::StartOver),
            other => other?,
        };
        let events = stream.lines().map_err(kube::Error::ReadEvents);
        let events = events.and_then(|line| ready(readable::event(&line).map_err(kube::Error::SerdeError)));
        let mut events = std::pin::pin!(events);
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                // Before the end of the initial list there is nothing to resume from.
                Ok(None) if unseen.is_some() => return Ok(End::StartOver),
                Ok(None) => return Ok(End::Resume(revision)),
                // A broken connection is an end like any other; a server that stays away fails the next call.
                Err(_) if unseen.is_none() => return Ok(End::Resume(revision)),
                Err(error) => return Err(error),
            };
            match event {
                WatchEvent::Added(raw) | WatchEvent::Modified(raw) => {
                    let (key, at, projection) = self.read::<K>(&raw);
                    if let Some(unseen) = &mut unseen {
                        unseen.remove(&key);
                    }
                    revision = at.unwrap_or(revision);
                    if let Some(projection) = projection {
                        self.put(key, projection);
                    }
                }
                WatchEvent::Deleted(raw) => {
                    let (key, at, _) = self.read::<K>(&raw);
                    revision = at.unwrap_or(revision);
                    self.remove(&key);
                }
                WatchEvent::Bookmark(bookmark) => {
                    revision = bookmark.metadata.resource_version;
                    if bookmark.metadata.annotations.contains_key("k8s.io/initial-events-end") {
                        unseen.take().into_iter().flatten().for_each(|gone| self.remove(&gone));
                        self.synced.send_replace(true);
                    }
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(End::StartOver),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
    }

    /// Where the object is, its revision, and its projection. Without the latter the cache keeps what it had of it.
    fn read<K>(&self, raw: &RawValue) -> (ObjectRef, Option<String>, Option<P>)
    where
        K: Resource + DeserializeOwned,
        F: Fn(&K) -> P,
    {
        match readable::read::<K>(raw) {
            Ok(object) => (ObjectRef::of(&object), object.resource_version(), Some((self.project)(&object))),
            Err(unread) => {
                let meta = unread.metadata;
                let key = ObjectRef::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
                let (kind, error) = (std::any::type_name::<K>(), unread.error);
                tracing::error!(%error, object = %key, kind, "an object cannot be read; what was known of it stays");
                (key, meta.resource_version, None)
            }
        }
    }

    fn put(&self, object: ObjectRef, projection: P)
    where
        C: Fn(&Change<P>),
    {
        let after = Arc::new(projection);
        let before = self.objects.write().insert(object.clone(), Arc::clone(&after));
        (self.on_change)(&Change { object, before, after: Some(after) });
    }

    fn remove(&self, object: &ObjectRef)
    where
        C: Fn(&Change<P>),
    {
        let before = self.objects.write().remove(object);
        if before.is_some() {
            (self.on_change)(&Change { object: object.clone(), before, after: None });
        }
    }
}

/// How long to wait after this many failures in a row: 50 ms doubling to 5 s, with a part of it left
/// to chance so that many clients of one server do not come back together.
fn back_off(failures: u32) -> Duration {
    let base = Duration::from_millis(50 << failures.min(7)).min(Duration::from_secs(5));
    base.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::{ConfigMap, Service};
    use kube::client::Body;
    use parking_lot::Mutex;

    use super::*;

    /// A server whose successive watches answer these bodies; after the last it stays silent.
    fn server(watches: &'static [&'static str]) -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let turn = {
                let mut log = log.lock();
                log.push(request.uri().query().unwrap_or_default().to_owned());
                log.len() - 1
            };
            async move {
                match watches.get(turn) {
                    Some(body) => Ok::<_, Infallible>(Response::new(Body::from(body.as_bytes().to_vec()))),
                    None => std::future::pending().await,
                }
            }
        });
        (crate::connect::in_process(service, ()), asked)
    }

    const INITIAL: &str = concat!(
        r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n","resourceVersion":"3"}}}"#,
        "\n",
        r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"n","resourceVersion":"4"}}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        "\n",
    );
    const GONE: &str =
        r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":410}}"#;
    const ONLY_B: &str = concat!(
        r#"{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"b","namespace":"n","resourceVersion":"4"}}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        "\n",
    );

    #[tokio::test]
    async fn a_watch_resumes_and_starts_over_without_losing_deletions() {
        let (client, asked) = server(&[INITIAL, GONE, ONLY_B]);
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        let cache = Cache::start(
            Api::<ConfigMap>::all(client),
            Selection::default(),
            |object| object.name_any(),
            move |change| {
                let _ = sender.send((change.object.name.clone(), change.after.is_some()));
            },
        );
        cache.synced().await;
        let mut seen = Vec::new();
        while seen.last() != Some(&("a".to_owned(), false)) {
            seen.push(changes.recv().await.expect("the follower lives"));
        }
        assert_eq!(seen[..2], [("a".to_owned(), true), ("b".to_owned(), true)]);
        assert_eq!(cache.list_namespace("n").len(), 1);
        assert_eq!(cache.get(&ObjectRef::new("n", "b")).as_deref().map(String::as_str), Some("b"));
        let asked = asked.lock();
        assert!(asked[0].contains("sendInitialEvents=true"), "{asked:?}");
        assert!(asked[1].contains("resourceVersion=5"), "{asked:?}");
    }

    const ONE_SERVICE: &str = concat!(
        r#"{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"a","namespace":"n","resourceVersion":"3"}}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Service","metadata":{"resourceVersion":"5","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        "\n",
    );
    const UNREADABLE: &str = concat!(
        r#"{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"a","namespace":"n","resourceVersion":"6"},"status":{"conditions":[{"type":"T","lastTransitionTime":null}]}}}"#,
        "\n",
        r#"{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"b","namespace":"n","resourceVersion":"7"},"spec":"no spec"}}"#,
        "\n",
        r#"{"type":"ADDED","object":{"kind":"Service","metadata":{"name":"c","namespace":"n","resourceVersion":"8"}}}"#,
        "\n",
    );

    #[tokio::test]
    async fn an_object_that_cannot_be_read_hides_no_other() {
        let (client, asked) = server(&[ONE_SERVICE, UNREADABLE]);
        let (sender, mut changes) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |change: &Change<()>| drop(sender.send(change.object.name.clone()));
        let _cache = Cache::start(Api::<Service>::all(client), Selection::default(), |_| (), tell);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "c") {
            seen.push(changes.recv().await.expect("the follower lives"));
        }
        assert_eq!(seen, ["a", "a", "c"]);
        assert!(asked.lock()[1].contains("resourceVersion=5"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_where_it_began_is_not_begun_at_once() {
        let (client, asked) = server(&[INITIAL, "", "", "", ""]);
        let cache = Cache::start(Api::<ConfigMap>::all(client), Selection::default(), |_| (), |_| ());
        cache.synced().await;
        let start = tokio::time::Instant::now();
        while asked.lock().len() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(start.elapsed() > Duration::from_millis(100), "{:?}", start.elapsed());
    }
}
