// SPDX-License-Identifier: Apache-2.0
//! `scale`: how many replicas.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::args::{DryRun, ScaleArgs};
use crate::error::CtlError;
use crate::output::print;
use crate::resources::Resource;
use crate::selected::selected;
use crate::session::Session;

/// Runs `scale`.
pub(crate) async fn run(session: &Session, args: ScaleArgs) -> Result<u8, CtlError> {
    if args.replicas < 0 {
        let text = "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0";
        return Err(CtlError::usage(text));
    }
    for (resource, namespace, name) in selected(session, &args.selection, args.all, "list").await? {
        scale(session, &resource, namespace.as_deref(), &name, &args).await?;
        let type_ = resource.qualified();
        print(&match args.output.as_str() {
            "name" => format!("{type_}/{name}\n"),
            _ => format!("{type_}/{name} scaled{}\n", args.dry_run.note()),
        })?;
    }
    Ok(0)
}

async fn scale(
    session: &Session,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    args: &ScaleArgs,
) -> Result<(), CtlError> {
    let api = session.api(resource, namespace);
    if !resource.subresources.iter().any(|s| s == "scale") {
        api.get_metadata(name).await?;
        return Err(CtlError::Server {
            reason: "NotFound".into(),
            message: "the server could not find the requested resource".into(),
        });
    }
    let now = api.get_scale(name).await?;
    let replicas = now.spec.as_ref().and_then(|s| s.replicas).unwrap_or_default();
    if let Some(expected) = args.current_replicas.filter(|n| *n != replicas) {
        return Err(CtlError::usage(format!("Expected replicas to be {expected}, was {replicas}")));
    }
    let version = now.metadata.resource_version;
    if let Some(expected) = args.resource_version.as_ref().filter(|wanted| version.as_ref() != Some(*wanted)) {
        let was = version.unwrap_or_default();
        return Err(CtlError::usage(format!("Expected resource version to be {expected}, was {was}")));
    }
    let conditional = args.current_replicas.is_some() || args.resource_version.is_some();
    let patch = json!({
        "metadata": {"resourceVersion": version.filter(|_| conditional)},
        "spec": {"replicas": args.replicas},
    });
    if args.dry_run != DryRun::Client {
        let params = PatchParams { dry_run: args.dry_run == DryRun::Server, ..PatchParams::default() };
        api.patch_scale(name, &params, &Patch::Merge(patch)).await?;
    }
    Ok(())
}
