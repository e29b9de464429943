// SPDX-License-Identifier: Apache-2.0
//! Custom objects between their versions, where a webhook knows how.
//!
//! Records are brought into the version of a request before anything else looks at them: selectors,
//! tables and writes see only that. What an object became is kept as long as there is room, and those
//! who want the same at the same time wait for one answer: a thousand watchers ask once.

mod cache;
mod review;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use knarr_admission::webhooks::{Endpoint, Question};
use knarr_schema::crd::Custom;
use knarr_schema::{Kind, convert};
use knarr_store::Record;
use knarr_types::tree::Value;
use knarr_types::{GroupVersion, Object, Reason, Status};
use parking_lot::Mutex;

use crate::app::App;
use crate::serve_object;
use cache::{Cache, Id};

/// How long a webhook may take. Upstream's.
const PATIENCE: Duration = Duration::from_secs(30);
/// The objects of one review, in bytes; more are sent in several. One larger object goes alone.
const REVIEW_BYTES: usize = 16 << 20;
/// The most that an answer may hold, in bytes.
const ANSWER_BYTES: usize = 64 << 20;
/// What is kept of what webhooks answered, in bytes.
const KEPT_BYTES: usize = 16 << 20;

/// What came of a review: records by what they were made of.
type Made = Result<Arc<HashMap<Id, Arc<Record>>>, Status>;
/// A review that is not answered yet; any number may wait for it.
type Running = Shared<BoxFuture<'static, Made>>;

/// What was converted, and what is being converted.
#[derive(Clone)]
pub struct Conversions(Arc<Mutex<State>>);

struct State {
    cache: Cache<Arc<Record>>,
    running: HashMap<Id, Running>,
}

impl Default for Conversions {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { cache: Cache::new(KEPT_BYTES), running: HashMap::new() })))
    }
}

/// Who converts the objects of a kind.
#[derive(Clone)]
struct Converter {
    kind: Arc<Kind>,
    custom: Arc<Custom>,
    webhook: Arc<Value>,
}

impl Converter {
    fn of(kind: &Arc<Kind>) -> Option<Self> {
        let custom = Arc::clone(kind.custom.as_ref()?);
        let webhook = Arc::clone(custom.webhook()?);
        Some(Self { kind: Arc::clone(kind), custom, webhook })
    }

    fn id(&self, record: &Record) -> Id {
        Id {
            key: record.key.clone(),
            revision: record.revision,
            version: Arc::clone(&self.custom.version),
            definition: Arc::clone(&self.custom.uid),
            generation: self.custom.generation,
        }
    }

    /// The object of a record as it was written, with what its schema says now.
    fn written(&self, record: &Record) -> Object {
        let mut object = serve_object::tree(&self.kind, record);
        let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        self.custom.read(&api_version, &mut object);
        object
    }

    fn question(&self, app: &App) -> Result<Question, String> {
        app.webhooks.question(app, &Endpoint::read(&self.webhook["clientConfig"]), PATIENCE)
    }

    /// Asks the webhook for objects in another version: as many, in the same order.
    async fn ask(
        &self,
        question: &Result<Question, String>,
        mut objects: Vec<Object>,
        desired: &str,
        limit: Duration,
    ) -> Result<Vec<Object>, Status> {
        let Some(first) = objects.first() else { return Ok(objects) };
        let what = review::shown(first);
        let failed = |why: String| refused(format!("conversion webhook for {what} failed: {why}"));
        let version = review::version(&self.webhook).map_err(refused)?;
        // Who converts learns nothing of revisions, which come from the store.
        let revisions: Vec<Option<Value>> = objects.iter_mut().map(take_revision).collect();
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::review(version, &uid, desired, &objects).to_string();
        let question = question.as_ref().map_err(|why| failed(why.clone()))?;
        let answer = question.ask(body.into(), limit, ANSWER_BYTES).await.map_err(failed)?;
        let converted = review::read(version, &uid, &answer).map_err(failed)?;
        if converted.len() != objects.len() {
            let (got, expected) = (converted.len(), objects.len());
            return Err(refused(format!("conversion webhook for {what} returned {got} objects, expected {expected}")));
        }
        let taken = objects.iter().zip(converted).zip(revisions).map(|((original, converted), revision)| {
            let accepted = review::accept(original, converted, desired);
            let mut object = accepted.map_err(|why| refused(format!("conversion webhook for {what} {why}")))?;
            let _ = self.custom.coerce(&mut object);
            if let Some(revision) = revision {
                object["metadata"]["resourceVersion"] = revision;
            }
            Ok(object)
        });
        taken.collect()
    }

