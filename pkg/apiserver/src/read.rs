// SPDX-License-Identifier: Apache-2.0
//! Get and list: bytes of the store, in the state that the client asked for.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use knarr_schema::patch::json_kind;
use knarr_schema::{Kind, table};
use knarr_store::{ReadError, Record, Scope, Snapshot};
use knarr_types::tree::{Value, json};
use knarr_types::{Cause, Key, Reason, Revision, Status, StatusDetails};

use crate::app::App;
use crate::body::{self, Response};
use crate::negotiate::{Answer, Encoding, Form, answer, answer_below, fits};
use crate::query::Query;
use crate::request::RequestContext;
use crate::selection::{Selection, Selectors};
use crate::{list_body, list_options, serve_object};

/// How long a read waits for a state that is not there yet.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Answers a get.
///
/// # Errors
/// 404 where it is not there; what a resourceVersion asks for may not be possible.
pub async fn get(app: &App, context: &RequestContext, kind: &Arc<Kind>) -> Result<Response, Status> {
    let answer = answer_below(&context.accept, &context.query, kind, &context.info.subresource)?;
    if context.query.get("export").is_some() && context.query.is_true("export") && context.info.subresource.is_empty() {
        return Err(Status::bad_request("the export parameter, deprecated since v1.14, is no longer supported"));
    }
    if let Some(text) = context.query.filled("resourceVersion") {
        let revision = parse_revision(text).map_err(|why| Status::new(500, Reason::Unknown, why))?;
        app.store.not_older_than(&kind.storage, revision, PATIENCE).await.map_err(|e| read_error(&e))?;
    }
    let key = Key::new(kind.storage.clone(), &namespace_of(kind, context), &context.info.name);
    let record = app.store.get(&key).ok_or_else(|| Status::not_found(&kind.id(), &context.info.name))?;
    let record = app.one_in_version(kind, record, context.deadline).await?;
    fits(answer, kind, false)?;
    Ok(body::bytes(200, answer.encoding.media_type(), serve_object::encode_one(kind, &record, answer)))
}

/// The namespace in which an object of `kind` lies: none for those of the cluster, whatever a path says.
#[must_use]
pub fn namespace_of(kind: &Kind, context: &RequestContext) -> String {
    if kind.namespaced { context.info.namespace.clone() } else { String::new() }
}

/// Answers a list.
///
/// # Errors
/// What the query asks for may make no sense (400, 422), be gone (410) or not be there yet (504).
pub async fn list(app: &App, context: &RequestContext, kind: &Arc<Kind>) -> Result<Response, Status> {
    let answer = answer(&context.accept, &context.query, kind)?;
    let (page, selection) = asked(app, context, kind)?;
    let snapshot = snapshot(app, kind, &page).await.map_err(|status| of_one(&page, &selection, status))?;
    let chosen = page.choose(app, context, kind, &snapshot, &selection).await?;
    fits(answer, kind, true)?;
    let mut meta = chosen.meta(&snapshot, &selection, &page);
    if kind.custom.is_some() && answer.form == Form::Object && meta.get("continue").is_none() {
        meta["continue"] = "".into();
    }
    Ok(respond(kind, chosen.records, &meta, answer).await)
}

/// What a list is to be of, judged in upstream's order: the options by themselves, the selectors, and last what
/// only the store can read: tokens and revisions.
///
/// # Errors
/// 400 and 422 where the query makes no sense.
pub(crate) fn asked(app: &App, context: &RequestContext, kind: &Kind) -> Result<(Page, Selection), Status> {
    let query = &context.query;
    // Lists do without the first, but it must make sense.
    query.number("timeoutSeconds")?;
    query.number("limit")?;
    let selectors = Selectors::parse(query)?;
    list_options::check_list(query)?;
    let selection = selectors.select(context, kind, &app.store.snapshot(&kind.storage))?;
    Ok((Page::of(query, kind, &namespace_of(kind, context), context.info.verb == "deletecollection")?, selection))
}

/// The exact state of one object is asked of the store itself, which does not know when to try again.
fn of_one(page: &Page, selection: &Selection, status: Status) -> Status {
    let exact = matches!(page.state, State::Exact(_)) && matches!(selection.scope, Scope::Object { .. });
    match status.details.clone() {
        Some(details) if exact && status.code == 504 => {
            status.with_details(StatusDetails { retry_after_seconds: 0, ..*details })
        }
        _ => status,
    }
}

/// The records of one page.
pub(crate) struct Chosen {
    /// Them, as the request's version has them.
    pub records: Vec<Arc<Record>>,
    /// There is another page.
    more: bool,
    /// How many are on the other pages, where nothing is left out by selectors.
    rest: usize,
}

