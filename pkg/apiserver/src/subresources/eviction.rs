// SPDX-License-Identifier: Apache-2.0
//! Evictions: deletes that budgets may forbid.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use knarr_admission::{Lookup as _, Operation};
use knarr_schema::managed_fields::{Manager, OneVersion, track_update};
use knarr_schema::normalize;
use knarr_store::{Decision, UpdateError};
use knarr_types::selector::LabelSelector;
use knarr_types::tree::json;
use knarr_types::{Cause, ErrorList, FieldError, FieldPath, Key, Object, Reason, ResourceId, Status, StatusDetails};

use super::{body_kind, check_name, decode, done};
use crate::actions::Action;
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::serve_object;
use crate::write::{self, propose_error, seconds, write_context};

const GROUP: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";
/// How many evictions a budget holds that its controller has not seen yet. Upstream's bound.
const DISRUPTED_MAX: usize = 2000;

pub(super) async fn create(app: &Arc<App>, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let form = body_kind(GROUP, "v1", "Eviction")?;
    let (mut eviction, mut warnings, dry_run) = decode(app, context, &form, &in_first_form(body))?;
    let action = Action { app, context, operation: Operation::Create, body: &form };
    match evict(&action, &mut eviction, dry_run, &mut warnings).await {
        Ok(()) => done(context, &warnings),
        Err(status) => Err(status.with_warnings(&warnings)),
    }
}

/// Evictions of `policy/v1beta1`, which older clients send, are the same.
fn in_first_form(body: &Bytes) -> Bytes {
    let sent = serde_json::from_slice::<Object>(body).ok().filter(|sent| sent["apiVersion"] == "policy/v1beta1");
    sent.map_or_else(
        || body.clone(),
        |mut eviction| {
            eviction["apiVersion"] = "policy/v1".into();
            eviction.to_string().into()
        },
    )
}

async fn evict(
    action: &Action<'_>,
    eviction: &mut Object,
    dry_run: bool,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let (app, context) = (action.app, action.context);
    warnings.extend(action.change(eviction).await?);
    check_name(context, eviction, "Eviction")?;
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    check_options(&eviction["deleteOptions"], name, dry_run)?;
    warnings.extend(action.allow(eviction).await?);
    let registry = app.registry.load();
    let kind = registry.by_resource("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    let pod = app.object(kind, namespace, name).ok_or_else(|| Status::not_found(&ResourceId::new("", "pods"), name))?;
    let options = &eviction["deleteOptions"];
    let says_dry = options["dryRun"].as_array().is_some_and(|said| !said.is_empty());
    if let Some(budget) = budget_of(&pod, app.list(GROUP, BUDGETS, Some(namespace)))? {
        let budget = budget["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        charge(app, context, &pod, &budget, dry_run || says_dry).await?;
    }
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": seconds(Timestamp::now()),
        "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
    });
    let mut options = if options.is_null() { json!({}) } else { options.clone() };
    if dry_run && !says_dry {
        options["dryRun"] = json!(["All"]);
    }
    let options = options.to_string().into();
    let mut delete = context.clone();
    delete.info.subresource.clear();
    delete.info.verb = "delete";
    // Nobody is shown the pod.
    delete.accept.clear();
    write::evict(app, &delete, kind, options, condition).await.map(|_| ())
}

/// What an eviction may not ask of the delete; `dry_run` is whether the query asks for a dry run. Pure.
fn check_options(options: &Object, name: &str, dry_run: bool) -> Result<(), Status> {
    if options["ignoreStoreReadErrorWithClusterBreakingPotential"] == true {
        let path = FieldPath::new("deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential");
        let why = "can not be set for pod eviction, try after removing the option";
        let errors = ErrorList::from([FieldError::invalid(&path, true, why)]);
        return Err(Status::invalid(GROUP, "Eviction", name, &errors));
    }
    let said: Vec<&str> = options["dryRun"].as_array().into_iter().flatten().filter_map(|text| text.as_str()).collect();
    if dry_run && !said.is_empty() && said != ["All"] {
        let message = format!("Non-matching dry-run options in request and content: [All] and [{}]", said.join(" "));
        return Err(Status::new(500, Reason::Unknown, message));
    }
    Ok(())
}

/// The budget that has a say about a pod. Pure.
fn budget_of(pod: &Object, budgets: Vec<Arc<Object>>) -> Result<Option<Arc<Object>>, Status> {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending") | None);
    if ended || !pod["metadata"]["deletionTimestamp"].is_null() {
        return Ok(None);
    }
    let mut chosen = budgets.into_iter().filter(|budget| selects(budget, pod));
    let first = chosen.next();
    if chosen.next().is_some() {
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::new(500, Reason::Unknown, message));
    }
    Ok(first)
}

