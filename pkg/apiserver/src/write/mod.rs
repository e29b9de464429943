// SPDX-License-Identifier: Apache-2.0
//! Writes: from a request's body to a committed object.
//!
//! What a client sent is decoded once; what follows from the object as it is now is computed again each
//! time somebody else was faster, until it is committed or the request's time is over.

pub mod admit;
mod allocation;
mod create;
mod delete;
mod delete_options;
mod options;
mod other_versions;
mod outcome;
mod patch;
pub mod quotas;
pub mod scale;
pub mod storage_key;
mod terms;
mod update;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use futures::future::BoxFuture;
use jiff::Timestamp;
use knarr_admission::{Lookup, Operation};
use knarr_auth::{Attributes, UserInfo};
use knarr_schema::managed_fields::{Manager, folded, manager_name, reset_fields_of, track_folded};
use knarr_schema::{FieldValidation, Kind, MediaType, Registry, convert, decode_as, empties};
use knarr_store::{Author, Draft, Lane, ProposeError, Record, WriteContext};
use knarr_types::tree::Value;
use knarr_types::{ErrorList, Key, Object, Status};

use crate::app::App;
use crate::body::{self, Response};
use crate::crd::is_definition;
use crate::negotiate::{acceptable, answer_below, body_media, fits};
use crate::read::namespace_of;
use crate::request::RequestContext;
use crate::request_body::aside;
use crate::serve_object;

pub use create::create;
pub use delete::{delete, delete_collection, evict};
pub use options::WriteOptions;
use other_versions::OtherVersions;
pub use outcome::propose_error;
pub use patch::patch;
pub use update::update;

/// How a body is read: [`decode_as`], or [`knarr_schema::decode_templated`] where nobody asks for it as it was sent.
type Decode = fn(&Kind, &Registry, &[u8], MediaType, FieldValidation) -> Result<(Object, Vec<String>), Status>;

/// A write of one object, while it is worked on.
pub struct Write<'a> {
    /// The server.
    pub app: &'a App,
    /// The request.
    pub context: &'a RequestContext,
    /// The kind, in the version of the path.
    pub kind: &'a Arc<Kind>,
    /// The same in the version that its objects are stored in.
    pub stored: Arc<Kind>,
    /// `status`, or empty for the object itself.
    pub subresource: &'a str,
    /// What the query says.
    pub options: WriteOptions,
    /// When the request came.
    pub now: Timestamp,
    /// The object that is made has the labels of its pods, as they will be.
    shares_labels: bool,
    /// What is applied has more than its schema keeps.
    prunes: AtomicBool,
    /// The other versions of the kind, as owners of fields see them.
    others: OtherVersions<'a>,
}

impl<'a> Write<'a> {
    /// A write as the request asks for it.
    ///
    /// # Errors
    /// Where the query makes no sense.
    pub fn new(
        app: &'a App,
        context: &'a RequestContext,
        kind: &'a Arc<Kind>,
        subresource: &'a str,
    ) -> Result<Self, Status> {
        // What cannot be answered is not done.
        acceptable(&context.accept, kind, subresource)?;
        let is_apply = context.info.verb == "patch" && patch::is_apply(&context.content_type);
        let options = WriteOptions::of(&context.query, context.info.verb, is_apply)?;
        let stored = app.stored_kind(kind);
        let others = OtherVersions::new(app, kind, context.deadline);
        let now = Timestamp::now();
        Ok(Self {
            app,
            context,
            kind,
            stored,
            subresource,
            options,
            now,
            shares_labels: false,
            prunes: AtomicBool::new(false),
            others,
        })
    }

    /// Where the object is.
    #[must_use]
    pub fn key(&self, name: &str) -> Key {
        Key::new(self.kind.storage.clone(), &namespace_of(self.kind, self.context), name)
    }

    /// As [`Write::decode`], in the version of the request and without defaults.
    fn read(&self, body: &[u8], decode: Decode) -> Result<(Object, Vec<String>), Status> {
        let media = body_media(&self.context.content_type)?;
        let registry = self.app.registry.load();
        aside(body, || decode(self.kind, &registry, body, media, self.options.validation))
    }

