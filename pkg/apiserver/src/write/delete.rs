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
use knarr_types::{ErrorList, FieldError, FieldPath, Key, Object, Status};
use serde_json::{Value, json};

use super::{Write, failed, seconds};
use crate::app::App;
use crate::body::{self, Response};
use crate::query::Query;
use crate::request::RequestContext;
use crate::selection::Selection;
use crate::serve_object;

/// What the client wants of a delete.
#[derive(Clone, Debug, Default)]
struct DeleteOptions {
    grace: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    propagation: Option<Propagation>,
    dry_run: bool,
}

/// What becomes of the dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl DeleteOptions {
    /// Reads the body, and the query where that says more.
    fn of(query: &Query, body: &[u8]) -> Result<Self, Status> {
        let document = if body.is_empty() { json!({}) } else { decode(body)? };
        let text = |name: &str| -> Option<String> {
            let sent = document[name].as_str().or(query.filled(name))?;
            Some(sent.to_owned())
        };
        let mut errors = ErrorList::new();
        let propagation = match text("propagationPolicy").as_deref() {
            None | Some("") => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&FieldPath::new("propagationPolicy"), other, &known));
                None
            }
        };
        let orphan = document["orphanDependents"].as_bool().or(query.get("orphanDependents").map(|o| o == "true"));
        if orphan.is_some() && propagation.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                &FieldPath::new("propagationPolicy"),
                json!(text("propagationPolicy")),
                why,
            ));
        }
        let dry = document["dryRun"].as_array().cloned().unwrap_or_default();
        let dry: Vec<String> =
            dry.iter().filter_map(Value::as_str).chain(query.all("dryRun")).map(str::to_owned).collect();
        for value in dry.iter().filter(|v| *v != "All" && !v.is_empty()) {
            errors.push(FieldError::not_supported(&FieldPath::new("dryRun"), value.as_str(), &["All"]));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let precondition = |name: &str| document["preconditions"][name].as_str().map(str::to_owned);
        Ok(Self {
            grace: match document["gracePeriodSeconds"].as_i64() {
                Some(seconds) => Some(seconds),
                None => query.number("gracePeriodSeconds")?,
            },
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            propagation: propagation.or(orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background })),
            dry_run: dry.iter().any(|v| v == "All"),
        })
    }
}

fn decode(body: &[u8]) -> Result<Value, Status> {
    let bad = |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    knarr_schema::decode::yaml::first_document(body)
        .map(|d| d.value)
        .or_else(|_| knarr_schema::decode::decode_any(body).map_err(|e| bad(e.to_string())))
        .and_then(|v| if v.is_object() { Ok(v) } else { Err(bad("the options must be an object".into())) })
}

/// Answers a delete.
///
/// # Errors
/// 404 where it is not there, 409 where it is not as the client said.
pub async fn delete(app: &App, context: &RequestContext, kind: &Arc<Kind>, body: Bytes) -> Result<Response, Status> {
    let mut write = Write::new(app, context, kind, "")?;
    let options = DeleteOptions::of(&context.query, &body)?;
    write.options.dry_run |= options.dry_run;
    let (record, gone) = delete_one(&write, &options, &context.info.name).await?;
    if gone && answers_status(kind) {
        let uid = serve_object::tree(kind, &record)["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let mut details = json!({"name": &*record.key.name, "kind": &*kind.resource, "uid": uid});
        if !kind.group.is_empty() {
            details["group"] = (*kind.group).into();
        }
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        return Ok(body::json(200, &status));
    }
    write.respond(200, &record, &[])
}

/// Most kinds answer a delete that is done with a Status; those with a grace answer with the object.
fn answers_status(kind: &Kind) -> bool {
    !(kind.group.is_empty()
        && matches!(
            &*kind.kind,
            "Pod"
                | "Service"
                | "ServiceAccount"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "ResourceQuota"
                | "PodTemplate"
        ))
}

/// What a delete makes of an object.
#[derive(Debug)]
enum Fate {
    Gone,
    /// It stays for a while, as this.
    Stays(Box<Object>),
    /// It is on its way already.
    Unchanged,
}

/// Deletes one object; gives its last state, and whether it is gone.
async fn delete_one(write: &Write<'_>, options: &DeleteOptions, name: &str) -> Result<(Arc<Record>, bool), Status> {
    let key = write.key(name);
    let not_found = || Status::not_found(&write.kind.id(), name);
    let decide = |record: &Record| -> Result<Fate, Status> {
        let old = serve_object::stored_tree(write.kind, record);
        check_preconditions(write.kind, options, &old, name)?;
        let request = write.admission(Operation::Delete, name, Some(&old));
        knarr_admission::validate(&request, None, write.app, &mut Vec::new())?;
        Ok(fate(write.kind, options, &old, write.now))
    };
    if write.options.dry_run {
        let record = write.app.store.get(&key).ok_or_else(not_found)?;
        let fate = decide(&record)?;
        return Ok((record, matches!(fate, Fate::Gone)));
    }
    let (mut gone, mut kept) = (false, None);
    let result = write
        .app
        .store
        .update(&key, &write.write_context(), |current| {
            let record = current.ok_or_else(not_found)?;
            Ok(match decide(record)? {
                Fate::Gone => {
                    gone = true;
                    Decision::Delete
                }
                Fate::Stays(object) => {
                    gone = false;
                    Decision::Put(serve_object::draft(&write.stored, &object))
                }
                Fate::Unchanged => {
                    kept = Some(Arc::clone(record));
                    Decision::Keep
                }
            })
        })
        .await;
    match result {
        Ok(applied) => {
            let record = applied.map(|a| a.record).or(kept).ok_or_else(not_found)?;
            Ok((record, gone))
        }
        Err(UpdateError::Refused(status)) => Err(status),
        Err(UpdateError::Store(error)) => Err(failed(write.kind, &key, &error)),
    }
}

fn check_preconditions(kind: &Kind, options: &DeleteOptions, old: &Object, name: &str) -> Result<(), Status> {
    let check = |wanted: &Option<String>, field: &str, label: &str, words: &str| {
        let actual = old["metadata"][field].as_str().unwrap_or_default();
        match wanted {
            Some(wanted) if wanted != actual => {
                let why =
                    format!("Precondition failed: {label} in precondition: {wanted}, {words} in object meta: {actual}");
                Err(Status::conflict(&kind.id(), name, &why))
            }
            _ => Ok(()),
        }
    };
    check(&options.uid, "uid", "UID", "UID")?;
    check(&options.resource_version, "resourceVersion", "ResourceVersion", "ResourceVersion")
}

/// What the options make of the object. Pure.
fn fate(kind: &Kind, options: &DeleteOptions, old: &Object, now: Timestamp) -> Fate {
    let mut new = old.clone();
    let grace = grace(kind, options, old);
    let finalizers = finalizers(kind, options, old);
    let metadata = &mut new["metadata"];
    let pending = !metadata["deletionTimestamp"].is_null();
    let before = metadata["deletionGracePeriodSeconds"].as_i64();
    metadata["finalizers"] = json!(finalizers);
    if finalizers.is_empty()
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.remove("finalizers");
    }
    let waits_for_spec = &*kind.kind == "Namespace" && !old["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if finalizers.is_empty() && grace == 0 && !waits_for_spec {
        return Fate::Gone;
    }
    // A grace can be cut short, never made longer.
    let shorter = before.is_none_or(|b| grace < b);
    if !pending || shorter {
        let at = now + SignedDuration::from_secs(grace);
        metadata["deletionTimestamp"] = seconds(at).into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
        if kind.rules.has_generation && !pending {
            metadata["generation"] = (metadata["generation"].as_i64().unwrap_or_default() + 1).into();
        }
    }
    if &*kind.kind == "Namespace" {
        new["status"]["phase"] = "Terminating".into();
    }
    if new == *old { Fate::Unchanged } else { Fate::Stays(Box::new(new)) }
}

