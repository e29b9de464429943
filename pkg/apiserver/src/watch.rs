// SPDX-License-Identifier: Apache-2.0
//! Watches: the commits of a collection as a client's selectors see them.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
//!
//! The bytes of an event are made by the first watcher that needs them and shared by all others of the
//! same form. A watcher is a cursor: one that does not read costs nothing, and one that falls behind
//! what is kept is told so.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::Stream;
use knarr_schema::decode::TEMPLATE_GENERATION;
use knarr_schema::protobuf::watch_frame;
use knarr_schema::table::IncludeObject;
use knarr_schema::{Kind, typed};
use knarr_store::{Commit, Record, WatchEvent, Watcher};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, Reason, Revision, Status};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::app::App;
use crate::body::Response;
use crate::metrics::{Asked, Open};
use crate::negotiate::{Answer, Encoding, Form, stream_answer};
use crate::query::Query;
use crate::read::{PATIENCE, parse_revision, read_error};
use crate::request::RequestContext;
use crate::selection::{Selection, Selectors};
use crate::{list_options, serve_object};

/// How long a watch lasts that names no time: between this and twice as long, as upstream.
const LEAST_LIFE: Duration = Duration::from_secs(1800);
/// How long a watch waits for a conversion: longer than the one who is asked may take.
const CONVERSION_PATIENCE: Duration = Duration::from_secs(60);
/// How often a client that allows bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end of a watch such a client gets its last one.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// What marks the end of the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// From where on a watch tells.
#[derive(Debug, PartialEq)]
enum Start {
    /// What comes after this revision.
    After(Revision),
    /// All objects as they are, then what comes; for those who allow bookmarks, with a mark between.
    Objects,
    /// What comes from now on.
    Now,
}

/// Answers a watch.
///
/// # Errors
/// What the query asks for may make no sense (400, 422, 500 as upstream) or not be there yet (504).
pub async fn watch(app: &Arc<App>, context: &RequestContext, kind: &Arc<Kind>) -> Result<Response, Status> {
    let answer = stream_answer(&context.accept, &context.query, kind)?;
    context.query.number("limit")?;
    let life = life(&context.query)?;
    // What cannot be read is told before what contradicts itself.
    let selectors = Selectors::parse(&context.query)?;
    list_options::check_watch(&context.query)?;
    let snapshot = app.store.snapshot(&kind.storage);
    let selection = selectors.select(context, kind, &snapshot)?;
    let (start, at_least) = start(&context.query)?;
    if let Some(revision) = at_least {
        app.store.not_older_than(&kind.storage, revision, PATIENCE).await.map_err(|e| read_error(&e))?;
    }
    let bookmarks = context.query.is_true("allowWatchBookmarks");
    let mut first = Vec::new();
    let from = match start {
        Start::After(revision) => revision,
        Start::Now => app.store.snapshot(&kind.storage).revision(),
        Start::Objects => {
            let snapshot = app.store.snapshot(&kind.storage);
            let mut frames = Frames { kind, answer, columns: true };
            if converts(kind) {
                let all = snapshot.list(&selection.scope, None).cloned().collect();
                let all = app.in_version(kind, all, context.deadline).await?;
                let selected = all.iter().filter(|r| selection.contains(r));
                first.extend(selected.map(|record| frames.make("ADDED", record)));
            } else {
                let selected = snapshot.list(&selection.scope, None).filter(|r| selection.contains(r));
                first.extend(selected.map(|record| frames.make("ADDED", record)));
            }
            if bookmarks {
                first.push(bookmark(kind, answer, snapshot.revision(), true, first.is_empty()));
            }
            snapshot.revision()
        }
    };
    let watcher = Some(app.store.watch(&kind.storage, from, selection.scope.clone()));
    let mut kinds = app.kinds_changed.subscribe();
    kinds.mark_unchanged();
    let end = Instant::now() + life;
    let follower = Follower {
        app: kind.custom.is_some().then(|| Arc::clone(app)),
        kinds,
        kind: Arc::clone(kind),
        answer,
        selection,
        watcher,
        columns: first.is_empty(),
        end,
        timer: Box::pin(sleep_until(if bookmarks { next_bookmark(Instant::now(), end) } else { end })),
        open: app.metrics.series(&Asked::of(&context.info, &context.query, false)).open(),
    };
    follower.open.sent(first.len() as u64);
    Ok(respond(answer, follower.stream(first)))
}

