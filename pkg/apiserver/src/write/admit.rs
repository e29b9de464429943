// SPDX-License-Identifier: Apache-2.0
//! Admission of a write: the plugins of this process, then policies, then those whom webhooks ask.

use knarr_admission::policy;
use knarr_admission::{Operation, Request, webhooks};
use knarr_schema::Kind;
use knarr_types::tree::{Value, json};
use knarr_types::{Object, Status};

use super::scale::{scale_of, scaled};
use super::{Write, new_uid};
use crate::app::App;

/// Lets all who may change the object do so; policies and webhooks where it is `seen` by them
/// ([`knarr_admission::is_seen`]). True where one of those did: they send objects as clients do, which get their
/// defaults.
pub(super) async fn mutate(
    write: &Write<'_>,
    request: &Request<'_>,
    object: &mut Object,
    seen: bool,
    warnings: &mut Vec<String>,
) -> Result<bool, Status> {
    let plugins = |object: &mut Object| knarr_admission::mutate(request, object, write.app);
    plugins(object)?;
    if !seen {
        return Ok(false);
    }
    let options = options(write, request.operation);
    let Some(scale) = Scale::of(write, request)? else {
        return ask_to_change(write.app, request, &options, object, warnings, plugins).await;
    };
    let (request, mut shown) = (scale.request(request), scale_of(write.kind, object));
    // The plugins know workloads, not their scale.
    if ask_to_change(write.app, &request, &options, &mut shown, warnings, |_| Ok(())).await? {
        *object = scaled(write.kind, object, &shown, false)?;
    }
    Ok(false)
}

/// Lets policies and webhooks change an object. Where one did, `plugins` have their turn again, and then those of them
/// that want it. Gives whether one did.
pub(crate) async fn ask_to_change(
    app: &App,
    request: &Request<'_>,
    options: &Value,
    object: &mut Object,
    warnings: &mut Vec<String>,
    plugins: impl Fn(&mut Object) -> Result<(), Status>,
) -> Result<bool, Status> {
    let policies = policy::mutate(request, object, app).await?;
    let observe = |asked: &webhooks::Asked<'_>| app.metrics.parts.webhook(asked);
    let context = webhooks::Context { options, lookup: app, uid: new_uid, observe: &observe };
    let hooks = app.webhooks.mutate(&context, request, object, warnings).await?;
    let changed = policies.changed || hooks.changed;
    if !policies.repeats && !hooks.changed {
        return Ok(changed);
    }
    plugins(object)?;
    let again = policy::repeat(request, object, app, policies).await?;
    app.webhooks.repeat(&context, request, object, warnings, hooks).await?;
    Ok(changed || again)
}

/// Asks webhooks that change objects about one that is deleted.
pub(super) async fn mutate_deleted(
    write: &Write<'_>,
    request: &Request<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let options = options(write, request.operation);
    let observe = |asked: &webhooks::Asked<'_>| write.app.metrics.parts.webhook(asked);
    let context = webhooks::Context { options: &options, lookup: write.app, uid: new_uid, observe: &observe };
    write.app.webhooks.mutate_deleted(&context, request, warnings).await
}

/// Asks all who may refuse the write; policies and webhooks where it is `seen` by them.
pub(super) async fn validate(
    write: &Write<'_>,
    request: &Request<'_>,
    object: Option<&Object>,
    seen: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    knarr_admission::validate(request, object, write.app, warnings)?;
    if !seen {
        return Ok(());
    }
    let options = options(write, request.operation);
    match Scale::of(write, request)? {
        None => ask_to_allow(write.app, request, &options, object, warnings).await,
        Some(scale) => {
            let shown = object.map(|object| scale_of(write.kind, object));
            ask_to_allow(write.app, &scale.request(request), &options, shown.as_ref(), warnings).await
        }
    }
}

/// Asks the policies and webhooks that may refuse.
pub(crate) async fn ask_to_allow(
    app: &App,
    request: &Request<'_>,
    options: &Value,
    object: Option<&Object>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    policy::validate(request, object, app, warnings).await?;
    let observe = |asked: &webhooks::Asked<'_>| app.metrics.parts.webhook(asked);
    let context = webhooks::Context { options, lookup: app, uid: new_uid, observe: &observe };
    app.webhooks.validate(&context, request, object, warnings).await
}

/// What policies and webhooks see of a write below `scale`: no workload, but its scale.
struct Scale {
    kind: Kind,
    old: Option<Object>,
}

impl Scale {
    /// `None` for all other writes.
    fn of(write: &Write<'_>, request: &Request<'_>) -> Result<Option<Self>, Status> {
        if write.subresource != "scale" {
            return Ok(None);
        }
        let kind = Kind::of_body("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("Scale is unknown"))?;
        Ok(Some(Self { kind, old: request.old.map(|old| scale_of(write.kind, old)) }))
    }

    fn request<'a>(&'a self, request: &Request<'a>) -> Request<'a> {
        Request { body: Some(&self.kind), old: self.old.as_ref(), ..*request }
    }
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