/// What a page begins with.
#[derive(Clone, Debug, Default, PartialEq)]
struct Start {
    /// As tokens have it.
    key: String,
    namespace: String,
    name: String,
}

impl Start {
    /// From what a token says of a list of all there is in `namespace`, or everywhere if that is empty; behind an object
    /// is its key with a zero byte at the end. `None` where the key leads out of its list.
    fn of(key: &str, kind: &Kind, namespace: &str) -> Option<Self> {
        let path = key.strip_prefix('/').unwrap_or(key);
        if path.split('/').any(|step| matches!(step, "" | "." | "..")) {
            return None;
        }
        let (namespace, name) = match path.split_once('/') {
            _ if !namespace.is_empty() || !kind.namespaced => (namespace, path),
            Some(place) => place,
            None => (path.trim_end_matches('\0'), ""),
        };
        Some(Self { key: path.into(), namespace: namespace.into(), name: name.into() })
    }

    /// Behind an object, in a list of that namespace or of everywhere.
    fn behind(key: &Key, namespace: &str) -> String {
        let Key { namespace: own, name, .. } = key;
        if **own == *namespace { format!("{name}\0") } else { format!("{own}/{name}\0") }
    }
}

impl Chosen {
    fn of<'a>(all: impl Iterator<Item = &'a Arc<Record>>, selection: &Selection, limit: Option<usize>) -> Self {
        let Some(limit) = limit else {
            let selected = all.filter(|record| selection.contains(record));
            return Self { records: selected.cloned().collect(), more: false, rest: 0 };
        };
        // Upstream does not look ahead for one that is selected: what is left of the collection may be another page.
        let mut all = all;
        let records: Vec<_> = all.by_ref().filter(|record| selection.contains(record)).take(limit).cloned().collect();
        let more = records.len() == limit && all.next().is_some();
        let rest = if more && selection.is_plain() { 1 + all.count() } else { 0 };
        Self { records, more, rest }
    }

    /// The metadata of the page.
    pub(crate) fn meta(&self, snapshot: &Snapshot, selection: &Selection, page: &Page) -> Value {
        let mut meta = json!({"resourceVersion": snapshot.revision().to_string()});
        if let Some(last) = self.records.last().filter(|_| self.more) {
            meta["continue"] = continue_token(snapshot.revision(), &Start::behind(&last.key, &page.namespace)).into();
            if selection.is_plain() {
                meta["remainingItemCount"] = self.rest.into();
            }
        }
        meta
    }
}

/// Records as a list in the form that a client asked for.
pub(crate) async fn respond(kind: &Kind, records: Vec<Arc<Record>>, meta: &Value, answer: Answer) -> Response {
    match (answer.form, answer.encoding, kind.message()) {
        (Form::Object, Encoding::Json, _) => return list_body::json(kind, records, meta),
        (Form::Object, Encoding::Protobuf, Some(message)) => {
            return list_body::protobuf(kind, message, records, meta).await;
        }
        _ => {}
    }
    let trees: Vec<_> = records.iter().map(|r| serve_object::tree(kind, r)).collect();
    let document = match answer.form {
        Form::Table { include, beta } => {
            let mut table = table::table(kind, meta.clone(), &trees, include, Timestamp::now());
            if beta {
                table::as_v1beta1(&mut table);
            }
            table
        }
        Form::Metadata { beta, .. } => {
            let version = if beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" };
            let item = |tree: &Value| serve_object::formed(kind, tree, answer.form, false);
            let items: Vec<_> = trees.iter().map(item).collect();
            let items = if items.is_empty() { Value::Null } else { items.into() };
            json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": meta, "items": items})
        }
        Form::Object => {
            let bare = |mut tree: Value| {
                if kind.custom.is_none() {
                    tree.as_object_mut().map(|t| (t.remove("apiVersion"), t.remove("kind")));
                }
                tree
            };
            let items: Vec<_> = trees.into_iter().map(bare).collect();
            json!({"kind": &*kind.list_kind, "apiVersion": kind.api_version(), "metadata": meta, "items": items})
        }
    };
    body::bytes(200, answer.encoding.media_type(), serve_object::in_encoding(&document, answer.encoding))
}

/// What of the collection, in which state.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Of what it is, if not of everywhere.
    namespace: String,
    limit: Option<usize>,
    /// Where it begins that is not the first.
    start: Option<Start>,
    state: State,
}

/// Which state of the collection.
#[derive(Debug, Default, PartialEq)]
enum State {
    /// The newest.
    #[default]
    Newest,
    /// One at least as new.
    NotOlderThan(Revision),
    /// Exactly that one.
    Exact(Revision),
    /// That of the pages before.
    Continued(Revision),
}