fn selects(budget: &Object, pod: &Object) -> bool {
    LabelSelector::from_object(&budget["spec"]["selector"]).is_ok_and(|s| s.matches_object(&pod["metadata"]["labels"]))
}

/// Takes one disruption from the budget, in one write with the check that there is one.
async fn charge(app: &App, context: &RequestContext, pod: &Object, budget: &str, dry_run: bool) -> Result<(), Status> {
    let id = ResourceId::new(GROUP, BUDGETS);
    let registry = app.registry.load();
    let kind = registry.by_resource(GROUP, "v1", BUDGETS).ok_or_else(|| Status::internal("budgets are not served"))?;
    let key = Key::new(kind.storage.clone(), &context.info.namespace, budget);
    let decide = |current: Option<&Arc<knarr_store::Record>>| {
        // A budget that went forbids nothing.
        let Some(record) = current else { return Ok(Decision::Keep) };
        let old = serve_object::stored_tree(kind, record);
        let now = Timestamp::now();
        let Some(mut new) = disrupted(&old, pod, now)?.filter(|_| !dry_run) else { return Ok(Decision::Keep) };
        normalize(&mut new, kind.ty.get());
        let api_version = kind.api_version();
        let manager = Manager {
            name: "kube-apiserver",
            api_version: &api_version,
            subresource: "status",
            reset: &[],
            others: &OneVersion,
        };
        track_update(Some(&old), &mut new, kind.ty.get(), &manager, now);
        Ok(Decision::Put(serve_object::draft(kind, &new)))
    };
    match app.store.update(&key, &write_context(context, ""), decide).await {
        Ok(_) => Ok(()),
        Err(UpdateError::Refused(status)) => Err(status),
        Err(UpdateError::Store(error)) => Err(propose_error(&id, budget, &error)),
    }
}

/// The budget with the pod's disruption taken from it; `None` where the pod may go without. Pure.
fn disrupted(budget: &Object, pod: &Object, now: Timestamp) -> Result<Option<Object>, Status> {
    let status = &budget["status"];
    let name = budget["metadata"]["name"].as_str().unwrap_or_default();
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or_default();
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, 10));
    }
    let (needs, has) = (number("desiredHealthy"), number("currentHealthy"));
    if !is_ready(pod) {
        let free = match budget["spec"]["unhealthyPodEvictionPolicy"].as_str() {
            Some("AlwaysAllow") => true,
            _ => has >= needs && needs > 0,
        };
        if free {
            return Ok(None);
        }
    }
    let forbidden = |why: &str| Err(Status::forbidden(&ResourceId::new(GROUP, BUDGETS), name, why));
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(refused(no_room(budget, name, needs, has), 0));
    }
    let mut new = budget.clone();
    new["status"]["disruptionsAllowed"] = (allowed - 1).into();
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    new["status"]["disruptedPods"][pod_name] = seconds(now).into();
    if allowed == 1 {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let before = conditions.iter().find(|c| c["type"] == "DisruptionAllowed" && c["status"] == "False");
        let since = before.map_or_else(|| seconds(now).into(), |c| c["lastTransitionTime"].clone());
        let condition = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "observedGeneration": generation, "lastTransitionTime": since,
        });
        let others = conditions.iter().filter(|c| c["type"] != "DisruptionAllowed").cloned();
        new["status"]["conditions"] = others.chain([condition]).collect();
    }
    Ok(Some(new))
}

