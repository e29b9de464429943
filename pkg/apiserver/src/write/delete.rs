// SPDX-License-Identifier: Apache-2.0
//! Deletes: at once, after a grace, or when the last finalizer goes.
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/>

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use knarr_admission::Operation;
use knarr_schema::Kind;
use knarr_store::{Decision, Record, UpdateError};
use knarr_types::labels::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use knarr_types::tree::{Value, json};
use knarr_types::{Key, Object, ResourceId, Status};

use super::delete_options::{DeleteOptions, Propagation};
use super::{Write, admit, allocation, failed, seconds, terms};
use crate::app::App;
use crate::body::{self, Response};
use crate::crd::is_definition;
use crate::negotiate::{Encoding, Form, answer, fits};
use crate::query::Query;
use crate::read;
use crate::request::RequestContext;
use crate::serve_object;

/// Answers a delete.
///
/// # Errors
/// 404 where it is not there, 409 where it is not as the client said.
pub async fn delete(app: &App, context: &RequestContext, kind: &Arc<Kind>, body: Bytes) -> Result<Response, Status> {
    // Before anything is looked at, it is settled how the answer is written.
    answer(&context.accept, &context.query, kind)?;
    let options = DeleteOptions::of(&context.query, &context.content_type, &body)?;
    let warnings = warnings(kind, &options);
    warned(run(app, context, kind, options).await, context, &warnings)
}

/// What a client should know that did not say what becomes of dependents.
fn warnings(kind: &Kind, options: &DeleteOptions) -> Vec<String> {
    let jobs = (&*kind.group, &*kind.kind) == ("batch", "Job") && options.propagation.is_none();
    let preserved = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                     remove them or set propagationPolicy=Orphan to suppress this warning";
    jobs.then(|| preserved.to_owned()).into_iter().collect()
}

/// The answer with these warnings, be it a failure or not.
fn warned(answer: Result<Response, Status>, context: &RequestContext, warnings: &[String]) -> Result<Response, Status> {
    if warnings.is_empty() {
        return answer;
    }
    let mut response = answer.unwrap_or_else(|status| body::status(&status, &context.accept));
    body::warn(&mut response, warnings);
    Ok(response)
}

/// Deletes a pod by an eviction; `condition` is what its status says of it.
///
/// # Errors
/// As [`delete`].
pub async fn evict(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    body: Bytes,
    condition: Value,
) -> Result<Response, Status> {
    let options = DeleteOptions {
        disruption: Some(condition),
        ..DeleteOptions::of(&Query::default(), "application/json", &body)?
    };
    run(app, context, kind, options).await
}

