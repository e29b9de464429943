// SPDX-License-Identifier: Apache-2.0
//! The shell around every controller: workers that take keys and reconcile.

use std::sync::Arc;

use knarr_client::cache::ObjectRef;

use crate::queue::Queue;

/// Why an object could not be brought where it should be. It is tried again.
pub type ReconcileError = kube::Error;

/// Spawns `workers` tasks that reconcile what `queue` gives, for as long as the runtime lives.
pub fn spawn<F, R>(name: &'static str, queue: &Queue, workers: usize, reconcile: F)
where
    F: Fn(ObjectRef) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ReconcileError>> + Send + 'static,
{
    crate::metrics::name(name, queue);
    let reconcile = Arc::new(reconcile);
    for _ in 0..workers {
        let (queue, reconcile) = (queue.clone(), Arc::clone(&reconcile));
        tokio::spawn(async move {
            loop {
                let key = queue.next().await;
                let result = reconcile(key.clone()).await;
                if result.as_ref().is_err_and(is_ending) {
                    // What was to be made there would go at once.
                    queue.done(key, true);
                    continue;
                }
                if let Err(error) = &result {
                    // A conflict is the ordinary way to learn that the cache was behind.
                    let why = words(error);
                    if is_status(error, 409) {
                        tracing::debug!(controller = name, object = %key, why, "reconciled too early");
                    } else {
                        tracing::warn!(controller = name, object = %key, why, "could not reconcile; it is tried again");
                    }
                }
                queue.done(key, result.is_ok());
            }
        });
    }
}

/// What went wrong, in the server's words where it has some.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether something could not be created because its namespace ends.
fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether the API answered with this code.
pub fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// Takes one of these answers as done: what should go is gone, what should be there is.
pub fn unless<T>(result: kube::Result<T>, codes: &[u16]) -> kube::Result<()> {
    match result {
        Err(error) if codes.iter().any(|code| is_status(&error, *code)) => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tried_again_in_a_namespace_that_ends() {
        let error = |reason: &str| {
            let causes = serde_json::json!([{"reason": reason, "message": "namespace n is being terminated"}]);
            let status = serde_json::json!({"status": "Failure", "code": 403, "details": {"causes": causes}});
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        assert!(is_ending(&error("NamespaceTerminating")));
        assert!(!is_ending(&error("FieldValueForbidden")));
    }
}
