// SPDX-License-Identifier: Apache-2.0
//! Creates.

use std::sync::Arc;

use bytes::Bytes;
use knarr_admission::Operation;
use knarr_schema::managed_fields::folded;
use knarr_schema::{Kind, decode_as, decode_templated, rules};
use knarr_store::{Change, Precondition, Proposal, ProposeError};
use knarr_types::tree::{Map, Value};
use knarr_types::{Object, Reason, Status};

use super::outcome::taken;
use super::terms::{self, Terms};
use super::{Decode, Write, admit, allocation, failed, new_uid, seconds};
use crate::app::App;
use crate::body::Response;
use crate::negotiate::body_media;
use crate::request::RequestContext;
use crate::serve_object;

/// How often a generated name may be taken before the client is told.
const NAME_ATTEMPTS: usize = 8;
/// The letters of generated names, as upstream's: none that make words.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The longest prefix of a generated name.
const PREFIX_MAX: usize = 58;

/// Answers a create.
///
/// # Errors
/// What is wrong with the object, or why it cannot be kept.
pub async fn create(app: &App, context: &RequestContext, kind: &Arc<Kind>, body: Bytes) -> Result<Response, Status> {
    body_media(&context.content_type)?;
    let mut write = Write::new(app, context, kind, "")?;
    write.shares_labels = is_job(kind) && has_no_labels(&write.read(&body, decode_as)?.0);
    let (object, mut warnings) = sent(&write, &body, decode_templated)?;
    let prefix = name_prefix(&object);
    let mut first = Some(object);
    // Nearly every create is committed at the first attempt: what others need is read again.
    let mut object = || first.take().map_or_else(|| Ok(sent(&write, &body, decode_as)?.0), Ok);
    let Some(prefix) = prefix else { return commit_new(&write, object, &mut warnings).await };
    for attempt in 1.. {
        let name = generate(&prefix);
        let named = || {
            let mut named = object()?;
            named["metadata"]["name"] = name.as_str().into();
            Ok(named)
        };
        match commit_new(&write, named, &mut warnings).await {
            Err(status) if status.code == 409 && attempt < NAME_ATTEMPTS => {}
            other => return other,
        }
    }
    Err(Status::internal("unreachable: attempts are bounded"))
}

/// Jobs without labels have those of their pods: upstream has one map for both then, into which it writes how the pods
/// of the job are told apart.
pub(super) fn is_job(kind: &Kind) -> bool {
    &*kind.kind == "Job" && &*kind.group == "batch" && kind.custom.is_none()
}

/// Whether what was sent says nothing of labels.
pub(super) fn has_no_labels(sent: &Object) -> bool {
    sent["metadata"]["labels"].as_object().is_none_or(Map::is_empty)
}

/// The object that a client wants made, in the stored version, with what it should know.
fn sent(write: &Write<'_>, body: &[u8], decode: Decode) -> Result<(Object, Vec<String>), Status> {
    let kind = write.kind;
    let (mut object, warnings) = write.decode(body, decode)?;
    write.place(&mut object, "").map_err(|status| status.with_warnings(&warnings))?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    refuse_terminating(kind, name).map_err(|status| status.with_warnings(&warnings))?;
    if &*kind.kind == "LimitRange" && object["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
        object["metadata"]["name"] = new_uid().into();
    }
    Ok((object, warnings))
}

/// Nothing is made any more of a kind whose definition is being deleted.
pub(super) fn refuse_terminating(kind: &Kind, name: &str) -> Result<(), Status> {
    if kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(&kind.id(), name, why));
    }
    Ok(())
}

/// The `generateName` of an object without a name.
fn name_prefix(object: &Object) -> Option<String> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("name").is_empty() && !text("generateName").is_empty()).then(|| text("generateName").to_owned())
}

fn generate(prefix: &str) -> String {
    let end = prefix.char_indices().map(|(i, _)| i).nth(PREFIX_MAX).unwrap_or(prefix.len());
    let letters = std::iter::repeat_with(|| char::from(NAME_LETTERS[fastrand::usize(..NAME_LETTERS.len())]));
    prefix[..end].chars().chain(letters.take(5)).collect()
}

