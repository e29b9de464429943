// SPDX-License-Identifier: Apache-2.0
//! Lifecycle hooks of a container: what is done right after its start and before its stop.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probes::{Target, http_get, run};

/// Runs a hook to its end.
///
/// # Errors
/// Why it failed.
pub async fn call(target: &Target<'_>, handler: &LifecycleHandler) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        return run(target, exec.command.clone().unwrap_or_default()).await;
    }
    if let Some(get) = &handler.http_get {
        // As upstream: an answer is enough, whatever it says.
        return http_get(target, get, "kube-lifecycle/1.36").await.map(drop);
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    Err("invalid handler: it has no supported action".to_owned())
}
