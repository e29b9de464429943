// SPDX-License-Identifier: Apache-2.0
//! Patches of four kinds, server-side apply among them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use knarr_schema::apply::apply;
use knarr_schema::convert;
use knarr_schema::decode::{self, PatchedFault};
use knarr_schema::encode::{Opened, as_merged, as_patched};
use knarr_schema::field_table::Type;
use knarr_schema::managed_fields::folded;
use knarr_schema::patch::{
    self, PatchError, check_json_patch, json_patch, merge_patch, restore_fault, restore_numbers, spent_patch,
    strategic_merge_patch,
};
use knarr_schema::{FieldValidation, Kind};
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Reason, Status};

use super::update::{check_version, commit, may_create};
use super::{Write, create};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::request_body::aside;

/// What a patch is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Answers a patch of the object, or of its status.
///
/// # Errors
/// What is wrong with the patch or with what it makes of the object.
pub async fn patch(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    subresource: &str,
    body: Bytes,
) -> Result<Response, Status> {
    if kind.custom.is_some() {
        check_custom_form(&context.content_type)?;
    }
    let write = Write::new(app, context, kind, subresource)?;
    let key = write.key(&context.info.name);
    match form(&context.content_type)? {
        Form::Apply => apply_patch(write, &body).await,
        form => {
            // Nobody looks into a patch of what is not there.
            if app.store.get(&key).is_none() {
                return Err(Status::not_found(&kind.id(), &context.info.name));
            }
            let document = Document::read(form, &body, write.options.validation)?;
            commit(&write, &key, Vec::new(), |old, warnings| patched(&write, &document, old, warnings)).await
        }
    }
}

fn form(content_type: &str) -> Result<Form, Status> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Form::Json),
        "application/merge-patch+json" => Ok(Form::Merge),
        "application/strategic-merge-patch+json" => Ok(Form::Strategic),
        "application/apply-patch+yaml" => Ok(Form::Apply),
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                           application/json-patch+json, application/merge-patch+json, \
                           application/strategic-merge-patch+json, application/apply-patch+yaml";
            Err(Status::new(415, Reason::UnsupportedMediaType, message))
        }
    }
}

/// A custom object's lists have no strategies.
pub(super) fn check_custom_form(content_type: &str) -> Result<(), Status> {
    if form(content_type).is_ok_and(|form| form != Form::Strategic) {
        return Ok(());
    }
    let message = "the body of the request was in an unknown format - accepted media types include: \
                   application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    Err(Status::new(415, Reason::UnsupportedMediaType, message))
}

/// A patch that is no apply, read.
pub(super) struct Document {
    form: Form,
    value: Value,
    text: Bytes,
    /// What came twice in it, or is no member of an operation.
    faults: Vec<String>,
    /// It may read or change `metadata.managedFields`.
    reaches_owners: bool,
}

impl Document {
    /// Reads a body of that media type.
    ///
    /// # Errors
    /// Where it is no JSON, or the media type is none of patches.
    pub(super) fn of(content_type: &str, body: &Bytes, validation: FieldValidation) -> Result<Self, Status> {
        Self::read(form(content_type)?, body, validation)
    }

    fn read(form: Form, body: &Bytes, validation: FieldValidation) -> Result<Self, Status> {
        let strict = validation != FieldValidation::Ignore;
        let (value, mut faults) =
            aside(body, || decode::decode_strictly(body, Value::Number)).map_err(|error| match (form, strict) {
                (Form::Json | Form::Merge, true) => Status::bad_request(format!("error decoding patch: {error}")),
                (Form::Merge, false) => Status::bad_request("Invalid JSON Patch"),
                _ => Status::bad_request(error.to_string()),
            })?;
        if form == Form::Json && strict {
            faults.extend(check_json_patch(&value).map_err(|error| error.to_status())?);
            faults.iter_mut().for_each(|fault| fault.insert_str(0, "json patch "));
        }
        let reaches_owners = reaches_owners(&value);
        Ok(Self { form, value, text: body.clone(), faults, reaches_owners })
    }