    /// Makes records of this version of others.
    async fn make(&self, question: Result<Question, String>, wanted: Vec<(Id, Arc<Record>)>) -> Made {
        let desired = self.kind.api_version();
        let mut made = HashMap::with_capacity(wanted.len());
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            rest = later;
            let objects = now.iter().map(|(_, record)| self.written(record)).collect();
            let converted = self.ask(&question, objects, &desired, PATIENCE).await?;
            for ((id, record), object) in now.iter().zip(converted) {
                made.insert(id.clone(), Arc::new(self.record(record, &object)));
            }
        }
        Ok(Arc::new(made))
    }

    fn record(&self, record: &Record, object: &Object) -> Record {
        record.in_version(&serve_object::draft_as_is(&self.kind, object), &self.kind.api_version())
    }
}

/// How many of these fit into one review.
fn fitting(wanted: &[(Id, Arc<Record>)]) -> usize {
    let mut bytes = 0;
    let fits = wanted.iter().take_while(|(_, record)| {
        bytes += record.json.len();
        bytes <= REVIEW_BYTES
    });
    fits.count().max(1)
}

fn take_revision(object: &mut Object) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("resourceVersion")
}

fn refused(why: impl Into<String>) -> Status {
    Status::new(500, Reason::Unknown, why)
}

impl Conversions {
    /// The batches that will have the records, those that nobody asked for yet among them. What is known
    /// is put into `known`.
    fn join(
        &self,
        converter: &Converter,
        question: Result<Question, String>,
        wanted: Vec<(Id, Arc<Record>)>,
        known: &mut HashMap<Id, Arc<Record>>,
    ) -> Vec<Running> {
        let mut state = self.0.lock();
        let (mut joined, mut fresh) = (Vec::<Running>::new(), Vec::new());
        for (id, record) in wanted {
            if let Some(made) = state.cache.get(&id) {
                known.insert(id, made);
            } else if let Some(running) = state.running.get(&id) {
                if !joined.iter().any(|other| other.ptr_eq(running)) {
                    joined.push(running.clone());
                }
            } else {
                fresh.push((id, record));
            }
        }
        if !fresh.is_empty() {
            let ids: Vec<Id> = fresh.iter().map(|(id, _)| id.clone()).collect();
            let running = self.start(converter.clone(), question, fresh);
            state.running.extend(ids.into_iter().map(|id| (id, running.clone())));
            joined.push(running);
        }
        joined
    }

    /// Asks on its own: who wanted it may go, others may have come.
    fn start(
        &self,
        converter: Converter,
        question: Result<Question, String>,
        wanted: Vec<(Id, Arc<Record>)>,
    ) -> Running {
        let conversions = self.clone();
        let task = tokio::spawn(async move {
            let ids: Vec<Id> = wanted.iter().map(|(id, _)| id.clone()).collect();
            let made = converter.make(question, wanted).await;
            let mut state = conversions.0.lock();
            for id in &ids {
                state.running.remove(id);
            }
            for (id, record) in made.iter().flat_map(|made| made.iter()) {
                state.cache.insert(id.clone(), Arc::clone(record), record.json.len());
            }
            drop(state);
            made
        });
        task.map(|made| made.unwrap_or_else(|error| Err(Status::internal(error)))).boxed().shared()
    }
}