    /// The body as an object in the stored version, with warnings for the client.
    fn decode(&self, body: &[u8], decode: Decode) -> Result<(Object, Vec<String>), Status> {
        let (mut object, warnings) = self.read(body, decode)?;
        convert::to_storage(self.kind, &mut object);
        self.stored.default(&mut object);
        Ok((object, warnings))
    }

    /// Checks that the body is about the object of the path, and fills in what it left out.
    fn place(&self, object: &mut Object, name: &str) -> Result<(), Status> {
        let namespace = namespace_of(self.kind, self.context);
        let metadata = &mut object["metadata"];
        let given = |field: &str, metadata: &Value| metadata[field].as_str().unwrap_or_default().to_owned();
        let sent = given("namespace", metadata);
        if self.kind.namespaced && !sent.is_empty() && sent != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(message));
        }
        match (self.kind.namespaced, metadata.as_object_mut()) {
            (true, _) => metadata["namespace"] = namespace.into(),
            (false, Some(fields)) if !sent.is_empty() => drop(fields.remove("namespace")),
            _ => {}
        }
        let sent = given("name", &object["metadata"]);
        if !name.is_empty() && sent.is_empty() && matches!(self.context.info.verb, "update" | "patch") {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        }
        if !name.is_empty() && !sent.is_empty() && sent != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({name})"
            )));
        }
        if !name.is_empty() {
            object["metadata"]["name"] = name.into();
        }
        Ok(())
    }

    /// Who writes, as managed fields have it.
    #[must_use]
    pub fn manager<'m>(&'m self, api_version: &'m str) -> Manager<'m> {
        Manager {
            name: manager_name(&self.options.manager, &self.context.user_agent),
            api_version,
            subresource: self.subresource,
            reset: self.reset_fields(),
            others: &self.others,
        }
    }

    fn reset_fields(&self) -> &'static [&'static [&'static str]] {
        let has_status = self.kind.subresource("status").is_some();
        if self.subresource == "status" && is_definition(self.kind) {
            return &[&["spec"]];
        }
        if self.subresource == "status" && has_status && self.kind.custom.is_some() {
            return &[&["metadata"], &["spec"]];
        }
        reset_fields_of(&self.kind.kind, self.subresource, has_status)
    }

    /// Writes down who owns which fields, as the version of the request calls them. The owners are [folded] then,
    /// but for custom objects, which others may convert.
    fn track(&self, old: Option<&Object>, object: &mut Object) {
        let api_version = self.kind.api_version();
        let manager = self.manager(&api_version);
        if !convert::is_converted(self.kind) {
            track_folded(old, object, self.stored.ty.get(), &manager, self.now);
            if self.kind.custom.is_some() {
                folded::unfold(object);
            }
            return;
        }
        let served = |object: &Object| {
            let mut served = object.clone();
            convert::from_storage(self.kind, &mut served);
            served
        };
        let mut new = served(object);
        track_folded(old.map(served).as_ref(), &mut new, self.kind.ty.get(), &manager, self.now);
        object["metadata"]["managedFields"] = new["metadata"]["managedFields"].take();
    }

    /// As [`Write::track`], where others may own fields in versions that a webhook must be asked for.
    async fn track_change(&self, old: &Object, object: &mut Object) {
        if !self.others.are_remote() {
            return self.track(Some(old), object);
        }
        let changed = object.clone();
        let tracked = || {
            object.clone_from(&changed);
            self.track(Some(old), object);
        };
        self.others.settle(tracked).await;
    }

    /// What is wrong with a new object. Events of the newer group have rules of their own.
    fn check_create(&self, object: &Object) -> ErrorList {
        match self.in_own_form(object) {
            Some(served) => self.kind.check_create(&served),
            None => self.stored.check_create(object),
        }
    }

    /// What is wrong with a change.
    fn check_update(&self, object: &Object, old: &Object) -> ErrorList {
        match self.in_own_form(object).zip(self.in_own_form(old)) {
            Some((new, old)) => self.kind.check_update(&new, &old, self.subresource),
            None => self.stored.check_update(object, old, self.subresource),
        }
    }

    /// These faults with what they show as it was sent.
    fn shown_as_sent(
        &self,
        faults: ErrorList,
        object: &Object,
        sent: &mut (dyn FnMut() -> Result<Object, Status> + Send),
        check: impl Fn(&Object) -> ErrorList,
    ) -> ErrorList {
        match sent() {
            Ok(sent) if self.kind.custom.is_none() => {
                empties::shown_as_sent(faults, object, &sent, self.stored.ty.get(), check)
            }
            _ => faults,
        }
    }

    /// The object as the request's version has it, where that has other rules than the stored one.
    fn in_own_form(&self, object: &Object) -> Option<Object> {
        let differs = convert::is_converted(self.kind) && &*self.kind.kind == "Event";
        differs.then(|| {
            let mut served = object.clone();
            convert::from_storage(self.kind, &mut served);
            served
        })
    }

    /// The object of a record as the write works on it: in the version that it is stored in, or, where the
    /// kind is a custom one, in that of the request.
    ///
    /// # Errors
    /// Where a webhook that must convert it does not.
    pub async fn current(&self, record: &Arc<Record>) -> Result<Object, Status> {
        let record = self.app.one_in_version(self.kind, Arc::clone(record), self.context.deadline).await?;
        Ok(serve_object::stored_tree(self.kind, &record))
    }

    /// As [`Write::current`]; the owners of its fields are [folded] where they are not looked at to convert it.
    ///
    /// # Errors
    /// As [`Write::current`].
    pub async fn current_folded(&self, record: &Arc<Record>) -> Result<Object, Status> {
        let record = self.app.one_in_version(self.kind, Arc::clone(record), self.context.deadline).await?;
        Ok(serve_object::folded_tree(self.kind, &record))
    }

    /// What the store takes of an object.
    ///
    /// # Errors
    /// As [`Write::current`].
    pub async fn draft(&self, object: &Object) -> Result<Draft, Status> {
        let stored = &self.stored.storage_version;
        let converted = self.app.convert(self.kind, object, stored, self.context.deadline).await?;
        Ok(serve_object::draft(&self.stored, converted.as_ref().unwrap_or(object)))
    }

    /// An object as it would be read after it was written.
    ///
    /// # Errors
    /// As [`Write::current`].
    pub async fn rehearsed(&self, object: Object) -> Result<Object, Status> {
        let deadline = self.context.deadline;
        let Some(stored) = self.app.convert(self.kind, &object, &self.stored.storage_version, deadline).await? else {
            return Ok(object);
        };
        Ok(self.app.convert(self.kind, &stored, &self.kind.api_version(), deadline).await?.unwrap_or(object))
    }

    /// How the store is to carry the write out.
    #[must_use]
    pub fn write_context(&self) -> WriteContext {
        write_context(self.context, &self.options.manager)
    }

    /// What admission is asked.
    fn admission(
        &'a self,
        operation: Operation,
        name: &'a str,
        old: Option<&'a Object>,
    ) -> knarr_admission::Request<'a> {
        knarr_admission::Request {
            kind: self.kind,
            body: None,
            operation,
            namespace: if self.kind.namespaced { &self.context.info.namespace } else { "" },
            name,
            subresource: self.subresource,
            user: &self.context.user,
            old,
            dry_run: self.options.dry_run,
            deadline: self.context.deadline,
        }
    }

    /// The answer with the object as it was written, or would have been.
    async fn respond(&self, code: u16, record: &Arc<Record>, warnings: &[String]) -> Result<Response, Status> {
        let answer = answer_below(&self.context.accept, &self.context.query, self.kind, self.subresource)?;
        fits(answer, self.kind, false)?;
        let record = &self.app.one_in_version(self.kind, Arc::clone(record), self.context.deadline).await?;
        let bytes = serve_object::encode_one(self.kind, record, answer);
        let mut response = body::bytes(code, answer.encoding.media_type(), bytes);
        body::warn(&mut response, warnings);
        Ok(response)
    }

    /// The answer to a dry run: the object as a tree, with the revision that it has now.
    fn respond_dry(&self, code: u16, object: &Object, warnings: &[String]) -> Result<Response, Status> {
        let answer = answer_below(&self.context.accept, &self.context.query, self.kind, self.subresource)?;
        fits(answer, self.kind, false)?;
        let mut object = object.clone();
        folded::unfold(&mut object);
        convert::from_storage(self.kind, &mut object);
        let document = serve_object::formed(self.kind, &object, answer.form, true);
        let bytes = serve_object::in_encoding(&document, answer.encoding);
        let mut response = body::bytes(code, answer.encoding.media_type(), bytes);
        body::warn(&mut response, warnings);
        Ok(response)
    }
}

