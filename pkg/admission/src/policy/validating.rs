// SPDX-License-Identifier: Apache-2.0
//! Validating policies: what they refuse, and what they only warn of.

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_schema::cel::Value;
use knarr_schema::cel::conditions::{Budget, Subject, Verdict, evaluate};
use knarr_schema::cel::{PER_OBJECT_LIMIT, rules};
use knarr_types::{Cause, Reason, Status};

use super::compiled::{Policy, Validation};
use super::subject::Seen;
use super::{Invocation, Refusal};
use crate::versions::View;
use crate::{Lookup, Request};

/// What a validation says against the request.
struct Denial {
    message: String,
    reason: String,
    /// It refuses whatever the binding says is to be done.
    always: bool,
}

/// The request in the versions that the policies want to see, or why it cannot be had in one.
pub(super) type Views = [(Arc<Kind>, Result<View, Status>)];

pub(super) fn validate(
    request: &Request<'_>,
    lookup: &dyn Lookup,
    invocations: &[Invocation],
    views: &Views,
    refusals: Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    // The first in the order of the policies is what the client is told.
    let refused_at = refusals.iter().position(|refusal| refusal.policy.fails);
    let refusal = refusals.into_iter().find(|refusal| refusal.policy.fails);
    let mut refusal = refusal.map(|refusal| of_refusal(request, refusal));
    let mut first = None;
    let seen: Vec<_> =
        views.iter().map(|(_, view)| view.as_ref().map(|view| (view, Seen::new(request, view, lookup)))).collect();
    let seen_as = |kind: &Arc<Kind>| seen.get(views.iter().position(|(of, _)| Arc::ptr_eq(of, kind))?);
    for invocation in invocations {
        let policy = &invocation.policy;
        if first.is_none() && refused_at.is_some_and(|at| at < invocation.behind) {
            first = refusal.take();
        }
        let (view, seen) = match seen_as(&invocation.kind) {
            Some(Ok((view, seen))) => (view, seen),
            Some(Err(why)) => {
                let why = format!("failed to convert object version: {}", why.message);
                let refusal = Refusal::of_binding(Arc::clone(policy), &invocation.binding, &why);
                first = first.or_else(|| policy.fails.then(|| of_refusal(request, refusal)));
                continue;
            }
            None => continue,
        };
        let subject = seen.subject(policy, view.object.as_ref(), invocation.params.as_ref());
        for denial in run(policy, &subject) {
            if denial.always {
                let (name, binding) = (&policy.name, invocation.binding_name());
                lookup.policy_checked(name, binding, "deny", "no_error");
                first = first.or_else(|| Some(refused(request, name, binding, &denial)));
                continue;
            }
            for action in invocation.actions() {
                let (name, binding) = (&policy.name, invocation.binding_name());
                lookup.policy_checked(name, binding, in_metrics(action), "no_error");
                match action {
                    "Deny" if first.is_none() => first = Some(refused(request, name, binding, &denial)),
                    "Warn" => warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding}': {}",
                        denial.message
                    )),
                    _ => {}
                }
            }
        }
    }
    first.or(refusal).map_or(Ok(()), Err)
}

/// What is done about a denial, as it is counted.
fn in_metrics(action: &str) -> &'static str {
    match action {
        "Deny" => "deny",
        "Warn" => "warn",
        _ => "audit",
    }
}

/// A policy that could not be asked and refuses for that.
fn of_refusal(request: &Request<'_>, refusal: Refusal) -> Status {
    let denial = Denial { message: refusal.message, reason: String::new(), always: true };
    refused(request, &refusal.policy.name, &refusal.binding, &denial)
}

fn run<'a>(policy: &'a Policy, subject: &Subject<'a>) -> Vec<Denial> {
    let failed = |message: String, always: bool| {
        Vec::from_iter(policy.fails.then(|| Denial { message, reason: String::new(), always }))
    };
    match evaluate(&policy.conditions, subject) {
        Verdict::Matches => {}
        Verdict::Skips(_) => return Vec::new(),
        Verdict::Failed(whys) => return failed(joined(whys), false),
    }
    let mut budget = Budget(PER_OBJECT_LIMIT);
    let mut denials = Vec::new();
    let outcomes: Vec<_> = policy.validations.iter().map(|v| (v, v.rule.run(subject, &mut budget))).collect();
    for (validation, outcome) in outcomes {
        match outcome {
            Ok(Value::Bool(true)) => {}
            Ok(_) => denials.push(denial(validation, subject, &mut budget)),
            Err(why) => denials.extend(failed(why, false)),
        }
    }
    // What annotations take is counted on its own.
    let mut budget = Budget(PER_OBJECT_LIMIT);
    for (_, annotation) in &policy.annotations {
        if let Err(why) = annotation.run(subject, &mut budget) {
            denials.extend(failed(why, true));
        }
    }
    denials
}

/// Several faults as one.
fn joined(mut whys: Vec<String>) -> String {
    match whys.len() {
        1 => whys.remove(0),
        _ => format!("[{}]", whys.join(", ")),
    }
}

fn denial<'a>(validation: &'a Validation, subject: &Subject<'a>, budget: &mut Budget) -> Denial {
    let computed = validation.message_expression.as_ref().and_then(|expression| expression.run(subject, budget).ok());
    let computed = match computed {
        Some(Value::String(text)) => rules::one_line(&text),
        _ => None,
    };
    let written = || (!validation.message.is_empty()).then(|| validation.message.clone());
    let default = || format!("failed expression: {}", validation.rule.expression.trim());
    Denial {
        message: computed.or_else(written).unwrap_or_else(default),
        reason: validation.reason.clone(),
        always: false,
    }
}

fn refused(request: &Request<'_>, policy: &str, binding: &str, denial: &Denial) -> Status {
    let with = if binding.is_empty() { String::new() } else { format!(" with binding '{binding}'") };
    let message = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {}", denial.message);
    let mut status = request.refusal(&message);
    (status.code, status.reason) = match denial.reason.as_str() {
        "Forbidden" => (403, Reason::Forbidden),
        "Unauthorized" => (401, Reason::Unauthorized),
        "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
        _ => (422, Reason::Invalid),
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message, ..Cause::default() });
    }
    status
}
