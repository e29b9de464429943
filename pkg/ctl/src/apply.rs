// SPDX-License-Identifier: Apache-2.0
//! `apply`: server-side apply under a manager of our own.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

use kube::api::{Patch, PatchParams};

use crate::args::{ApplyArgs, DryRun};
use crate::error::CtlError;
use crate::manifest::{Target, read};
use crate::output::print;
use crate::session::Session;

/// Under which name fields are owned.
const MANAGER: &str = "knarrctl";

/// Runs `apply`. All manifests are read before the first is sent.
pub(crate) async fn run(session: &Session, args: ApplyArgs) -> Result<u8, CtlError> {
    let mut failed = 0;
    for object in read(&args.files, args.recursive)? {
        // One that is refused does not keep the others from being applied, as with kubectl.
        if let Err(error) = apply(session, object, &args).await {
            eprintln!("{}", error.line());
            failed += 1;
        }
    }
    Ok(u8::from(failed > 0))
}

async fn apply(session: &Session, object: serde_json::Value, args: &ApplyArgs) -> Result<(), CtlError> {
    let target = Target::of(session, object).await?;
    if target.name.is_empty() {
        return Err(CtlError::usage(format!(
            "{}: a manifest that is applied needs a name",
            target.resource.qualified()
        )));
    }
    let api = session.api(target.resource, target.namespace.as_deref());
    let before = api.get_metadata_opt(&target.name).await?.and_then(|o| o.metadata.resource_version);
    let mut params = PatchParams::apply(MANAGER).validation_strict();
    params.force = args.force_conflicts;
    params.dry_run = args.dry_run == DryRun::Server;
    let after = api.patch(&target.name, &params, &Patch::Apply(&target.object)).await?;
    let what = match before {
        None => "created",
        Some(before) if Some(&before) == after.metadata.resource_version.as_ref() => "unchanged",
        Some(_) => "configured",
    };
    let note = if params.dry_run { " (server dry run)" } else { "" };
    print(&format!("{} {what}{note}\n", target.label()))
}