/// How the store is to carry a request's write out: the cluster's own parts have a lane of their own.
#[must_use]
pub fn write_context(context: &RequestContext, manager: &str) -> WriteContext {
    let user = &context.user.name;
    let system = user.starts_with("system:node:")
        || user.starts_with("system:kube-")
        || user.starts_with("system:serviceaccount:kube-system:");
    WriteContext {
        author: Author {
            user: user.as_str().into(),
            manager: manager_name(manager, &context.user_agent).into(),
            verb: context.info.verb.into(),
        },
        lane: if system { Lane::System } else { Lane::Normal },
        flow: user.as_str().into(),
        deadline: context.deadline,
    }
}

/// The longest list whose trees are kept: what is longer is looked at rarely, as the pods of a namespace.
const KEPT_OF_LIST: usize = 32;

/// Admission's view of the other objects.
impl Lookup for App {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let registry = self.registry.load();
        let kind = registry.by_plural(group, resource)?;
        let record = self.store.get(&Key::new(kind.storage.clone(), namespace, name))?;
        Some(self.trees.get(kind, &record))
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let registry = self.registry.load();
        let Some(kind) = registry.by_plural(group, resource) else {
            return Vec::new();
        };
        let snapshot = self.store.snapshot(&kind.storage);
        let scope = namespace.map_or(knarr_store::Scope::All, |n| knarr_store::Scope::Namespace(n.into()));
        let records: Vec<_> = snapshot.list(&scope, None).collect();
        let tree = |record: &Arc<Record>| {
            if records.len() > KEPT_OF_LIST {
                Arc::new(serve_object::tree(kind, record))
            } else {
                self.trees.get(kind, record)
            }
        };
        records.iter().map(|record| tree(record)).collect()
    }

    fn versions(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let registry = self.registry.load();
        let same = |k: &&Arc<Kind>| k.storage == kind.storage && k.api_version() != kind.api_version();
        registry.iter().filter(same).cloned().collect()
    }

    fn in_version<'a>(
        &'a self,
        kind: &'a Arc<Kind>,
        object: &'a Object,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Object, Status>> {
        Box::pin(self.any_in_version(kind, object, deadline))
    }

    fn decode(&self, kind: &Kind, object: &Object) -> Result<Object, Status> {
        let bytes = serde_json::to_vec(object).map_err(Status::internal)?;
        let registry = self.registry.load();
        decode_as(kind, &registry, &bytes, MediaType::Json, FieldValidation::Ignore).map(|(object, _)| object)
    }

    fn policy_checked(&self, policy: &str, binding: &str, action: &'static str, error: &'static str) {
        self.metrics.parts.policy(policy, binding, action, error);
    }

    fn service_address(&self, namespace: &str, name: &str, port: u16) -> Result<String, String> {
        crate::service_address::find_numbered(self, namespace, name, port).map(|a| a.to_string())
    }

    fn kind_named(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.registry.load().by_kind(group, version, kind).cloned()
    }

    fn allows(&self, user: &UserInfo, wanted: &Attributes<'_>) -> bool {
        self.authorizer.decide(user, wanted) == knarr_auth::Decision::Allow
    }
}

/// A failure of the store, for a write of this key.
fn failed(kind: &Kind, key: &Key, error: &ProposeError) -> Status {
    propose_error(&kind.id(), &key.name, error)
}

/// What is wrong with an object of this kind.
fn invalid(kind: &Kind, name: &str, errors: &ErrorList) -> Status {
    // Events of both groups are the core's, and upstream says so here.
    let group = if &*kind.group == "events.k8s.io" { "" } else { &kind.group };
    Status::invalid(group, &kind.kind, name, errors)
}

/// A fresh `metadata.uid`.
fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `now` as metadata has it: to the second.
pub(crate) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