fn respond(answer: Answer, stream: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures::StreamExt as _;
    // No event is metadata of a list: upstream ends at the first that it would have to tell so.
    let of_list = matches!(answer.form, Form::Metadata { list: true, .. });
    let stream = stream.take_while(move |_| std::future::ready(!of_list));
    let body = Body::from_stream(stream.map(Ok::<_, std::convert::Infallible>));
    let mut response = http::Response::new(body);
    let media = http::HeaderValue::from_static(answer.encoding.stream_type());
    response.headers_mut().insert(http::header::CONTENT_TYPE, media);
    response
}

/// When the next bookmark is due, or the end: one comes shortly before, from which the client can go on.
fn next_bookmark(now: Instant, end: Instant) -> Instant {
    let last = end.checked_sub(LAST_BOOKMARK).filter(|last| *last > now);
    last.unwrap_or(end).min(now + BOOKMARK_EVERY)
}

fn life(query: &Query) -> Result<Duration, Status> {
    let seconds = query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
    Ok(seconds.map_or_else(|| LEAST_LIFE.mul_f64(1.0 + fastrand::f64()), Duration::from_secs))
}

/// Where to start, and which state must be reached before.
fn start(query: &Query) -> Result<(Start, Option<Revision>), Status> {
    let revision = query
        .filled("resourceVersion")
        .map(|text| parse_revision(text).map_err(|why| Status::new(500, Reason::Unknown, why)))
        .transpose()?;
    let anywhere = revision.is_none_or(|r| r == Revision::ZERO);
    Ok(match query.get("sendInitialEvents") {
        Some(_) if query.is_true("sendInitialEvents") => (Start::Objects, revision),
        None if anywhere => (Start::Objects, None),
        Some(_) if anywhere => (Start::Now, None),
        // One from a revision that is still to come says nothing until then.
        _ => (Start::After(revision.unwrap_or_default()), None),
    })
}

/// A watch while it lasts.
struct Follower {
    /// For custom kinds, whose watches end when the definition changes: clients list again and see objects
    /// as they are now.
    app: Option<Arc<App>>,
    kinds: tokio::sync::watch::Receiver<u64>,
    kind: Arc<Kind>,
    answer: Answer,
    selection: Selection,
    watcher: Option<Watcher>,
    columns: bool,
    end: Instant,
    /// Goes off at the next bookmark, or at the end. One for all events: to set it anew for each would cost more
    /// than to find the event.
    timer: Pin<Box<Sleep>>,
    /// Counts the watch and its events.
    open: Open,
}

impl Follower {
    fn stream(self, first: Vec<Bytes>) -> impl Stream<Item = Bytes> + Send {
        use futures::StreamExt as _;
        let later = futures::stream::unfold(self, |mut follower| async move {
            let bytes = follower.next().await?;
            Some((bytes, follower))
        });
        futures::stream::iter(first).chain(later)
    }

