// SPDX-License-Identifier: Apache-2.0
//! Admission of a write: the plugins of this process, then policies, then those whom webhooks ask.

use knarr_admission::policy::{self, Pass};
use knarr_admission::{Operation, Request, webhooks};
use knarr_types::{Object, Status};
use serde_json::{Value, json};

use super::{Write, new_uid};

/// Lets all who may change the object do so. True where a policy or a webhook did: they send objects as
/// clients do, which get their defaults.
pub(super) async fn mutate(
    write: &Write<'_>,
    request: &Request<'_>,
    object: &mut Object,
    warnings: &mut Vec<String>,
) -> Result<bool, Status> {
    let plugins =
        |object: &mut Object| knarr_admission::mutate(request, object, write.app, &write.app.settings.admission);
    let policies = |object: &mut Object, pass: Pass| {
        let changed = policy::mutate(request, object, write.app, pass)?;
        if changed {
            plugins(object)?;
        }
        Ok(changed)
    };
    plugins(object)?;
    let changed = policies(object, Pass::First)?;
    let redo = |object: &mut Object| plugins(object).and_then(|()| policies(object, Pass::Again)).map(drop);
    let options = options(write, request.operation);
    let context = context(write, &options);
    Ok(write.app.webhooks.mutate(&context, request, object, warnings, redo).await? || changed)
}

/// Asks all who may refuse the write.
pub(super) async fn validate(
    write: &Write<'_>,
    request: &Request<'_>,
    object: Option<&Object>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    knarr_admission::validate(request, object, write.app, warnings)?;
    policy::validate(request, object, write.app, warnings)?;
    let options = options(write, request.operation);
    write.app.webhooks.validate(&context(write, &options), request, object, warnings).await
}

fn context<'a>(write: &'a Write<'_>, options: &'a Value) -> webhooks::Context<'a> {
    webhooks::Context { kind: write.kind, options, lookup: write.app, deadline: write.context.deadline, uid: new_uid }
}

/// What the client said about the write beside the object.
fn options(write: &Write<'_>, operation: Operation) -> Value {
    let kind = match (operation, write.context.info.verb) {
        (Operation::Delete, _) => "DeleteOptions",
        (_, "patch") => "PatchOptions",
        (Operation::Create, _) => "CreateOptions",
        _ => "UpdateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if !write.options.manager.is_empty() {
        options["fieldManager"] = write.options.manager.clone().into();
    }
    if write.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if let Some(validation) = write.context.query.filled("fieldValidation") {
        options["fieldValidation"] = validation.into();
    }
    if write.options.force {
        options["force"] = true.into();
    }
    options
}