fn no_room(budget: &Object, name: &str, needs: i64, has: i64) -> String {
    let conditions = budget["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let failed = conditions.iter().find(|c| c["type"] == "DisruptionAllowed" && c["reason"] == "SyncFailed");
    match failed {
        Some(condition) => {
            let why = condition["message"].as_str().unwrap_or_default();
            format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}")
        }
        None if has <= needs => {
            format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    }
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
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
    use super::*;

    fn pod(phase: &str, ready: &str) -> Object {
        let conditions = json!([{"type": "Ready", "status": ready}]);
        json!({"metadata": {"name": "p"}, "status": {"phase": phase, "conditions": conditions}})
    }

    fn budget(allowed: i64, needs: i64, has: i64) -> Object {
        json!({"metadata": {"name": "b"}, "spec": {"selector": {}},
            "status": {"disruptionsAllowed": allowed, "desiredHealthy": needs, "currentHealthy": has}})
    }

    #[test]
    fn a_budget_gives_what_it_has_and_no_more() {
        let now = Timestamp::UNIX_EPOCH;
        let ready = pod("Running", "True");
        let new = disrupted(&budget(1, 1, 2), &ready, now).unwrap().unwrap();
        assert_eq!(new["status"]["disruptionsAllowed"], 0);
        assert_eq!(new["status"]["disruptedPods"]["p"], "1970-01-01T00:00:00Z");
        assert_eq!(new["status"]["conditions"][0]["reason"], "InsufficientPods");
        let cause = |budget: &Object| {
            let status = disrupted(budget, &ready, now).unwrap_err();
            assert_eq!(status.code, 429);
            status.details.unwrap().causes[0].message.clone()
        };
        assert_eq!(cause(&new), "The disruption budget b does not allow evicting pods currently");
        assert_eq!(cause(&budget(0, 2, 1)), "The disruption budget b needs 2 healthy pods and has 1 currently");
    }

    #[test]
    fn pods_that_serve_nobody_may_go_where_enough_others_do() {
        let now = Timestamp::UNIX_EPOCH;
        let broken = pod("Running", "False");
        assert!(disrupted(&budget(0, 1, 1), &broken, now).unwrap().is_none());
        assert!(disrupted(&budget(0, 1, 0), &broken, now).is_err());
        let mut always = budget(0, 1, 0);
        always["spec"]["unhealthyPodEvictionPolicy"] = "AlwaysAllow".into();
        assert!(disrupted(&always, &broken, now).unwrap().is_none());
    }

    #[test]
    fn an_eviction_asks_for_what_its_query_asks_for() {
        for (options, dry_run, code) in [
            (json!(null), true, 200),
            (json!({"dryRun": []}), true, 200),
            (json!({"dryRun": ["All"]}), true, 200),
            (json!({"dryRun": ["x"]}), false, 200),
            (json!({"dryRun": ["x"]}), true, 500),
            (json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true}), false, 422),
        ] {
            let told = check_options(&options, "p", dry_run).map_or_else(|status| status.code, |()| 200);
            assert_eq!(told, code, "{options} {dry_run}");
        }
    }

    #[test]
    fn what_a_budget_says_depends_on_what_it_knows_of_the_pods() {
        let with = |mut budget: Object, pointer: &str, value: Object| {
            *budget.pointer_mut(pointer).unwrap() = value;
            budget
        };
        let mut unseen = budget(1, 1, 2);
        unseen["metadata"]["generation"] = 2.into();
        let many: Object = (0..=DISRUPTED_MAX).map(|at| (format!("p{at}"), json!("1970-01-01T00:00:00Z"))).collect();
        let mut crowded = budget(1, 1, 2);
        crowded["status"]["disruptedPods"] = many;
        let mut failed = budget(0, 1, 2);
        failed["status"]["conditions"] =
            json!([{"type": "DisruptionAllowed", "reason": "SyncFailed", "message": "no controller"}]);
        for (budget, code, retry, why) in [
            (unseen, 429, 10, "The disruption budget b is still being processed by the server."),
            (with(budget(1, 1, 2), "/status/disruptionsAllowed", json!(-1)), 403, 0, "disruptions allowed is negative"),
            (crowded, 403, 0, "too many evictions not confirmed by PDB controller"),
            (failed, 429, 0, "because it failed sync: no controller"),
        ] {
            let status = disrupted(&budget, &pod("Running", "True"), Timestamp::UNIX_EPOCH).unwrap_err();
            let details = status.details.clone().unwrap_or_default();
            let cause = details.causes.first().map(|cause| cause.message.clone()).unwrap_or_default();
            assert_eq!((status.code, details.retry_after_seconds), (code, retry), "{why}");
            assert!(status.message.contains(why) || cause.contains(why), "{why}: {} {cause}", status.message);
        }
    }

    #[test]
    fn older_evictions_are_read_as_new_ones() {
        for (sent, want) in [("policy/v1beta1", "policy/v1"), ("policy/v1", "policy/v1"), ("v1", "v1")] {
            let body = Bytes::from(json!({"apiVersion": sent}).to_string());
            let read: Object = serde_json::from_slice(&in_first_form(&body)).unwrap();
            assert_eq!(read["apiVersion"], want);
        }
        assert_eq!(in_first_form(&Bytes::from_static(b"k8s\0")), "k8s\0");
    }

    #[test]
    fn one_budget_has_a_say_about_pods_that_run() {
        let budgets = || vec![Arc::new(budget(0, 1, 1)), Arc::new(budget(0, 1, 1))];
        assert!(budget_of(&pod("Failed", "False"), budgets()).unwrap().is_none());
        assert_eq!(budget_of(&pod("Running", "True"), budgets()).unwrap_err().code, 500);
        assert!(budget_of(&pod("Running", "True"), budgets().split_off(1)).unwrap().is_some());
    }
}