    /// The next bytes, or `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let watcher = self.watcher.as_mut()?;
            let event = tokio::select! {
                biased;
                () = self.timer.as_mut() => {
                    let now = Instant::now();
                    if now >= self.end {
                        return None;
                    }
                    self.timer.as_mut().reset(next_bookmark(now, self.end));
                    match watcher.bookmark() {
                        Some(revision) => {
                            let columns = std::mem::take(&mut self.columns);
                            return Some(bookmark(&self.kind, self.answer, revision, false, columns));
                        }
                        None => continue,
                    }
                }
                Ok(()) = self.kinds.changed(), if self.app.is_some() => {
                    if self.app.as_ref().is_some_and(|app| is_outdated(app, &self.kind)) {
                        return None;
                    }
                    continue;
                }
                event = watcher.next() => event,
            };
            match event {
                WatchEvent::Commits(commits) => {
                    let frames = match self.frames(&commits).await {
                        Ok(frames) => frames,
                        Err(status) => {
                            self.watcher = None;
                            return Some(event_document("ERROR", &status.to_json(), self.answer.encoding));
                        }
                    };
                    self.open.sent(frames.len() as u64);
                    match frames.as_slice() {
                        [] => {}
                        [one] => return Some(one.clone()),
                        many => return Some(many.concat().into()),
                    }
                }
                WatchEvent::Expired => {
                    self.watcher = None;
                    let status = Status::expired("The resourceVersion for the provided watch is too old.");
                    return Some(event_document("ERROR", &status.to_json(), self.answer.encoding));
                }
                WatchEvent::Closed => return None,
            }
        }
    }

    /// The events that commits are for these selectors.
    async fn frames(&mut self, commits: &[Arc<Commit>]) -> Result<Vec<Bytes>, Status> {
        let converting = self.app.clone().filter(|_| converts(&self.kind));
        let Some(app) = converting else {
            return Ok(commits.iter().filter_map(|commit| self.frame(commit, &States::of(commit))).collect());
        };
        // The state before counts only where there is none after, or where selectors compare the two.
        let compared = !self.selection.is_plain();
        let before = |commit: &Commit| commit.before.clone().filter(|_| compared || commit.after.is_none());
        let states = commits.iter().flat_map(|commit| [before(commit), commit.after.clone()]).flatten().collect();
        let deadline = std::time::Instant::now() + CONVERSION_PATIENCE;
        let made = app.in_version(&self.kind, states, deadline).await.map_err(|mut status| {
            status.reason = Reason::InternalError;
            status
        })?;
        let mut made = made.into_iter();
        let mut frames = Vec::new();
        for commit in commits {
            let known = commit.before.is_some();
            let before = before(commit).and_then(|_| made.next());
            let after = commit.after.as_ref().and_then(|_| made.next());
            let deleted = before.as_ref().filter(|_| after.is_none()).map(|b| b.with_revision(commit.revision));
            let (before, after, deleted) = (before.as_deref(), after.as_deref(), deleted.as_ref());
            frames.extend(self.frame(commit, &States { known, before, after, deleted }));
        }
        Ok(frames)
    }

    /// The event that a commit is for these selectors, if it is any.
    fn frame(&mut self, commit: &Commit, states: &States<'_>) -> Option<Bytes> {
        let was = match states.before {
            Some(before) => self.selection.contains(before),
            // Everything is selected, and was.
            None => states.known,
        };
        let is = states.after.is_some_and(|r| self.selection.contains(r));
        let (number, event) = match (was, is) {
            (false, true) => (0, "ADDED"),
            (true, true) => (1, "MODIFIED"),
            (true, false) => (2, "DELETED"),
            (false, false) => return None,
        };
        let columns = std::mem::take(&mut self.columns);
        let mut frames = Frames { kind: &self.kind, answer: self.answer, columns };
        let make = |frames: &mut Frames<'_>| match (states.after, is) {
            (Some(after), true) => frames.make(event, after),
            // It left the selection: the state before, at the revision of the change.
            _ => match (states.deleted, states.before) {
                (Some(last), _) => frames.make(event, last),
                (None, Some(before)) => frames.make(event, &before.with_revision(commit.revision)),
                (None, None) => Bytes::new(),
            },
        };
        // The first table of a watch carries the columns: it is not everybody's.
        if columns && matches!(self.answer.form, Form::Table { .. }) {
            return Some(make(&mut frames));
        }
        Some(commit.frame(self.form(number), || make(&mut frames)))
    }

    /// A number for the bytes of an event in this watch's form.
    fn form(&self, event: u64) -> u64 {
        let protobuf = u64::from(self.answer.encoding == Encoding::Protobuf);
        let converted = u64::from(serve_object::is_rewritten(&self.kind));
        let version = self.kind.custom.as_ref().map_or(0, |custom| custom.number());
        event | (self.answer.form.number() << 2) | (protobuf << 8) | (converted << 9) | (version << 10)
    }
}