/// Makes an object with a name the newest of the cluster. `sent` gives it as it was decoded, once for each
/// attempt.
pub(super) async fn commit_new(
    write: &Write<'_>,
    mut sent: impl FnMut() -> Result<Object, Status> + Send,
    warnings: &mut Vec<String>,
) -> Result<Response, Status> {
    for attempt in 1.. {
        let mut said = Vec::new();
        let mut object = sent()?;
        let version = object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("resourceVersion"));
        let finished = finish(write, &mut object, &mut said, &mut sent).await;
        let told = |status: Status, said: &[String]| status.with_warnings(said).with_warnings(warnings);
        let terms = finished.map_err(|status| told(status, &said))?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let key = write.key(name);
        if write.options.dry_run {
            if let Some(there) = write.app.store.get(&key) {
                return Err(told(taken(&write.kind.id(), &there, has_prefix(&object)), &said));
            }
            warnings.append(&mut said);
            let mut object = write.rehearsed(object).await?;
            if write.kind.custom.is_some() {
                write.kind.default(&mut object);
            }
            if let Some(version) = version {
                object["metadata"]["resourceVersion"] = version;
            }
            return write.respond_dry(201, &object, warnings);
        }
        if version.as_ref().and_then(Value::as_str).is_some_and(|text| text.parse::<u64>().is_ok_and(|v| v != 0)) {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(told(Status::new(500, Reason::Unknown, message), &said));
        }
        let mut draft = write.draft(&object).await?;
        if write.stored.rules.changes_when_read {
            draft = serve_object::unread(draft);
        }
        let has_prefix = has_prefix(&object);
        drop(object); // its memory serves the next request while this one waits
        let own = Change::Put(key.clone(), draft);
        let proposal = Proposal {
            preconditions: [vec![Precondition::Absent(key.clone())], terms.preconditions].concat(),
            changes: std::iter::once(own).chain(terms.changes).collect(),
            based_on: None,
            context: write.write_context(),
        };
        match write.app.store.propose(proposal).await {
            Ok(committed) => {
                let applied = committed.applied.first();
                let record = applied.ok_or_else(|| Status::internal("the store committed nothing"))?;
                warnings.append(&mut said);
                return write.respond(201, &record.record, warnings).await;
            }
            // What the object counts on was written since it was looked at: look again.
            Err(error) if terms::is_stale(&error, &key) && attempt < allocation::ATTEMPTS => {}
            Err(ProposeError::AlreadyExists(there)) if there.key == key => {
                return Err(told(taken(&write.kind.id(), &there, has_prefix), &said));
            }
            Err(error) => return Err(told(failed(write.kind, &key, &error), &said)),
        }
    }
    Err(Status::internal("unreachable: attempts are bounded"))
}

/// Whether the object may have its name from a prefix.
fn has_prefix(object: &Object) -> bool {
    object["metadata"]["generateName"].as_str().is_some_and(|prefix| !prefix.is_empty())
}

/// All that happens to a new object before it is stored; gives what it is to be stored with. `sent` gives it as
/// it was decoded.
async fn finish(
    write: &Write<'_>,
    object: &mut Object,
    warnings: &mut Vec<String>,
    sent: &mut (dyn FnMut() -> Result<Object, Status> + Send),
) -> Result<Terms, Status> {
    let (kind, stored) = (write.kind, &*write.stored);
    let sent_managers = object["metadata"].get("managedFields").cloned();
    rules::metadata::prepare_create(object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        // Nobody who is asked sees them, or has a say in them.
        metadata.remove("uid");
        metadata.remove("creationTimestamp");
    }
    let mut loose = stored.normalize_sent(object);
    if !write.has_tracked() {
        if let Some(managers) = sent_managers {
            object["metadata"]["managedFields"] = managers;
        }
        write.track(None, object);
    } else if let Some(managers) = sent_managers {
        object["metadata"]["managedFields"] = managers;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let request = write.admission(Operation::Create, &name, None);
    let seen = knarr_admission::is_seen(&request, write.app);
    if seen {
        folded::unfold(object);
    }
    let is_changed = admit::mutate(write, &request, object, seen, warnings).await?;
    if is_changed {
        stored.default(object);
        write.place(object, "")?;
    }
    object["metadata"]["uid"] = new_uid().into();
    object["metadata"]["creationTimestamp"] = seconds(write.now).into();
    crate::escalation::check(write, object, None)?;
    let early = stored.early_warnings(object);
    let shares_labels = write.shares_labels && !is_changed && !has_no_labels(object);
    stored.prepare_create(object);
    if shares_labels {
        object["metadata"]["labels"] = object["spec"]["template"]["metadata"]["labels"].clone();
    }
    knarr_admission::set_requester(&request, object);
    warnings.extend(rules::metadata::deduplicate_owners(object));
    warnings.extend(early);
    if is_changed {
        loose |= stored.normalize_sent(object);
    }
    debug_assert!(stored.is_normal(object), "the plugins and the kind's rules keep the one form: {object:?}");
    if !loose {
        stored.seal(object);
    }
    allocation::foresee(write, object, None)?;
    let mut errors = write.check_create(object);
    let mut refused = knarr_admission::devices::faults(&request, object, write.app);
    if !errors.is_empty() || !refused.is_empty() {
        errors = write.shown_as_sent(errors, object, sent, |object| write.check_create(object));
        errors.splice(0..0, refused.drain(..));
        return Err(super::invalid(kind, &name, &errors));
    }
    if loose {
        stored.normalize(object);
    }
    stored.complete(object);
    warnings.extend(stored.warnings(object, None));
    admit::validate(write, &request, Some(object), seen, warnings).await?;
    Terms::of(write, &request, object, None).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_keep_their_prefix_and_fit() {
        let name = generate("web-");
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert_eq!(generate(&"a".repeat(100)).len(), 63);
    }
}
