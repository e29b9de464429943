// SPDX-License-Identifier: Apache-2.0
//! Evictions: deletes that budgets may forbid.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use std::sync::Arc;

use bytes::Bytes;
use knarr_admission::Lookup as _;
use knarr_types::selector::LabelSelector;
use knarr_types::{Cause, Object, Reason, ResourceId, Status, StatusDetails};

use super::{body_kind, check_name, decode, done};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::write;

pub(super) async fn create(app: &Arc<App>, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let eviction = decode(app, context, &body_kind("policy", "v1", "Eviction")?, body)?;
    check_name(context, &eviction, "Eviction")?;
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    let registry = app.registry.load();
    let kind = registry.by_resource("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    let pod = app.object(kind, namespace, name).ok_or_else(|| Status::not_found(&ResourceId::new("", "pods"), name))?;
    let budgets: Vec<_> = app
        .list("policy", "poddisruptionbudgets", Some(namespace))
        .into_iter()
        .filter(|budget| selects(budget, &pod))
        .collect();
    check_budgets(&pod, &budgets)?;
    let options = &eviction["deleteOptions"];
    let options = if options.is_null() { Bytes::new() } else { options.to_string().into() };
    let mut delete = context.clone();
    delete.info.subresource.clear();
    delete.info.verb = "delete";
    write::delete(app, &delete, kind, options).await.map(|_| done())
}

fn selects(budget: &Object, pod: &Object) -> bool {
    LabelSelector::from_object(&budget["spec"]["selector"]).is_ok_and(|s| s.matches_object(&pod["metadata"]["labels"]))
}

/// Whether the pod's budget lets it go. Pure.
fn check_budgets(pod: &Object, budgets: &[Object]) -> Result<(), Status> {
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending") | None);
    if done || !pod["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let budget = match budgets {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, Reason::Unknown, message));
        }
    };
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or_default() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, 10));
    }
    if number("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let (needs, has) = (number("desiredHealthy"), number("currentHealthy"));
    Err(refused(
        if needs > has || needs > 0 {
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        } else {
            format!("The disruption budget {name} does not allow evicting pods currently")
        },
        0,
    ))
}

fn refused(why: String, retry_after_seconds: u32) -> Status {
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::new(429, Reason::TooManyRequests, message).with_details(StatusDetails {
        causes: vec![cause],
        retry_after_seconds,
        ..StatusDetails::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_budget_without_room_keeps_its_pods() {
        let pod = json!({"metadata": {}, "status": {"phase": "Running"}});
        let budget = |allowed: i64| json!({"metadata": {"name": "b"}, "status": {"disruptionsAllowed": allowed, "desiredHealthy": 1}});
        assert!(check_budgets(&pod, &[]).is_ok());
        assert!(check_budgets(&pod, &[budget(1)]).is_ok());
        assert_eq!(check_budgets(&pod, &[budget(0)]).unwrap_err().code, 429);
        assert_eq!(check_budgets(&pod, &[budget(1), budget(1)]).unwrap_err().code, 500);
        assert!(check_budgets(&json!({"metadata": {}, "status": {"phase": "Failed"}}), &[budget(0)]).is_ok());
    }
}