/// How many seconds the object still has. Only pods that run on a node need any.
fn grace(kind: &Kind, options: &DeleteOptions, old: &Object) -> i64 {
    if &*kind.kind != "Pod" || !kind.group.is_empty() {
        return 0;
    }
    let finished = matches!(old["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if old["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() || finished {
        return 0;
    }
    let asked = options.grace.or(old["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
    // Below zero means one second, as upstream.
    if asked < 0 { 1 } else { asked }
}

/// The finalizers with those that the propagation policy adds or takes away.
fn finalizers(kind: &Kind, options: &DeleteOptions, old: &Object) -> Vec<String> {
    let current: Vec<String> = old["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect();
    let Some(policy) = options.propagation else { return current };
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
    let mut options = DeleteOptions::of(&context.query, &body)?;
    options.uid = None;
    context.query.number("limit")?;
    let snapshot = app.store.snapshot(&kind.storage);
    let selection = Selection::of(context, kind, &snapshot)?;
    let chosen: Vec<Key> =
        snapshot.list(&selection.scope, None).filter(|r| selection.contains(r)).map(|r| r.key.clone()).collect();
    let mut items = Vec::new();
    for key in chosen {
        let mut one = context.clone();
        one.info.namespace = key.namespace.to_string();
        one.info.name = key.name.to_string();
        let mut write = Write::new(app, &one, kind, "")?;
        write.options.dry_run |= options.dry_run;
        match delete_one(&write, &options, &key.name).await {
            Ok((record, _)) => {
                let mut tree = serve_object::tree(kind, &record);
                tree.as_object_mut().map(|t| (t.remove("apiVersion"), t.remove("kind")));
                items.push(tree);
            }
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let list = json!({
        "kind": &*kind.list_kind, "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": snapshot.revision().to_string()}, "items": items,
    });
    Ok(body::json(200, &list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> DeleteOptions {
        DeleteOptions::of(&Query::parse(text), b"").unwrap()
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
        assert!(matches!(fate(&kind("pods"), &options("gracePeriodSeconds=0"), &first, Timestamp::now()), Fate::Gone));
        let waiting = json!({"metadata": {"name": "p"}, "spec": {}});
        assert!(matches!(fate(&kind("pods"), &options(""), &waiting, Timestamp::now()), Fate::Gone));
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
            Fate::Gone
        ));
        assert_eq!(DeleteOptions::of(&Query::parse("propagationPolicy=x"), b"").unwrap_err().code, 422);
    }

    #[test]
    fn a_namespace_waits_for_its_own_finalizers() {
        let namespace =
            json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Fate::Stays(new) = fate(&kind("namespaces"), &options(""), &namespace, Timestamp::now()) else { panic!() };
        assert_eq!(new["status"]["phase"], "Terminating");
    }
}