    /// What the patch makes of an object, and what to warn of.
    ///
    /// # Errors
    /// Where it does not apply, or the result is no object of the kind.
    pub(super) fn apply(
        &self,
        app: &App,
        kind: &Kind,
        object: &Object,
        validation: FieldValidation,
    ) -> Result<(Object, Vec<String>), Status> {
        let ty = kind.ty.get();
        let object = &*if self.reaches_owners { folded::unfolded(object) } else { Cow::Borrowed(object) };
        let lenient = validation == FieldValidation::Ignore;
        let mut result = self.applied(object, ty, lenient)?;
        let owners = folded::take_folded(&mut result).filter(|_| !self.reaches_owners);
        if self.form == Form::Strategic {
            if let Some(why) = restore_fault(&result, ty) {
                return Err(self.unreadable(kind, object, &result, &why));
            }
            restore_numbers(&mut result, &self.value, ty);
            // Nobody asks what it says that it is: the struct that it becomes is known.
            result["apiVersion"] = kind.api_version().into();
            result["kind"] = (*kind.kind).into();
        }
        let registry = app.registry.load();
        let decoded = decode::decode_patched(kind, &registry, result, &self.faults, validation);
        let (mut new, warnings) = decoded.map_err(|fault| match fault {
            PatchedFault::Refused(status) => status,
            PatchedFault::Unreadable(why) => {
                let object = folded::unfolded(object);
                match self.applied(&object, ty, lenient) {
                    Ok(result) => self.unreadable(kind, &object, &result, &why),
                    Err(status) => status,
                }
            }
        })?;
        folded::put_folded(&mut new, owners);
        Ok((new, warnings))
    }

    fn applied(&self, object: &Object, ty: &Type, lenient: bool) -> Result<Object, Status> {
        let object = object.clone();
        let result = match self.form {
            Form::Json => json_patch(object, &self.value),
            // Lists replace all; the strict decoder would not have let them through.
            Form::Merge if lenient && self.value.is_array() => return Ok(self.value.clone()),
            Form::Merge => merge_patch(object, &self.value),
            _ => strategic_merge_patch(object, &self.value, ty),
        };
        result.map_err(|error| match error {
            PatchError::WrongType(_) if lenient => Status::bad_request("Invalid JSON Patch"),
            error => error.to_status(),
        })
    }

    /// Upstream shows the patch where it is strategic, and its result where not.
    fn unreadable(&self, kind: &Kind, before: &Object, after: &Object, why: &str) -> Status {
        let shown = match self.form {
            Form::Json | Form::Merge if !after.is_object() => after.to_string(),
            Form::Json => {
                let opened = Opened::by_operations(&String::from_utf8_lossy(&self.text));
                as_patched(before, after, kind.ty.get(), &opened)
            }
            Form::Merge => {
                let text = serde_json::from_slice(&self.text);
                text.map_or_else(|_| after.to_string(), |patch| as_merged(before, patch, kind.ty.get()))
            }
            _ => patch::printed(&spent_patch(before, &self.value, kind.ty.get())),
        };
        let why = match self.form {
            Form::Json | Form::Merge => decode::as_written(why, &self.text),
            _ => why.to_owned(),
        };
        let error = FieldError::invalid(&FieldPath::new("patch"), shown, why);
        Status::invalid("", "", "", &ErrorList::from([error]))
    }
}

/// Whether a patch names the owners of fields, or by a JSON pointer what they are in.
fn reaches_owners(patch: &Value) -> bool {
    match patch {
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains("managedFields") || reaches_owners(value))
        }
        Value::Array(items) => items.iter().any(reaches_owners),
        Value::String(text) => text.contains("managedFields") || matches!(text.as_str(), "" | "/metadata"),
        _ => false,
    }
}

/// The object as the patch makes it, in the stored version.
fn patched(write: &Write<'_>, document: &Document, old: &Object, warnings: &mut Vec<String>) -> Result<Object, Status> {
    let served = if convert::is_converted(write.kind) {
        let mut served = old.clone();
        convert::from_storage(write.kind, &mut served);
        Cow::Owned(served)
    } else {
        Cow::Borrowed(old)
    };
    let (mut new, said) = document.apply(write.app, write.kind, &served, write.options.validation)?;
    warnings.extend(said);
    convert::to_storage(write.kind, &mut new);
    write.stored.default(&mut new);
    write.place(&mut new, &write.context.info.name)?;
    check_version(write, &new, old)?;
    Ok(new)
}

