// SPDX-License-Identifier: Apache-2.0
//! Updates: a whole object in place of another.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use knarr_admission::Operation;
use knarr_schema::managed_fields::{folded, keep_times};
use knarr_schema::{Kind, decode_as, rules};
use knarr_store::{Decision, Record, UpdateError};
use knarr_types::tree::Value;
use knarr_types::{Key, Object, Reason, Status};

use super::terms::{self, Terms};
use super::{Write, admit, allocation, create, failed, seconds, storage_key};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;

/// Answers an update of the object, or of its status.
///
/// # Errors
/// What is wrong with the object, or why it cannot be kept.
pub async fn update(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    subresource: &str,
    body: Bytes,
) -> Result<Response, Status> {
    let write = Write::new(app, context, kind, subresource)?;
    let (mut object, warnings) = write.decode(&body, decode_as)?;
    write.place(&mut object, &context.info.name).map_err(|status| status.with_warnings(&warnings))?;
    let key = write.key(&context.info.name);
    if app.store.get(&key).is_none() && kind.rules.allow_create_on_update && subresource.is_empty() {
        may_create(&write)?;
        if let Some(uid) = object["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            let why = storage_key::uid_mismatch(&key, uid, "");
            return Err(Status::conflict(&write.kind.id(), &context.info.name, &why));
        }
        let mut warnings = warnings;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        return create::commit_new(&write, || Ok(object.clone()), &mut warnings).await;
    }
    commit(&write, &key, warnings, |old, _| {
        let mut new = object.clone();
        check_uid(&write, &new, old)?;
        check_version(&write, &new, old)?;
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        Ok(new)
    })
    .await
}

/// The object that the client means must be the one that is there.
fn check_uid(write: &Write<'_>, new: &Object, old: &Object) -> Result<(), Status> {
    let text = |object: &Object| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let (uid, actual) = (text(new), text(old));
    if uid.is_empty() || uid == actual {
        return Ok(());
    }
    let name = &write.context.info.name;
    Err(Status::conflict(&write.kind.id(), name, &storage_key::uid_mismatch(&write.key(name), &uid, &actual)))
}

/// A write that would make an object that is not there is a create, which the client must be allowed too.
pub(super) fn may_create(write: &Write<'_>) -> Result<(), Status> {
    let wanted = knarr_auth::Attributes { verb: "create", ..write.context.info.attributes() };
    crate::identity::authorize(write.app, &write.context.user, &wanted)
}

/// What the client says it saw must be what there is; kinds may insist that it says so.
pub(super) fn check_version(write: &Write<'_>, new: &Object, old: &Object) -> Result<(), Status> {
    let text = |object: &Object| object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let name = &write.context.info.name;
    let version = text(new);
    if !version.is_empty() && version.parse::<u64>().is_err() {
        let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        return Err(Status::new(500, Reason::Unknown, message));
    }
    if version.is_empty() || version == "0" {
        if write.kind.needs_resource_version() {
            let errors = rules::metadata::resource_version_required();
            // Upstream names the resource here, not the kind.
            return Err(Status::invalid(&write.kind.group, &write.kind.resource, name, &errors));
        }
        return Ok(());
    }
    if version != text(old) {
        return Err(Status::modified(&Key::new(write.kind.id(), "", name)));
    }
    Ok(())
}

/// Runs `change` on the newest state until what it gives is committed, and answers with it. `change`
/// gets the object as stored, with its revision and [folded] owners, and gives the new one.
pub(super) async fn commit(
    write: &Write<'_>,
    key: &Key,
    mut warnings: Vec<String>,
    change: impl Fn(&Object, &mut Vec<String>) -> Result<Object, Status> + Sync,
) -> Result<Response, Status> {
    if write.options.dry_run {
        let rehearsed = rehearse(write, key, &mut warnings, change).await;
        let new = rehearsed.map_err(|status| status.with_warnings(&warnings))?;
        return write.respond_dry(200, &new, &warnings);
    }
    for attempt in 1.. {
        let mut said = Vec::new();
        match run(write, key, &mut said, &change).await {
            Ok(written) => {
                warnings.append(&mut said);
                return match written {
                    Written::Stored(record) => write.respond(200, &record, &warnings).await,
                    Written::Over(object) => write.respond_dry(200, &object, &warnings),
                };
            }
            Err(UpdateError::Store(error)) if terms::is_stale(&error, key) && attempt < allocation::ATTEMPTS => {}
            Err(UpdateError::Refused(status)) => return Err(status.with_warnings(&warnings)),
            Err(UpdateError::Store(error)) => {
                return Err(failed(write.kind, key, &error).with_warnings(&warnings));
            }
        }
    }
    Err(Status::not_found(&write.kind.id(), &key.name))
}

/// What [`commit`] would make of the newest state.
async fn rehearse(
    write: &Write<'_>,
    key: &Key,
    warnings: &mut Vec<String>,
    change: impl Fn(&Object, &mut Vec<String>) -> Result<Object, Status> + Sync,
) -> Result<Object, Status> {
    let record = write.app.store.get(key).ok_or_else(|| Status::not_found(&write.kind.id(), &key.name))?;
    let old = write.current_folded(&record).await?;
    let mut said = Vec::new();
    let changed = write.others.settle(|| {
        said.clear();
        change(&old, &mut said)
    });
    let changed = changed.await;
    warnings.append(&mut said);
    let mut new = changed?;
    finish(write, &mut new, &old, warnings, &mut || change(&old, &mut Vec::new())).await?;
    new = write.rehearsed(new).await?;
    new["metadata"]["resourceVersion"] = record.revision.to_string().into();
    Ok(new)
}

