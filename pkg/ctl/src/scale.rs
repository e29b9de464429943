// SPDX-License-Identifier: Apache-2.0
//! `scale`: how many replicas.

use kube::api::{Patch, PatchParams};

use crate::args::ScaleArgs;
use crate::error::CtlError;
use crate::output::print;
use crate::resources::{Named, named};
use crate::session::Session;

/// Runs `scale`.
pub(crate) async fn run(session: &Session, args: ScaleArgs) -> Result<u8, CtlError> {
    let Named::Objects(objects) = named(&args.what)? else {
        return Err(CtlError::usage("say which: TYPE/NAME or TYPE NAME"));
    };
    for (type_, name) in objects {
        let resource = session.resources().await?.find(type_)?;
        if !resource.subresources.iter().any(|s| s == "scale") {
            return Err(CtlError::usage(format!("{} cannot be scaled", resource.api.plural)));
        }
        let api = session.api(resource, Some(&session.namespace));
        let now = api.get_scale(name).await?;
        let replicas = now.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default();
        if let Some(expected) = args.current_replicas.filter(|n| *n != replicas) {
            return Err(CtlError::usage(format!("Expected replicas to be {expected}, was {replicas}")));
        }
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": args.current_replicas.and(now.metadata.resource_version)},
            "spec": {"replicas": args.replicas},
        });
        api.patch_scale(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        print(&format!("{}/{name} scaled\n", resource.qualified()))?;
    }
    Ok(0)
}