async fn run(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    options: DeleteOptions,
) -> Result<Response, Status> {
    let mut write = Write::new(app, context, kind, "")?;
    write.options.dry_run |= options.dry_run;
    let deleted = delete_one(&write, &options, &context.info.name).await?;
    // Who asked in the old way is told in the old way that dependents go first.
    let code = if !deleted.gone && options.not_orphaned { 202 } else { 200 };
    if deleted.gone && kind.deletes_with_status() {
        let metadata = &deleted.object["metadata"];
        let mut details = json!({"name": metadata["name"], "kind": &*kind.resource, "uid": metadata["uid"]});
        if !kind.group.is_empty() {
            details["group"] = (*kind.group).into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        let encoding = answer(&context.accept, &context.query, kind)?.encoding;
        let encoding = if encoding == Encoding::Protobuf && kind.custom.is_some() { Encoding::Json } else { encoding };
        let mut response = body::bytes(200, encoding.media_type(), serve_object::in_encoding(&status, encoding));
        body::warn(&mut response, &deleted.warnings);
        return Ok(response);
    }
    write.respond_dry(code, &deleted.object, &deleted.warnings)
}

/// What a delete makes of an object.
#[derive(Debug)]
enum Fate {
    /// It is gone; this is what is told of it.
    Gone(Box<Object>),
    /// It becomes this, of which watchers are told, and is gone right after.
    Passes(Box<Object>),
    /// It stays for a while, as this.
    Stays(Box<Object>),
    /// It is on its way already.
    Unchanged,
}

/// A delete that was carried out.
struct Deleted {
    object: Object,
    gone: bool,
    warnings: Vec<String>,
}

/// Deletes one object.
async fn delete_one(write: &Write<'_>, options: &DeleteOptions, name: &str) -> Result<Deleted, Status> {
    let key = write.key(name);
    let not_found = || Status::not_found(&write.kind.id(), name);
    if write.options.dry_run {
        let record = write.app.store.get(&key).ok_or_else(not_found)?;
        let (fate, old, warnings) = decide(write, options, &record, name).await?;
        return Ok(match fate {
            Fate::Gone(object) | Fate::Passes(object) => Deleted { object: *object, gone: true, warnings },
            Fate::Stays(object) => Deleted { object: *object, gone: false, warnings },
            Fate::Unchanged => Deleted { object: old, gone: false, warnings },
        });
    }
    let (deleted, passes) = delete_attempts(write, options, &key).await?;
    if !passes {
        return Ok(deleted);
    }
    // What the client said of the state before is fulfilled; that it has no time left stands in the object now.
    let rest = DeleteOptions { resource_version: None, disruption: None, ..options.clone() };
    match delete_attempts(write, &rest, &key).await {
        Ok((gone, _)) => Ok(Deleted { warnings: deleted.warnings, ..gone }),
        // Somebody else took it away meanwhile.
        Err(status) if status.code == 404 => Ok(Deleted { gone: true, ..deleted }),
        Err(status) => Err(status),
    }
}

/// Deletes one object, again where it changes meanwhile; also whether what was written is only its last state.
async fn delete_attempts(write: &Write<'_>, options: &DeleteOptions, key: &Key) -> Result<(Deleted, bool), Status> {
    for attempt in 1.. {
        match delete_stored(write, options, key).await {
            Err(UpdateError::Store(error)) if terms::is_stale(&error, key) && attempt < allocation::ATTEMPTS => {}
            Err(UpdateError::Refused(status)) => return Err(status),
            Err(UpdateError::Store(error)) => return Err(failed(write.kind, key, &error)),
            Ok(deleted) => return Ok(deleted),
        }
    }
    Err(Status::not_found(&write.kind.id(), &key.name))
}

async fn delete_stored(
    write: &Write<'_>,
    options: &DeleteOptions,
    key: &Key,
) -> Result<(Deleted, bool), UpdateError<Status>> {
    let not_found = || Status::not_found(&write.kind.id(), &key.name);
    let deleted = parking_lot::Mutex::new(None);
    let applied = write
        .app
        .store
        .update_with(key, &write.write_context(), |current| {
            let deleted = &deleted;
            async move {
                let record = current.ok_or_else(not_found)?;
                let (fate, old, warnings) = decide(write, options, &record, &key.name).await?;
                let passes = matches!(fate, Fate::Passes(_));
                let (object, gone, decision) = match fate {
                    Fate::Gone(object) => {
                        let decision = allocation::give_back(write, &object).with_delete();
                        (*object, true, decision)
                    }
                    Fate::Stays(object) | Fate::Passes(object) => {
                        let draft = write.draft(&object).await?;
                        (*object, false, Decision::Put(draft))
                    }
                    Fate::Unchanged => (old, false, Decision::Keep),
                };
                *deleted.lock() = Some((Deleted { object, gone, warnings }, passes));
                Ok(decision)
            }
        })
        .await?;
    let (mut deleted, passes): (Deleted, bool) =
        deleted.into_inner().ok_or_else(|| UpdateError::Refused(not_found()))?;
    if let Some(applied) = applied {
        deleted.object["metadata"]["resourceVersion"] = applied.revision.to_string().into();
    }
    Ok((deleted, passes))
}

/// What becomes of the object as it is now: its fate, its state before, and what the client should know.
async fn decide(
    write: &Write<'_>,
    options: &DeleteOptions,
    record: &Arc<Record>,
    name: &str,
) -> Result<(Fate, Object, Vec<String>), Status> {
    let old = write.current(record).await?;
    check_preconditions(write.kind, options, &old, name)?;
    let mut warnings = Vec::new();
    // Who deletes a collection names none of its objects.
    let asked = if write.context.info.verb == "deletecollection" { "" } else { name };
    let request = write.admission(Operation::Delete, asked, Some(&old));
    if options.disruption.is_some() {
        // Policies and webhooks were asked about the eviction.
        knarr_admission::validate(&request, None, write.app, &mut warnings)?;
    } else {
        let seen = knarr_admission::is_seen(&request, write.app);
        if seen {
            admit::mutate_deleted(write, &request, &mut warnings).await?;
        }
        admit::validate(write, &request, None, seen, &mut warnings).await?;
    }
    let fate = fate(write.kind, options, &old, write.now);
    Ok((fate, old, warnings))
}

fn check_preconditions(kind: &Kind, options: &DeleteOptions, old: &Object, name: &str) -> Result<(), Status> {
    // Kinds that are deleted in a way of their own have words of their own.
    let own_way = is_definition(kind) || is_namespace(kind);
    let check = |wanted: &Option<String>, field: &str, label: &str, end: &str| {
        let actual = old["metadata"][field].as_str().unwrap_or_default();
        match wanted {
            Some(wanted) if wanted != actual && own_way => {
                let why =
                    format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {actual}");
                Err(Status::conflict(&kind.id(), name, &why))
            }
            Some(wanted) if wanted != actual => {
                let why = format!(
                    "the {label} in the precondition ({wanted}) does not match the {label} in record ({actual}). {end}"
                );
                // Upstream names the kind here, not the resource.
                Err(Status::conflict(&ResourceId::new(&kind.group, &kind.kind), name, &why))
            }
            _ => Ok(()),
        }
    };
    let replaced = "The object might have been deleted and then recreated";
    check(&options.uid, "uid", "UID", replaced)?;
    let modified = "The object might have been modified";
    check(&options.resource_version, "resourceVersion", "ResourceVersion", modified)
}

/// What the options make of the object. Pure.
fn fate(kind: &Kind, options: &DeleteOptions, old: &Object, now: Timestamp) -> Fate {
    if is_definition(kind) {
        return definition_fate(old, now);
    }
    let metadata = &old["metadata"];
    let pending = !metadata["deletionTimestamp"].is_null();
    let before = metadata["deletionGracePeriodSeconds"].as_i64();
    let content = old["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    let grace = grace(kind, options, old, pending, before);
    let goes_on = is_pod(kind) && pending && before.is_some_and(|before| before > 0 && grace >= before);
    // What is on its way is so on its first terms, but for a shorter grace.
    if (goes_on && options.disruption.is_none()) || (is_namespace(kind) && pending && content) {
        return Fate::Unchanged;
    }
    let mut new = old.clone();
    if let Some(condition) = &options.disruption {
        let conditions = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let others = conditions.into_iter().filter(|c| c["type"] != condition["type"]);
        new["status"]["conditions"] = others.chain([condition.clone()]).collect();
    }
    let finalizers = finalizers(kind, options, old);
    let metadata = &mut new["metadata"];
    metadata["finalizers"] = json!(finalizers);
    if finalizers.is_empty()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("finalizers");
    }
    let is_namespace = is_namespace(kind);
    // A namespace is first marked, and goes when it is asked for again and holds nothing.
    let waits = is_namespace && !pending;
    let gone = finalizers.is_empty() && grace == 0 && !waits;
    // Only pods are told of by their end before they go, once.
    if gone && (!is_pod(kind) || (pending && before.unwrap_or_default() == 0)) {
        return Fate::Gone(Box::new(new));
    }
    // A grace can be cut short, never made longer.
    let shorter = before.is_none_or(|b| grace < b) && !(is_namespace && pending);
    if !pending || shorter {
        let (at, grace) = end(metadata, before, grace, now);
        metadata["deletionTimestamp"] = at.into();
        if !is_namespace {
            metadata["deletionGracePeriodSeconds"] = grace.into();
        }
        // Whoever counts changes, or says that it does.
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        if generation > 0 && !pending {
            metadata["generation"] = (generation + 1).into();
        }
    }
    if is_namespace {
        new["status"]["phase"] = "Terminating".into();
    }
    match () {
        () if gone => Fate::Passes(Box::new(new)),
        () if new == *old => Fate::Unchanged,
        () => Fate::Stays(Box::new(new)),
    }
}

/// When an object goes and with how much grace: a grace that is cut short counts from when it began, but does not end
/// in the past.
fn end(metadata: &Value, before: Option<i64>, grace: i64, now: Timestamp) -> (String, i64) {
    let planned = metadata["deletionTimestamp"].as_str();
    let Some(planned) = planned else { return (seconds(now + SignedDuration::from_secs(grace)), grace) };
    let Some((at, before)) = planned.parse::<Timestamp>().ok().zip(before) else { return (planned.to_owned(), grace) };
    let at = at + SignedDuration::from_secs(grace - before);
    if at >= now { (seconds(at), grace) } else { (seconds(now), grace.min(1)) }
}

fn is_namespace(kind: &Kind) -> bool {
    &*kind.kind == "Namespace" && kind.group.is_empty()
}

fn is_pod(kind: &Kind) -> bool {
    &*kind.kind == "Pod" && kind.group.is_empty()
}

/// A definition stays until its instances are gone: who follows definitions takes the finalizer away.
fn definition_fate(old: &Object, now: Timestamp) -> Fate {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Fate::Stays(Box::new(crate::crd::begin_deletion(old, now)));
    }
    let kept = old["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if !kept {
        return Fate::Gone(Box::new(old.clone()));
    }
    // Only who asks again gives it a grace.
    let mut new = old.clone();
    new["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    if new == *old { Fate::Unchanged } else { Fate::Stays(Box::new(new)) }
}

/// How many seconds the object still has. Only pods that run on a node need any; `before` is what a pending delete
/// gave it.
fn grace(kind: &Kind, options: &DeleteOptions, old: &Object, pending: bool, before: Option<i64>) -> i64 {
    if !is_pod(kind) {
        return 0;
    }
    // Below zero means one second, as upstream.
    let second_at_least = |seconds: i64| if seconds < 0 { 1 } else { seconds };
    if pending {
        let before = before.map_or(0, second_at_least);
        return options.grace.map_or(before, |asked| second_at_least(asked).min(before));
    }
    let finished = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() || finished {
        return 0;
    }
    second_at_least(options.grace.or(old["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30))
}

/// The finalizers with those that the propagation policy adds or takes away.
fn finalizers(kind: &Kind, options: &DeleteOptions, old: &Object) -> Vec<String> {
    let current: Vec<String> = old["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    let own = current.iter().any(|f| f == FINALIZER_ORPHAN || f == FINALIZER_FOREGROUND);
    let Some(policy) = options.propagation.or(default_propagation(kind).filter(|_| !own)) else { return current };
    // Events and the like own nothing.
    let collected = &*kind.kind != "Event";
    let mut new: Vec<String> =
        current.into_iter().filter(|f| f != FINALIZER_ORPHAN && f != FINALIZER_FOREGROUND).collect();
    match policy {
        Propagation::Orphan if collected => new.push(FINALIZER_ORPHAN.into()),
        Propagation::Foreground if collected => new.push(FINALIZER_FOREGROUND.into()),
        _ => {}
    }
    new
}

/// What becomes of dependents of kinds that had none in their first versions.
fn default_propagation(kind: &Kind) -> Option<Propagation> {
    let orphans = matches!((&*kind.group, &*kind.kind), ("", "ReplicationController") | ("batch", "Job"));
    orphans.then_some(Propagation::Orphan)
}

/// Answers a delete of all that the selectors fit.
///
/// # Errors
/// Where the query makes no sense, or the first delete that fails.
pub async fn delete_collection(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    body: Bytes,
) -> Result<Response, Status> {
    let answer = answer(&context.accept, &context.query, kind)?;
    let (page, selection) = read::asked(app, context, kind)?;
    let options = DeleteOptions::of(&context.query, &context.content_type, &body)?;
    let warnings = warnings(kind, &options);
    let snapshot = read::snapshot(app, kind, &page).await?;
    let chosen = page.choose(app, context, kind, &snapshot, &selection).await?;
    let mut meta = chosen.meta(&snapshot, &selection, &page);
    let mut deleted = Vec::new();
    for record in chosen.records {
        let key = &record.key;
        let mut one = context.clone();
        one.info.namespace = key.namespace.to_string();
        one.info.name = key.name.to_string();
        let mut write = Write::new(app, &one, kind, "")?;
        write.options.dry_run |= options.dry_run;
        match delete_one(&write, &options, &key.name).await {
            Ok(_) => deleted.push(record),
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    fits(answer, kind, true)?;
    if kind.custom.is_some() && answer.form == Form::Object && meta["continue"].is_null() {
        meta["continue"] = "".into();
    }
    warned(Ok(read::respond(kind, deleted, &meta, answer).await), context, &warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> DeleteOptions {
        DeleteOptions::of(&Query::parse(text), "", b"").unwrap()
    }

    fn kind(resource: &str) -> Arc<Kind> {
        Arc::clone(knarr_schema::Registry::builtin().by_resource("", "v1", resource).unwrap())
    }

    #[test]
    fn pods_on_nodes_get_their_grace_and_it_only_shrinks() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}});
        let Fate::Stays(first) = fate(&kind("pods"), &options(""), &pod, Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!(first["metadata"]["deletionGracePeriodSeconds"], 30);
        assert!(matches!(
            fate(&kind("pods"), &options("gracePeriodSeconds=60"), &first, Timestamp::now()),
            Fate::Unchanged
        ));
        assert!(matches!(
            fate(&kind("pods"), &options("gracePeriodSeconds=0"), &first, Timestamp::now()),
            Fate::Passes(_)
        ));
    }

    #[test]
    fn a_definition_that_is_deleted_again_has_no_grace_left() {
        let definition = json!({"metadata": {"name": "d", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["customresourcecleanup.apiextensions.k8s.io"]}});
        let Fate::Stays(told) = definition_fate(&definition, Timestamp::now()) else {
            panic!("its resources are there")
        };
        assert_eq!(told["metadata"]["deletionGracePeriodSeconds"], 0);
        assert!(matches!(definition_fate(&told, Timestamp::now()), Fate::Unchanged));
    }

    #[test]
    fn a_pod_that_goes_at_once_is_told_of_first() {
        let fate = |pod: &Value| fate(&kind("pods"), &options(""), pod, Timestamp::UNIX_EPOCH);
        let Fate::Passes(marked) = fate(&json!({"metadata": {"name": "p", "generation": 1}, "spec": {}})) else {
            panic!("the pod runs nowhere")
        };
        let want = json!({"name": "p", "generation": 2, "deletionTimestamp": "1970-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 0});
        assert_eq!(marked["metadata"], want);
        assert!(matches!(fate(&marked), Fate::Gone(_)), "it was told of");
        let mut kept = marked.clone();
        kept["metadata"]["finalizers"] = json!(["a/b"]);
        assert!(matches!(fate(&kept), Fate::Unchanged), "somebody keeps it");
    }

    #[test]
    fn a_grace_that_is_cut_short_counts_from_its_beginning() {
        let kind = kind("pods");
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let pod = json!({
            "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 60},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Succeeded"},
        });
        let fate = |query: &str, now: &str| match fate(&kind, &options(query), &pod, at(now)) {
            Fate::Stays(pod) => {
                let metadata = &pod["metadata"];
                format!(
                    "{} {}",
                    metadata["deletionTimestamp"].as_str().unwrap(),
                    metadata["deletionGracePeriodSeconds"]
                )
            }
            Fate::Unchanged => "goes on".to_owned(),
            Fate::Passes(_) => "ends".to_owned(),
            Fate::Gone(_) => "gone".to_owned(),
        };
        for (query, now, want) in [
            ("", "2026-01-01T00:00:10Z", "goes on"),
            ("propagationPolicy=Foreground", "2026-01-01T00:00:10Z", "goes on"),
            ("gracePeriodSeconds=60", "2026-01-01T00:00:10Z", "goes on"),
            ("gracePeriodSeconds=20", "2026-01-01T00:00:10Z", "2026-01-01T00:00:20Z 20"),
            ("gracePeriodSeconds=20", "2026-01-01T00:00:30Z", "2026-01-01T00:00:30Z 1"),
            ("gracePeriodSeconds=-5", "2026-01-01T00:00:30Z", "2026-01-01T00:00:30Z 1"),
            ("gracePeriodSeconds=0", "2026-01-01T00:00:10Z", "ends"),
        ] {
            assert_eq!(fate(query, now), want, "{query} at {now}");
        }
    }

    #[test]
    fn propagation_policies_become_finalizers() {
        let object = json!({"metadata": {"name": "c", "finalizers": ["a/b"]}});
        let Fate::Stays(new) =
            fate(&kind("configmaps"), &options("propagationPolicy=Foreground"), &object, Timestamp::now())
        else {
            panic!()
        };
        assert_eq!(new["metadata"]["finalizers"], json!(["a/b", "foregroundDeletion"]));
        let plain = json!({"metadata": {"name": "c"}});
        assert!(matches!(
            fate(&kind("configmaps"), &options("propagationPolicy=Background"), &plain, Timestamp::now()),
            Fate::Gone(_)
        ));
    }

    #[test]
    fn a_namespace_waits_for_its_own_finalizers() {
        let namespace =
            json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Fate::Stays(mut new) = fate(&kind("namespaces"), &options(""), &namespace, Timestamp::now()) else {
            panic!()
        };
        assert_eq!(new["status"]["phase"], "Terminating");
        assert!(matches!(fate(&kind("namespaces"), &options(""), &new, Timestamp::now()), Fate::Unchanged));
        new["spec"]["finalizers"] = json!([]);
        assert!(matches!(fate(&kind("namespaces"), &options(""), &new, Timestamp::now()), Fate::Gone(_)));
    }
}