async fn apply_patch(mut write: Write<'_>, body: &Bytes) -> Result<Response, Status> {
    let (config, twice) = configuration(body)?;
    write.shares_labels = create::is_job(write.kind) && create::has_no_labels(&config);
    let write = &write;
    let name = &write.context.info.name;
    let key = write.key(name);
    let api_version = write.kind.api_version();
    let ty = write.kind.ty.get();
    let applied = |live: Option<&Object>| {
        let live = live.map(|stored| {
            let mut live = stored.clone();
            convert::from_storage(write.kind, &mut live);
            live
        });
        let manager = write.manager(&api_version);
        let mut new = apply(live.as_ref(), &config, ty, &write.kind.kind, &manager, write.options.force, write.now)
            .map_err(|e| e.to_status())?;
        if write.kind.custom.is_none() {
            restore_numbers(&mut new, &config, ty);
        }
        new["apiVersion"] = api_version.clone().into();
        new["kind"] = write.kind.kind.to_string().into();
        convert::to_storage(write.kind, &mut new);
        if let Some(custom) = &write.kind.custom {
            // Types for apply take more than the schema does. What is unknown goes without a word.
            let prunes = custom.coerce_applied(&mut new).map_err(Status::bad_request)?;
            write.prunes.store(prunes, Ordering::Relaxed);
        }
        write.kind.default(&mut new);
        Ok::<_, Status>((new, twice_applied(&twice, write.options.validation)?))
    };
    if write.app.store.get(&key).is_none() {
        if !write.subresource.is_empty() {
            return Err(Status::not_found(&write.kind.id(), name));
        }
        may_create(write)?;
        create::refuse_terminating(write.kind, name)?;
        let (mut new, mut warnings) = applied(None)?;
        if let Some(uid) = new["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(&write.kind.id(), name, &why));
        }
        write.place(&mut new, name)?;
        // Whatever revision it names, nothing of it is there.
        if let Some(metadata) = new["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        return create::commit_new(write, || Ok(new.clone()), &mut warnings).await;
    }
    commit(write, &key, Vec::new(), |old, said| {
        let (mut new, warnings) = applied(Some(old))?;
        said.extend(warnings);
        write.place(&mut new, name)?;
        check_version(write, &config, old).or_else(|status| if status.code == 422 { Ok(()) } else { Err(status) })?;
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        Ok(new)
    })
    .await
}

/// What to warn of where keys of a configuration come twice.
///
/// # Errors
/// 400 where that is not to be.
pub(super) fn twice_applied(twice: &Option<String>, validation: FieldValidation) -> Result<Vec<String>, Status> {
    let Some(twice) = twice.as_ref().filter(|_| validation != FieldValidation::Ignore) else { return Ok(Vec::new()) };
    let why = format!("error converting YAML to JSON: {twice}");
    match validation {
        FieldValidation::Strict => Err(Status::bad_request(format!("error strict decoding YAML: {why}"))),
        _ => Ok(decode::warnings(vec![why])),
    }
}

/// The body of an apply: YAML, of which JSON is a part; and the keys that come twice in it.
///
/// # Errors
/// Where it is no object.
pub(super) fn configuration(body: &[u8]) -> Result<(Object, Option<String>), Status> {
    let unreadable = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let document = aside(body, || decode::yaml::first_document(body))
        .map_err(|why| unreadable(format!("error converting YAML to JSON: {why}")))?;
    match document.value {
        Value::Null => Ok((Value::Object(knarr_types::tree::Map::new()), None)),
        Value::Object(fields) => Ok((Value::Object(fields), document.duplicates)),
        other => Err(unreadable(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type \
             map[string]interface {{}}",
            patch::json_kind(&other)
        ))),
    }
}

/// Whether a patch of that media type is a server-side apply.
pub(super) fn is_apply(content_type: &str) -> bool {
    form(content_type) == Ok(Form::Apply)
}

impl Write<'_> {
    /// Whether this write is a server-side apply or that of a scale, which have tracked their owners already.
    pub(super) fn has_tracked(&self) -> bool {
        let applies = self.context.info.verb == "patch" && is_apply(&self.context.content_type);
        applies || self.subresource == "scale"
    }
}
