// SPDX-License-Identifier: Apache-2.0
//! `delete`: by name, by type, by file; and waiting until it is done.

use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PropagationPolicy, WatchEvent, WatchParams};

use crate::args::{Cascade, DeleteArgs};
use crate::error::CtlError;
use crate::manifest::{Target, read};
use crate::output::print;
use crate::resources::{Named, Resource, named};
use crate::session::Session;

/// How long one watch for the end of an object lasts before it is asked for again.
const WATCH: u32 = 290;

/// Runs `delete`.
pub(crate) async fn run(session: &Session, args: DeleteArgs) -> Result<u8, CtlError> {
    let params = params(&args);
    let mut gone = Vec::new();
    for (resource, namespace, name) in targets(session, &args).await? {
        let api = session.api(&resource, namespace.as_deref());
        match api.delete(&name, &params).await {
            Err(kube::Error::Api(status)) if status.code == 404 && args.ignore_not_found => continue,
            other => drop(other?),
        }
        let how = if args.force { " force deleted" } else { " deleted" };
        print(&format!("{} \"{name}\"{how}\n", resource.qualified()))?;
        gone.push((api, name));
    }
    if args.wait && !args.force {
        for (api, name) in gone {
            wait(&api, &name).await?;
        }
    }
    Ok(0)
}

fn params(args: &DeleteArgs) -> DeleteParams {
    DeleteParams {
        grace_period_seconds: args.grace_period.or(args.force.then_some(0)),
        propagation_policy: Some(match args.cascade {
            Cascade::Background => PropagationPolicy::Background,
            Cascade::Foreground => PropagationPolicy::Foreground,
            Cascade::Orphan => PropagationPolicy::Orphan,
        }),
        ..DeleteParams::default()
    }
}

type Object = (Resource, Option<String>, String);

async fn targets(session: &Session, args: &DeleteArgs) -> Result<Vec<Object>, CtlError> {
    let selection = &args.selection;
    let mut found = Vec::new();
    if !selection.files.is_empty() {
        for object in read(&selection.files, selection.recursive)? {
            let target = Target::of(session, object).await?;
            found.push((target.resource.clone(), target.namespace, target.name));
        }
        return Ok(found);
    }
    let resources = session.resources().await?;
    match named(&selection.what)? {
        Named::Objects(objects) => {
            for (type_, name) in objects {
                found.push((resources.find(type_)?.clone(), Some(session.namespace.clone()), name.to_owned()));
            }
        }
        Named::Types(types) => {
            if !args.all && selection.selector.is_empty() && selection.field_selector.is_empty() {
                return Err(CtlError::usage("say which: a name, a selector (-l), or --all"));
            }
            for resource in resources.find_all(types)?.into_iter().filter(|r| r.can("delete")) {
                let namespace = (!selection.all_namespaces).then_some(session.namespace.as_str());
                let list = ListParams::default().labels(&selection.selector).fields(&selection.field_selector);
                for object in session.api(resource, namespace).list_metadata(&list).await?.items {
                    let name = object.metadata.name.unwrap_or_default();
                    found.push((resource.clone(), object.metadata.namespace, name));
                }
            }
        }
    }
    Ok(found)
}

/// Waits until the object is gone, or another one has its name.
async fn wait(api: &Api<DynamicObject>, name: &str) -> Result<(), CtlError> {
    loop {
        let Some(object) = api.get_metadata_opt(name).await? else { return Ok(()) };
        if object.metadata.deletion_timestamp.is_none() {
            return Ok(());
        }
        let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH);
        let revision = object.metadata.resource_version.unwrap_or_default();
        let mut events = Box::pin(api.watch_metadata(&params, &revision).await?);
        loop {
            let event = tokio::time::timeout(Duration::from_secs(u64::from(WATCH) + 5), events.try_next()).await;
            match event {
                Ok(Ok(Some(WatchEvent::Deleted(_)))) => return Ok(()),
                Ok(Ok(Some(WatchEvent::Error(_)) | None)) | Err(_) => break,
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => return Err(error.into()),
            }
        }
    }
}