/// An object before and after a commit, as a watch sees it.
struct States<'a> {
    /// There was a state before, be it given or not.
    known: bool,
    before: Option<&'a Record>,
    after: Option<&'a Record>,
    /// Where there is none after: the one before, at the revision of the change.
    deleted: Option<&'a Record>,
}

impl<'a> States<'a> {
    fn of(commit: &'a Commit) -> Self {
        let (before, after) = (commit.before.as_deref(), commit.after.as_deref());
        Self { known: before.is_some(), before, after, deleted: commit.deleted.as_deref() }
    }
}

/// A webhook converts the objects of a kind.
fn converts(kind: &Kind) -> bool {
    kind.custom.as_ref().is_some_and(|custom| custom.webhook().is_some())
}

/// The kind is no longer served as it was.
fn is_outdated(app: &App, kind: &Arc<Kind>) -> bool {
    let registry = app.registry.load();
    registry.by_resource(&kind.group, &kind.version, &kind.resource).is_none_or(|now| !Arc::ptr_eq(now, kind))
}

/// Makes the bytes of events.
struct Frames<'a> {
    kind: &'a Kind,
    answer: Answer,
    columns: bool,
}

impl Frames<'_> {
    fn make(&mut self, event: &str, record: &Record) -> Bytes {
        if self.answer == Answer::default() {
            let object = serve_object::object_json(self.kind, record);
            let mut out = BytesMut::with_capacity(object.len() + 40);
            out.put_slice(format!(r#"{{"type":"{event}","object":"#).as_bytes());
            out.put_slice(&object);
            out.put_slice(b"}\n");
            return out.freeze();
        }
        if self.answer.form == Form::Object && self.answer.encoding == Encoding::Protobuf {
            return watch_frame(event, &serve_object::encode_one(self.kind, record, self.answer)).into();
        }
        let columns = std::mem::take(&mut self.columns);
        let object = serve_object::formed(self.kind, &serve_object::tree(self.kind, record), self.answer.form, columns);
        event_document(event, &object, self.answer.encoding)
    }
}

fn event_document(event: &str, object: &Value, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Protobuf => watch_frame(event, &serve_object::in_encoding(object, encoding)).into(),
        Encoding::Json | Encoding::Yaml => format!("{}\n", json!({"type": event, "object": object})).into(),
    }
}

/// An event that only says how far the watch has come: an object in which nothing is set but that; `columns` where it
/// is the first event of a table.
fn bookmark(kind: &Kind, answer: Answer, revision: Revision, initial_end: bool, columns: bool) -> Bytes {
    let mut object = nothing_of(kind);
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    let mut form = answer.form;
    if initial_end {
        object["metadata"]["annotations"][INITIAL_EVENTS_END] = "true".into();
        // The mark is told also to those who want no objects beside their rows.
        if let Form::Table { include: include @ IncludeObject::None, .. } = &mut form {
            *include = IncludeObject::Metadata;
        }
    }
    event_document("BOOKMARK", &serve_object::formed(kind, &object, form, columns), answer.encoding)
}

/// An object of the kind as upstream's struct is before anybody set anything.
fn nothing_of(kind: &Kind) -> Object {
    let mut object = if kind.custom.is_some() { json!({}) } else { typed::empty(kind.ty.get()) };
    object["kind"] = (*kind.kind).into();
    object["apiVersion"] = kind.api_version().into();
    // Upstream's own form of these has no replicas that are not set.
    if &*kind.group == "apps" && matches!(&*kind.kind, "Deployment" | "ReplicaSet" | "StatefulSet") {
        object["spec"]["replicas"] = 0.into();
    }
    object["metadata"] = json!({});
    // Nor can it leave out how often the template of these changed, for which v1 has an annotation.
    if &*kind.group == "apps" && &*kind.kind == "DaemonSet" && kind.custom.is_none() {
        object["metadata"]["annotations"] = json!({TEMPLATE_GENERATION: "0"});
    }
    object
}

