// SPDX-License-Identifier: Apache-2.0
//! Validating policies: what they refuse, and what they only warn of.

use knarr_schema::cel::Value;
use knarr_schema::cel::conditions::{Budget, Subject, Verdict, evaluate};
use knarr_schema::cel::{PER_OBJECT_LIMIT, rules};
use knarr_types::{Cause, Object, Reason, Status};

use super::compiled::{Policy, Validation};
use super::subject::{Seen, in_version};
use super::{Invocation, Refusal};
use crate::{Lookup, Request};

/// What a validation says against the request.
struct Denial {
    message: String,
    reason: String,
}

pub(super) fn validate(
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
    invocations: &[Invocation],
    refusals: Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let mut first = refusals.into_iter().find(|refusal| refusal.policy.fails).map(|refusal| {
        let denial = Denial { message: refusal.message, reason: String::new() };
        refused(request, &refusal.policy.name, &refusal.binding, &denial)
    });
    if invocations.is_empty() {
        return first.map_or(Ok(()), Err);
    }
    let seen = Seen::new(request, lookup);
    let object = object.map(|object| in_version(request, object));
    for invocation in invocations {
        let policy = &invocation.policy;
        let subject = seen.subject(policy, object.as_ref(), invocation.params.as_ref());
        for denial in run(policy, &subject) {
            for action in invocation.actions() {
                let (name, binding) = (&policy.name, invocation.binding_name());
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
    first.map_or(Ok(()), Err)
}

fn run<'a>(policy: &'a Policy, subject: &Subject<'a>) -> Vec<Denial> {
    let failed =
        |message: String| if policy.fails { vec![Denial { message, reason: String::new() }] } else { Vec::new() };
    match evaluate(&policy.conditions, subject) {
        Verdict::Matches => {}
        Verdict::Skips(_) => return Vec::new(),
        Verdict::Failed(whys) => return failed(joined(whys)),
    }
    let mut budget = Budget(PER_OBJECT_LIMIT);
    let mut denials = Vec::new();
    let outcomes: Vec<_> = policy.validations.iter().map(|v| (v, v.rule.run(subject, &mut budget))).collect();
    for (validation, outcome) in outcomes {
        match outcome {
            Ok(Value::Bool(true)) => {}
            Ok(_) => denials.push(denial(validation, subject, &mut budget)),
            Err(why) => denials.extend(failed(why)),
        }
    }
    for (_, annotation) in &policy.annotations {
        if let Err(why) = annotation.run(subject, &mut budget) {
            denials.extend(failed(why));
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
    Denial { message: computed.or_else(written).unwrap_or_else(default), reason: validation.reason.clone() }
}

fn refused(request: &Request<'_>, policy: &str, binding: &str, denial: &Denial) -> Status {
    let with = if binding.is_empty() { String::new() } else { format!(" with binding '{binding}'") };
    let message = format!("ValidatingAdmissionPolicy '{policy}'{with} denied request: {}", denial.message);
    let mut status = Status::forbidden(&request.kind.id(), super::name_of(request), &message);
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
