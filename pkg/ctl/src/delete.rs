// SPDX-License-Identifier: Apache-2.0
//! `delete`: by name, by type, by file; and waiting until it is done.

use std::time::Duration;

use futures::TryStreamExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, PropagationPolicy, WatchEvent, WatchParams};

use crate::args::{Cascade, DeleteArgs, DryRun};
use crate::error::CtlError;
use crate::logs::seconds;
use crate::output::print;
use crate::resources::Resource;
use crate::selected::selected;
use crate::session::Session;

/// How long one watch for the end of an object lasts before it is asked for again.
const WATCH: u32 = 290;

/// Runs `delete`.
pub(crate) async fn run(session: &Session, args: DeleteArgs) -> Result<u8, CtlError> {
    let params = params(&args)?;
    let selection = &args.selection;
    if args.all && !(selection.selector.is_empty() && selection.field_selector.is_empty()) {
        return Err(CtlError::usage("setting 'all' parameter but found a non empty selector. "));
    }
    let timeout = u64::try_from(seconds(&args.timeout)?).unwrap_or_default();
    let mut gone = Vec::new();
    for (resource, namespace, name) in selected(session, selection, args.all, "delete").await? {
        let api = session.api(&resource, namespace.as_deref());
        let done = if args.dry_run == DryRun::Client {
            api.get_metadata(&name).await.map(drop)
        } else {
            api.delete(&name, &params).await.map(drop)
        };
        match done {
            Err(kube::Error::Api(status)) if status.code == 404 && args.ignore_not_found => continue,
            other => other?,
        }
        print(&done_text(&args, &resource, namespace.as_deref(), &name))?;
        gone.push((api, name));
    }
    if args.wait && !args.force && args.dry_run == DryRun::None {
        let all = wait_for_all(&gone);
        if timeout == 0 {
            all.await?;
        } else {
            let timed = tokio::time::timeout(Duration::from_secs(timeout), all).await;
            timed.unwrap_or_else(|_| Err(CtlError::usage("timed out waiting for the condition")))?;
        }
    }
    Ok(0)
}

/// What is said of an object that was deleted.
fn done_text(args: &DeleteArgs, resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    let type_ = resource.qualified();
    if args.output == "name" {
        return format!("{type_}/{name}\n");
    }
    let how = if args.force { "force deleted" } else { "deleted" };
    let place = namespace.filter(|_| resource.namespaced);
    let place = place.map_or_else(String::new, |namespace| format!(" from {namespace} namespace"));
    format!("{type_} \"{name}\" {how}{place}{}\n", args.dry_run.note())
}

async fn wait_for_all(gone: &[(Api<DynamicObject>, String)]) -> Result<(), CtlError> {
    for (api, name) in gone {
        wait(api, name).await?;
    }
    Ok(())
}

fn params(args: &DeleteArgs) -> Result<DeleteParams, CtlError> {
    if !["", "name"].contains(&args.output.as_str()) {
        return Err(CtlError::usage(format!("unexpected -o output mode: {}. We only support '-o name'", args.output)));
    }
    let grace = match (args.grace_period, args.now, args.force) {
        (0.., true, _) => return Err(CtlError::usage("--now and --grace-period cannot be specified together")),
        (1.., _, true) => {
            return Err(CtlError::usage("--force and --grace-period greater than 0 cannot be specified together"));
        }
        (0, _, true) | (..0, false, true) => {
            eprintln!(
                "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely."
            );
            Some(0)
        }
        // At once is what --force says: this alone would be a slip.
        (_, true, _) | (0, _, false) => Some(1),
        (seconds, ..) => u32::try_from(seconds).ok(),
    };
    Ok(DeleteParams {
        dry_run: args.dry_run == DryRun::Server,
        grace_period_seconds: grace,
        propagation_policy: Some(match args.cascade {
            Cascade::Background => PropagationPolicy::Background,
            Cascade::Foreground => PropagationPolicy::Foreground,
            Cascade::Orphan => PropagationPolicy::Orphan,
        }),
        ..DeleteParams::default()
    })
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
