// SPDX-License-Identifier: Apache-2.0
//! The parameters of a binding: an object by name, or all that a selector names.

use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{LabelSelector, Object};

use crate::{Lookup, Request};

/// The parameters to run with, one after the other; `None` for a run without. No run at all where a binding allows
/// that nothing is found.
///
/// # Errors
/// In upstream's words.
pub(super) async fn collect(
    kind: &Value,
    reference: &Value,
    request: &Request<'_>,
    lookup: &dyn Lookup,
) -> Result<Vec<Option<Object>>, String> {
    if kind.is_null() || reference.is_null() {
        return Ok(vec![None]);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (api_version, name) =
        (kind["apiVersion"].as_str().unwrap_or_default(), kind["kind"].as_str().unwrap_or_default());
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let known = lookup.kind_named(group, version, name);
    let known = known.ok_or_else(|| format!("paramKind kind `{api_version}, Kind={name}` not known"))?;
    if !known.namespaced && !text("namespace").is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
    }
    let place = match (known.namespaced, text("namespace")) {
        (false, _) => "",
        (true, "") if request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        }
        (true, "") => request.namespace,
        (true, given) => given,
    };
    let found: Vec<Arc<Object>> = if text("name").is_empty() {
        let selector = LabelSelector::from_object(&reference["selector"]).map_err(|error| error.to_string())?;
        let all = lookup.list(group, &known.resource, known.namespaced.then_some(place));
        all.into_iter().filter(|object| selector.matches_object(&object["metadata"]["labels"])).collect()
    } else {
        lookup.get(group, &known.resource, place, text("name")).into_iter().collect()
    };
    if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    let mut params = Vec::new();
    for object in found {
        let mut object = lookup.in_version(&known, &object, request.deadline).await.map_err(|why| why.message)?;
        object["apiVersion"] = api_version.into();
        object["kind"] = name.into();
        params.push(Some(object));
    }
    Ok(params)
}