impl Page {
    /// Reads the query of a list of `kind` in a namespace or everywhere; `in_pages` where upstream itself goes from page to page, whatever the client
    /// asks for.
    ///
    /// # Errors
    /// Where it makes no sense.
    fn of(query: &Query, kind: &Kind, namespace: &str, in_pages: bool) -> Result<Self, Status> {
        let page = |limit, start, state| Self { namespace: namespace.to_owned(), limit, start, state };
        let limit = query.number("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        // Any state will do: upstream answers from its cache, which knows no pages. Of events it keeps none.
        let cached = query.get("resourceVersion") == Some("0") && &*kind.kind != "Event";
        let limit = limit.filter(|_| !cached);
        if let Some(token) = query.filled("continue") {
            let Token { state, start, issued } = Token::read(token, kind, namespace)?;
            if query.filled("resourceVersion").is_some_and(|v| v != "0") {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            if issued.is_some_and(|issued| Timestamp::now().duration_since(issued) > PAGES_LAST) {
                return Err(expired_continue(Some(&start)));
            }
            return Ok(page(limit, Some(start), state));
        }
        let state = match query.filled("resourceVersion") {
            None => State::Newest,
            Some(text) => {
                let revision = parse_revision(text)
                    .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))?;
                match query.filled("resourceVersionMatch") {
                    Some("Exact") => State::Exact(revision),
                    // A page of an exact state, as clients from before resourceVersionMatch mean it.
                    None if (limit.is_some() || in_pages) && revision != Revision::ZERO => State::Exact(revision),
                    _ => State::NotOlderThan(revision),
                }
            }
        };
        Ok(page(limit, None, state))
    }

    /// What of that state is on the page.
    ///
    /// # Errors
    /// Where a webhook that must convert it does not.
    pub(crate) async fn choose(
        &self,
        app: &App,
        context: &RequestContext,
        kind: &Arc<Kind>,
        snapshot: &Snapshot,
        selection: &Selection,
    ) -> Result<Chosen, Status> {
        let from = self.start.as_ref().map(|start| (start.namespace.as_str(), start.name.as_str()));
        if kind.custom.as_ref().is_none_or(|custom| custom.webhook().is_none()) {
            return Ok(Chosen::of(snapshot.list(&selection.scope, from), selection, self.limit));
        }
        if selection.is_plain() {
            let chosen = Chosen::of(snapshot.list(&selection.scope, from), selection, self.limit);
            let records = app.in_version(kind, chosen.records, context.deadline).await?;
            return Ok(Chosen { records, ..chosen });
        }
        // Selectors look at what clients see.
        let all = snapshot.list(&selection.scope, from).cloned().collect();
        let all = app.in_version(kind, all, context.deadline).await?;
        Ok(Chosen::of(all.iter(), selection, self.limit))
    }
}

/// The state of the collection that a page is of.
///
/// # Errors
/// It is gone, or not there yet.
pub(crate) async fn snapshot(app: &App, kind: &Kind, page: &Page) -> Result<Snapshot, Status> {
    let resource = &kind.storage;
    match page.state {
        State::Newest => Ok(app.store.snapshot(resource)),
        State::NotOlderThan(revision) => {
            app.store.not_older_than(resource, revision, PATIENCE).await.map_err(|e| read_error(&e))?;
            Ok(app.store.snapshot(resource))
        }
        State::Exact(revision) => {
            app.store.not_older_than(resource, revision, PATIENCE).await.map_err(|e| read_error(&e))?;
            app.store.snapshot_at(resource, revision).map_err(|e| match e {
                ReadError::Compacted { .. } => too_old(revision),
                other => read_error(&other),
            })
        }
        State::Continued(revision) => app.store.snapshot_at(resource, revision).map_err(|e| match e {
            ReadError::Compacted { .. } => expired_continue(page.start.as_ref()),
            other => read_error(&other),
        }),
    }
}

fn too_old(revision: Revision) -> Status {
    Status::expired(format!("The resourceVersion for the provided list is too old: {revision}"))
}

/// The state of the earlier pages is gone: the client may start over, or go on with the rest as it is now.
fn expired_continue(start: Option<&Start>) -> Status {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    let mut status = Status::expired(message);
    status.continue_token = start.map(|start| token(INCONSISTENT, &start.key, None));
    status
}

