// SPDX-License-Identifier: Apache-2.0
//! Objects in the versions in which policies and webhooks want to see them, and back.
//!
//! A rule may name another version of a kind than the request is made in: who is asked then gets the object
//! in that version. Plugins of this process see objects as writes have them: built-in ones in the version
//! that is stored, custom ones in that of the request.

use std::sync::Arc;

use knarr_schema::{Kind, convert};
use knarr_types::tree::Value;
use knarr_types::{Object, Status};

use crate::{Lookup, Request};

/// What a request is about, in one version of its kind.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The resource in that version.
    pub kind: Arc<Kind>,
    /// The object as it would be; none where it is deleted.
    pub object: Option<Object>,
    /// The object as it is.
    pub old: Option<Object>,
}

impl View {
    /// The request as `kind`, one of the versions of its own, has it.
    ///
    /// # Errors
    /// Where an object cannot be converted.
    pub(crate) async fn of(
        request: &Request<'_>,
        kind: &Arc<Kind>,
        object: Option<&Object>,
        lookup: &dyn Lookup,
    ) -> Result<Self, Status> {
        let mut view = Self { kind: Arc::clone(kind), object: None, old: None };
        if let Some(object) = object {
            view.object = Some(shown(request, kind, object, lookup).await?);
        }
        if let Some(old) = request.old {
            view.old = Some(shown(request, kind, old, lookup).await?);
        }
        Ok(view)
    }

    /// The views of a request in each of these versions, in the order in which they are named first.
    ///
    /// # Errors
    /// As [`View::of`].
    pub(crate) async fn all(
        request: &Request<'_>,
        kinds: impl Iterator<Item = &Arc<Kind>>,
        object: Option<&Object>,
        lookup: &dyn Lookup,
    ) -> Vec<(Arc<Kind>, Result<Self, Status>)> {
        let mut made: Vec<(Arc<Kind>, _)> = Vec::new();
        for kind in kinds {
            if !made.iter().any(|(known, _)| Arc::ptr_eq(known, kind)) {
                made.push((Arc::clone(kind), Self::of(request, kind, object, lookup).await));
            }
        }
        made
    }
}

/// An object of the request in the version of `kind`, with its type.
///
/// # Errors
/// Where it cannot be converted.
pub(crate) async fn shown(
    request: &Request<'_>,
    kind: &Arc<Kind>,
    object: &Object,
    lookup: &dyn Lookup,
) -> Result<Object, Status> {
    let form = request.body.unwrap_or(kind);
    let mut shown = if is_converted_elsewhere(request, kind) {
        lookup.in_version(kind, object, request.deadline).await?
    } else {
        let mut same = object.clone();
        convert::from_storage(form, &mut same);
        same
    };
    if let Some(metadata) = shown.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("creationTimestamp").is_some_and(Value::is_null)
    {
        metadata.remove("creationTimestamp");
    }
    shown["apiVersion"] = form.api_version().into();
    shown["kind"] = form.kind.to_string().into();
    Ok(shown)
}

/// What was made of an object in the version of `kind`, as the request has it.
///
/// # Errors
/// Where it cannot be converted.
pub(crate) async fn taken(
    request: &Request<'_>,
    kind: &Arc<Kind>,
    mut object: Object,
    lookup: &dyn Lookup,
) -> Result<Object, Status> {
    if is_converted_elsewhere(request, kind) {
        return lookup.in_version(request.kind, &object, request.deadline).await;
    }
    convert::to_storage(request.body.unwrap_or(kind), &mut object);
    Ok(object)
}

/// Whether only the definition of a custom kind knows how the object comes into that version.
fn is_converted_elsewhere(request: &Request<'_>, kind: &Kind) -> bool {
    request.body.is_none() && kind.custom.is_some() && kind.version != request.kind.version
}