#[cfg(test)]
mod tests {
    use knarr_schema::Registry;

    use super::*;

    fn told(group: &str, kind: &str, form: Form, initial_end: bool) -> Value {
        let registry = Registry::builtin();
        let kind = registry.by_kind(group, "v1", kind).unwrap();
        let answer = Answer { form, encoding: Encoding::Json };
        let event: Value = serde_json::from_slice(&bookmark(kind, answer, Revision(7), initial_end, true)).unwrap();
        assert_eq!(event["type"], "BOOKMARK");
        event["object"].clone()
    }

    #[test]
    fn a_bookmark_has_the_annotations_that_stand_for_fields() {
        let annotations = |form| told("apps", "DaemonSet", form, false)["metadata"]["annotations"].clone();
        assert_eq!(annotations(Form::Object), json!({TEMPLATE_GENERATION: "0"}));
        assert_eq!(annotations(Form::Metadata { list: false, beta: false }), Value::Null);
    }

    #[test]
    fn the_last_bookmark_comes_shortly_before_the_end() {
        let now = Instant::now();
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        for (end, want) in [(1, 1), (2, 2), (10, 8), (61, 59), (600, 60)] {
            assert_eq!(next_bookmark(now, after(end)), after(want), "{end}");
        }
    }

    #[test]
    fn a_watch_begins_with_the_objects_unless_it_says_from_where_on() {
        let start = |query: &str| start(&Query::parse(query)).unwrap();
        for (query, want) in [
            ("", (Start::Objects, None)),
            ("resourceVersion=0", (Start::Objects, None)),
            ("resourceVersion=5", (Start::After(Revision(5)), None)),
            ("sendInitialEvents=true&resourceVersion=5", (Start::Objects, Some(Revision(5)))),
            ("sendInitialEvents=false&resourceVersion=5", (Start::After(Revision(5)), None)),
            ("sendInitialEvents=false&resourceVersion=0", (Start::Now, None)),
            ("sendInitialEvents=false", (Start::Now, None)),
        ] {
            assert_eq!(start(query), want, "{query}");
        }
    }

    #[tokio::test]
    async fn no_event_is_metadata_of_a_list() {
        let told = async |list: bool| {
            let answer = Answer { form: Form::Metadata { beta: false, list }, encoding: Encoding::Json };
            let events = futures::stream::iter(["one", "two"].map(Bytes::from));
            axum::body::to_bytes(respond(answer, events).into_body(), 100).await.unwrap()
        };
        assert_eq!((told(false).await, told(true).await), ("onetwo".into(), "".into()));
    }

    #[test]
    fn a_bookmark_is_an_object_in_which_nothing_is_set() {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "7"},
            "spec": {"containers": null}, "status": {}});
        assert_eq!(told("", "Pod", Form::Object, false), pod);
        assert_eq!(told("apps", "Deployment", Form::Object, false)["spec"]["replicas"], 0);
        let marked = told("", "ConfigMap", Form::Object, true);
        assert_eq!(marked["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    }

    #[test]
    fn a_bookmark_of_a_table_is_a_row() {
        let table = told("", "ConfigMap", Form::Table { include: IncludeObject::None, beta: false }, false);
        assert!(table["columnDefinitions"].is_array());
        assert_eq!(table["rows"][0]["cells"], json!(["", 0, "<unknown>"]));
        assert_eq!(table["rows"][0]["object"], Value::Null);
        let marked = told("", "ConfigMap", Form::Table { include: IncludeObject::None, beta: false }, true);
        assert_eq!(marked["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    }
}