/// A read that the store refused.
#[must_use]
pub fn read_error(error: &ReadError) -> Status {
    match error {
        ReadError::TooLarge { .. } => {
            let cause = Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            };
            let details = StatusDetails { causes: vec![cause], retry_after_seconds: 1, ..StatusDetails::default() };
            Status::timeout(format!("Timeout: {error}"), 1).with_details(details)
        }
        ReadError::Compacted { requested, oldest } => {
            Status::expired(format!("too old resource version: {requested} ({oldest})"))
        }
        other => Status::internal(other),
    }
}

/// A resourceVersion; the text is upstream's where it is none.
///
/// # Errors
/// Says what it is instead.
pub fn parse_revision(text: &str) -> Result<Revision, String> {
    text.parse().map_err(|_| {
        format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
    })
}

fn continue_token(revision: Revision, start: &str) -> String {
    token(i64::try_from(revision.0).unwrap_or(i64::MAX), start, Some(Timestamp::now()))
}

/// In place of a revision: go on with what is there now.
const INCONSISTENT: i64 = -1;

/// How long a client may take from page to page: as with upstream, whose history is that short, it learns then that
/// time has passed.
const PAGES_LAST: SignedDuration = SignedDuration::from_mins(5);

fn token(revision: i64, start: &str, issued: Option<Timestamp>) -> String {
    let mut document = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    if let Some(issued) = issued {
        document["issued"] = issued.as_second().into();
    }
    URL_SAFE_NO_PAD.encode(document.to_string())
}

/// What a continue token says.
#[derive(Debug, PartialEq)]
struct Token {
    state: State,
    start: Start,
    /// When the page before ended; tokens that upstream made do not say.
    issued: Option<Timestamp>,
}

impl Token {
    /// Reads a token of a list of `kind` in a namespace or everywhere.
    fn read(token: &str, kind: &Kind, namespace: &str) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| bad(&base64_fault(token, &error)))?;
        let document = knarr_schema::decode::decode_any(&bytes).map_err(|error| bad(&error.to_string()))?;
        let said = Said::of(&document).map_err(|why| bad(&knarr_schema::decode::as_written(&why, &bytes)))?;
        let version = said.version;
        if version != "meta.k8s.io/v1" {
            return Err(bad(&format!("server does not recognize this encoded version {version}")));
        }
        let state = match said.revision {
            0 => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            revision => u64::try_from(revision).map_or(State::Newest, |revision| State::Continued(Revision(revision))),
        };
        if said.start.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)"));
        }
        let start = Start::of(said.start, kind, namespace).ok_or_else(|| bad(said.start))?;
        let issued = document["issued"].as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
        Ok(Self { state, start, issued })
    }
}

/// The fields of a token, found without regard to the case of letters; the last of a name counts.
#[derive(Default)]
struct Said<'v> {
    version: &'v str,
    revision: i64,
    start: &'v str,
}

impl<'v> Said<'v> {
    /// From the content of a token.
    ///
    /// # Errors
    /// What keeps it from being one, in the words of upstream's decoder.
    fn of(document: &'v Value) -> Result<Self, String> {
        let fault = |value: &Value, of: &str| format!("json: cannot unmarshal {} into Go {of}", json_kind(value));
        let mut said = Self::default();
        let members = match document {
            Value::Object(members) => members,
            Value::Null => return Ok(said),
            other => return Err(fault(other, "value of type storage.continueToken")),
        };
        let mut wrong = None;
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            let (field, read) = match name.to_ascii_lowercase().as_str() {
                "v" => ("v of type string", value.as_str().map(|text| said.version = text)),
                "start" => ("start of type string", value.as_str().map(|text| said.start = text)),
                "rv" => ("rv of type int64", value.as_i64().map(|number| said.revision = number)),
                _ => continue,
            };
            if read.is_none() && wrong.is_none() {
                // Of numbers that are none of the type it says which.
                let number = field.starts_with("rv") && value.is_number();
                let kind = if number { format!("number {value}") } else { json_kind(value).to_owned() };
                wrong = Some(format!("json: cannot unmarshal {kind} into Go struct field continueToken.{field}"));
            }
        }
        wrong.map_or(Ok(said), Err)
    }
}

