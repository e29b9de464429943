// SPDX-License-Identifier: Apache-2.0
//! `scale`: how many replicas.

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::args::{DryRun, ScaleArgs};
use crate::error::CtlError;
use crate::manifest::{Target, read};
use crate::output::print;
use crate::resources::{Named, Resource, named};
use crate::session::Session;

/// Runs `scale`.
pub(crate) async fn run(session: &Session, args: ScaleArgs) -> Result<u8, CtlError> {
    if args.replicas < 0 {
        let text = "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0";
        return Err(CtlError::usage(text));
    }
    for (resource, namespace, name) in targets(session, &args).await? {
        scale(session, &resource, namespace.as_deref(), &name, &args).await?;
        let type_ = resource.qualified();
        print(&match args.output.as_str() {
            "name" => format!("{type_}/{name}\n"),
            _ => format!("{type_}/{name} scaled{}\n", args.dry_run.note()),
        })?;
    }
    Ok(0)
}

async fn targets(session: &Session, args: &ScaleArgs) -> Result<Vec<(Resource, Option<String>, String)>, CtlError> {
    let selection = &args.selection;
    selection.check()?;
    let mut found = Vec::new();
    if !selection.files.is_empty() {
        for object in read(&selection.files, selection.recursive)? {
            let target = Target::of(session, object).await?;
            found.push((target.resource.clone(), target.namespace, target.name));
        }
        return Ok(found);
    }
    let resources = session.resources().await?;
    let here = || Some(session.namespace.clone());
    match named(&selection.what)? {
        Named::Objects(objects) => {
            for (type_, name) in objects {
                found.push((resources.find(type_)?.clone(), here(), name.to_owned()));
            }
        }
        Named::Types(_) if !args.all && selection.selector.is_empty() => {
            return Err(CtlError::usage("resource(s) were provided, but no name was specified"));
        }
        Named::Types(types) => {
            for resource in resources.find_all(types)? {
                let namespace = here().filter(|_| !selection.all_namespaces);
                let list = ListParams::default().labels(&selection.selector).fields(&selection.field_selector);
                let all = session.api(resource, namespace.as_deref()).list_metadata(&list).await?.items;
                found.extend(all.into_iter().map(|object| {
                    (resource.clone(), object.metadata.namespace, object.metadata.name.unwrap_or_default())
                }));
            }
        }
    }
    Ok(found)
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