impl App {
    /// The records in the version of `kind`, in their order; as they are, for kinds that no webhook
    /// converts.
    ///
    /// # Errors
    /// 500 where the webhook cannot be asked or does not do what it may, 504 at the deadline.
    pub async fn in_version(
        &self,
        kind: &Arc<Kind>,
        records: Vec<Arc<Record>>,
        deadline: Instant,
    ) -> Result<Vec<Arc<Record>>, Status> {
        let Some(converter) = Converter::of(kind) else { return Ok(records) };
        let api_version = kind.api_version();
        let written = |record: &Record| match &*record.api_version {
            "" => *kind.storage_version == api_version,
            written => written == api_version,
        };
        let others = records.iter().filter(|record| !written(record));
        let wanted: Vec<_> = others.map(|record| (converter.id(record), Arc::clone(record))).collect();
        let mut known = HashMap::with_capacity(wanted.len());
        if !wanted.is_empty() {
            let question = converter.question(self);
            for running in self.conversions.join(&converter, question, wanted, &mut known) {
                let made = tokio::time::timeout_at(deadline.into(), running).await.map_err(|_| too_late())??;
                known.extend(made.iter().map(|(id, record)| (id.clone(), Arc::clone(record))));
            }
        }
        let rewritten = converter.custom.fills_in();
        let one = |record: Arc<Record>| match written(&record) {
            true if rewritten => Ok(Arc::new(converter.record(&record, &converter.written(&record)))),
            true => Ok(record),
            false => known.get(&converter.id(&record)).cloned().ok_or_else(|| refused("an object was not converted")),
        };
        records.into_iter().map(one).collect()
    }

    /// One record in the version of `kind`.
    ///
    /// # Errors
    /// As [`App::in_version`].
    pub async fn one_in_version(
        &self,
        kind: &Arc<Kind>,
        record: Arc<Record>,
        deadline: Instant,
    ) -> Result<Arc<Record>, Status> {
        if kind.custom.as_ref().is_none_or(|custom| custom.webhook().is_none()) {
            return Ok(record);
        }
        let converted = self.in_version(kind, vec![record], deadline).await?;
        converted.into_iter().next().ok_or_else(|| refused("an object was not converted"))
    }

    /// An object that is not stored yet in the version `desired` (an `apiVersion`), where a webhook
    /// converts its kind; `None` where nobody needs to be asked.
    ///
    /// # Errors
    /// As [`App::in_version`].
    pub async fn convert(
        &self,
        kind: &Arc<Kind>,
        object: &Object,
        desired: &str,
        deadline: Instant,
    ) -> Result<Option<Object>, Status> {
        let Some(converter) = Converter::of(kind).filter(|_| object["apiVersion"] != *desired) else {
            return Ok(None);
        };
        let limit = deadline.saturating_duration_since(Instant::now()).min(PATIENCE);
        let converted = converter.ask(&converter.question(self), vec![object.clone()], desired, limit).await?;
        Ok(converted.into_iter().next())
    }

    /// An object of any version of a kind in that of `kind`, whoever converts it.
    ///
    /// # Errors
    /// As [`App::in_version`].
    pub async fn any_in_version(&self, kind: &Arc<Kind>, object: &Object, deadline: Instant) -> Result<Object, Status> {
        let api_version = kind.api_version();
        if kind.custom.is_some() {
            let converted = self.convert(kind, object, &api_version, deadline).await?;
            let mut object = converted.unwrap_or_else(|| object.clone());
            object["apiVersion"] = api_version.into();
            return Ok(object);
        }
        let mut object = object.clone();
        let registry = self.registry.load();
        let written = object["apiVersion"].as_str().and_then(GroupVersion::parse);
        let written = written.and_then(|at| registry.by_kind(&at.group, &at.version, &kind.kind));
        if let Some(written) = written.filter(|written| written.storage == kind.storage) {
            convert::to_storage(written, &mut object);
        }
        convert::from_storage(kind, &mut object);
        Ok(object)
    }
}

fn too_late() -> Status {
    Status::timeout("Timeout: request did not complete within requested timeout - context deadline exceeded", 0)
}