/// In the words of upstream's decoder, which counts from the end of the last whole group.
fn base64_fault(token: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) => *at,
        base64::DecodeError::InvalidLastSymbol { offset, .. } => *offset,
        base64::DecodeError::InvalidLength(length) => length - length % 4,
        base64::DecodeError::InvalidPadding => token.find('=').unwrap_or_default(),
    };
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continue_tokens_round_trip_or_are_refused() {
        let registry = knarr_schema::Registry::builtin();
        let pods = registry.by_kind("", "v1", "Pod").unwrap();
        let issued = Timestamp::from_second(1_000_000_000).ok();
        for (revision, state) in [(7, State::Continued(Revision(7))), (INCONSISTENT, State::Newest)] {
            let read = Token::read(&token(revision, "n/a\0", issued), pods, "").unwrap();
            assert_eq!(read, Token { state, start: Start::of("n/a\0", pods, "").unwrap(), issued });
        }
        for bad in ["x", "e30", "!!"] {
            assert_eq!(Token::read(bad, pods, "").unwrap_err().code, 400, "{bad}");
        }
        let padded = Token::read("YQ==", pods, "").unwrap_err();
        assert!(padded.message.ends_with("illegal base64 data at input byte 2"), "{padded}");
    }

    #[test]
    fn pages_begin_where_their_tokens_say() {
        let registry = knarr_schema::Registry::builtin();
        let (pods, nodes) = (registry.by_kind("", "v1", "Pod").unwrap(), registry.by_kind("", "v1", "Node").unwrap());
        for (kind, namespace, key, want) in [
            (pods, "", "n/a\0", Some(("n", "a\0"))),
            (pods, "", "/n/a", Some(("n", "a"))),
            (pods, "", "n\0", Some(("n", ""))),
            (pods, "n", "a\0", Some(("n", "a\0"))),
            (pods, "n", "m/a\0", Some(("n", "m/a\0"))),
            (nodes, "", "/a\0", Some(("", "a\0"))),
            (pods, "n", "//a", None),
            (pods, "n", "a/", None),
            (pods, "n", "../m/a", None),
        ] {
            let start = Start::of(key, kind, namespace);
            let place = start.as_ref().map(|start| (start.namespace.as_str(), start.name.as_str()));
            assert_eq!(place, want, "{namespace:?} {key:?}");
        }
        let key = |namespace: &str| Key::new(pods.storage.clone(), namespace, "a");
        for (of, namespace, want) in [("n", "n", "a\0"), ("n", "", "n/a\0"), ("", "", "a\0")] {
            assert_eq!(Start::behind(&key(of), namespace), want);
        }
    }

    #[test]
    fn a_continue_token_that_says_something_else_is_refused_in_upstreams_words() {
        let registry = knarr_schema::Registry::builtin();
        let pods = registry.by_kind("", "v1", "Pod").unwrap();
        let v1 = r#""v":"meta.k8s.io/v1""#;
        for (document, why) in [
            ("{}".to_owned(), "server does not recognize this encoded version "),
            ("[]".to_owned(), "json: cannot unmarshal array into Go value of type storage.continueToken"),
            (
                r#"{"v":5}"#.to_owned(),
                "json: cannot unmarshal number into Go struct field continueToken.v of type string",
            ),
            (r#"{"v":"x"}"#.to_owned(), "server does not recognize this encoded version x"),
            (format!("{{{v1}}}"), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)"),
            (
                format!(r#"{{{v1},"rv":1.5}}"#),
                "json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64",
            ),
            (format!(r#"{{{v1},"rv":1,"start":""}}"#), "encoded start key empty (version meta.k8s.io/v1)"),
            (
                format!(r#"{{{v1},"RV":1e3}}"#),
                "json: cannot unmarshal number 1e3 into Go struct field continueToken.rv of type int64",
            ),
            (
                r#"{"V":"meta.k8s.io/v1","RV":1,"Start":""}"#.to_owned(),
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (format!(r#"{{{v1},"rv":1,"start":"a/../b"}}"#), "a/../b"),
        ] {
            let told = Token::read(&URL_SAFE_NO_PAD.encode(&document), pods, "").unwrap_err();
            let want = format!("invalid continue token: continue key is not valid: {why}");
            assert_eq!((told.code, told.message), (400, want), "{document}");
        }
    }

    #[test]
    fn pages_last_for_some_minutes() {
        let registry = knarr_schema::Registry::builtin();
        let pods = registry.by_kind("", "v1", "Pod").unwrap();
        let page = |ago: SignedDuration| {
            let token = token(7, "n/a\0", Some(Timestamp::now() - ago));
            Page::of(&Query::parse(&format!("continue={token}")), pods, "", false)
        };
        assert_eq!(page(SignedDuration::from_mins(4)).unwrap().state, State::Continued(Revision(7)));
        let late = page(SignedDuration::from_mins(6)).unwrap_err();
        let rest = Token::read(late.continue_token.as_deref().unwrap(), pods, "").unwrap();
        assert_eq!((late.code, rest.state, rest.issued), (410, State::Newest, None));
        let gone = expired_continue(Some(&rest.start));
        assert_eq!(
            (gone.code, gone.continue_token),
            (410, late.continue_token),
            "the store's state is no longer there"
        );
    }
}