/// What came of a write.
enum Written {
    /// It is stored.
    Stored(Arc<Record>),
    /// It was the end of an object that was being deleted: this is its last state.
    Over(Box<Object>),
}

/// One run of [`commit`] through the store; what the client should know is added to `said`.
async fn run(
    write: &Write<'_>,
    key: &Key,
    said: &mut Vec<String>,
    change: &(impl Fn(&Object, &mut Vec<String>) -> Result<Object, Status> + Sync),
) -> Result<Written, UpdateError<Status>> {
    let not_found = || Status::not_found(&write.kind.id(), &key.name);
    let outcome = parking_lot::Mutex::new((Vec::new(), None));
    // Held until the write is committed, given back before it is worked out again.
    let turn = parking_lot::Mutex::new(None);
    let decide = |current: Option<Arc<Record>>| {
        let (outcome, turn) = (&outcome, &turn);
        async move {
            drop(turn.lock().take());
            let mut said = Vec::new();
            let record = current.ok_or_else(not_found)?;
            let old = write.current_folded(&record).await?;
            let changed = write.others.settle(|| {
                said.clear();
                change(&old, &mut said)
            });
            let changed = changed.await;
            let mut new = changed.map_err(|status| status.with_warnings(&said))?;
            let finished = finish(write, &mut new, &old, &mut said, &mut || change(&old, &mut Vec::new())).await;
            let mut terms = finished.map_err(|status| status.with_warnings(&said))?;
            *turn.lock() = terms.turn.take();
            if is_over(&new) {
                let given_back = allocation::give_back(write, &new);
                *outcome.lock() = (said, Some(Box::new(new)));
                return Ok(given_back.with_delete());
            }
            *outcome.lock() = (said, None);
            let draft = write.draft(&new).await?;
            // What was stored in another version is written again: so storage is migrated.
            let same = *record.api_version == *write.stored.storage_version && draft == record.to_draft();
            Ok(if same { Decision::Keep } else { terms.with(draft) })
        }
    };
    let applied = write.app.store.update_with(key, &write.write_context(), decide).await?;
    let (mut told, over) = outcome.into_inner();
    said.append(&mut told);
    match (over, applied) {
        (Some(object), _) => Ok(Written::Over(object)),
        (None, Some(applied)) => Ok(Written::Stored(applied.record)),
        (None, None) => Err(UpdateError::Refused(not_found())),
    }
}

/// Whether nothing keeps an object any more that is being deleted: its last finalizer went.
fn is_over(object: &Object) -> bool {
    let metadata = &object["metadata"];
    let none = metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    let spec_finalizers = object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    !metadata["deletionTimestamp"].is_null() && none && grace == 0 && (object["kind"] != "Namespace" || spec_finalizers)
}

/// All that happens to a changed object before it is stored; gives what the store must check besides. `sent`
/// gives it as it was asked for.
async fn finish(
    write: &Write<'_>,
    object: &mut Object,
    old: &Object,
    warnings: &mut Vec<String>,
    sent: &mut (dyn FnMut() -> Result<Object, Status> + Send),
) -> Result<Terms, Status> {
    let (kind, stored) = (write.kind, &*write.stored);
    // In its one form, so that the strategy does not take other words for a change. An empty list of owners,
    // which that form does not have, asks to forget them.
    let forget = object["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty);
    let mut loose = stored.normalize_sent(object);
    if forget {
        object["metadata"]["managedFields"] = Value::Array(Vec::new());
    }
    // Owners are known by what was sent, as upstream has it: before the strategy takes any of it away.
    if !write.has_tracked() {
        write.track_change(old, object).await;
    }
    rules::metadata::prepare_update(object, old);
    let name = &*write.context.info.name;
    let seen = knarr_admission::is_seen(&write.admission(Operation::Update, name, Some(old)), write.app);
    if seen {
        folded::unfold(object);
    }
    let old = &*if seen { folded::unfolded(old) } else { Cow::Borrowed(old) };
    let request = write.admission(Operation::Update, name, Some(old));
    if admit::mutate(write, &request, object, seen, warnings).await? {
        stored.default(object);
        loose = true;
    }
    stored.prepare_update(object, old, write.subresource);
    if write.subresource.is_empty() && write.prunes.load(Ordering::Relaxed) {
        let before = old["metadata"]["generation"].as_i64().unwrap_or(1);
        object["metadata"]["generation"] = (before + 1).into();
    }
    if write.subresource.is_empty() && stored.rules.counts_empties {
        let sent = sent()?;
        stored.count_empties(object, old, &sent);
    }
    stored.stamp(object, old, write.subresource, &seconds(write.now));
    crate::escalation::check(write, object, Some(old))?;
    knarr_admission::set_condition_times(&request, object, &seconds(write.now));
    allocation::foresee(write, object, Some(old))?;
    let errors = write.check_update(object, old);
    if !errors.is_empty() {
        let errors = write.shown_as_sent(errors, object, sent, |object| write.check_update(object, old));
        return Err(super::invalid(kind, name, &errors));
    }
    stored.complete(object);
    match write.subresource {
        "" | "scale" => warnings.extend(stored.warnings(object, Some(old))),
        "status" => warnings.extend(stored.status_warnings(object)),
        _ => {}
    }
    admit::validate(write, &request, Some(object), seen, warnings).await?;
    if loose {
        stored.normalize(object);
    }
    debug_assert!(stored.is_normal(object), "the plugins and the kind's rules keep the one form: {object:?}");
    keep_times(old, object);
    Terms::of(write, &request, object, Some(old)).await
}
