// SPDX-License-Identifier: Apache-2.0
//! Mutating policies: configurations that are applied, and JSON patches.

use std::sync::Arc;

use knarr_schema::cel::conditions::{Budget, Condition, Subject, Verdict, evaluate};
use knarr_schema::cel::{List, PER_OBJECT_LIMIT, StructValue, Value};
use knarr_schema::decode::check;
use knarr_schema::field_table::{ListMerge, Type, TypeRef};
use knarr_schema::patch::json_patch;
use knarr_schema::{Kind, typed};
use knarr_types::tree::{Value as Json, json};
use knarr_types::{Cause, Object, Reason, Status};

use super::compiled::Mutation;
use super::subject::Seen;
use super::{Invocation, Refusal, Round};
use crate::versions::{View, taken};
use crate::{Lookup, Request};

/// Why a policy refuses, and as what.
type Said = (String, Option<Reason>);

/// What came of asking one policy.
#[derive(Default)]
struct Asked {
    /// Its conditions hold.
    matched: bool,
    /// A mutation was made, if only one that changes nothing.
    touched: bool,
    said: Vec<Said>,
    /// What it made is no object: nobody's choice to pass over.
    broken: Option<Status>,
}

pub(super) async fn mutate(
    request: &Request<'_>,
    object: &mut Object,
    lookup: &dyn Lookup,
    invocations: &[Invocation],
    refusals: Vec<Refusal>,
) -> Result<Round, Status> {
    let mut said: Vec<Said> = refusals.into_iter().filter(|refusal| refusal.policy.fails).map(of_refusal).collect();
    let mut round = Round::default();
    if invocations.is_empty() {
        return refusal(request, said).map_or(Ok(round), Err);
    }
    let mut current = object.clone();
    let mut touched = false;
    for invocation in invocations {
        let before = current.clone();
        let asked = run_one(request, invocation, &mut current, lookup).await;
        if let Some(status) = asked.broken {
            return Err(status);
        }
        said.extend(asked.said);
        if asked.matched {
            touched |= asked.touched;
            round.was_asked(invocation.key(), before != current, invocation.policy.again);
        }
    }
    if let Some(status) = refusal(request, said) {
        return Err(status);
    }
    round.ends(&current, touched);
    round.changed = *object != current;
    *object = current;
    Ok(round)
}

fn of_refusal(refusal: Refusal) -> Said {
    (message(&refusal.policy.name, &refusal.binding, &refusal.message), None)
}

/// Runs a policy on the object, in the version that the policy wants to see.
async fn run_one(request: &Request<'_>, invocation: &Invocation, object: &mut Object, lookup: &dyn Lookup) -> Asked {
    let (policy, kind) = (&invocation.policy, &invocation.kind);
    let unconverted = |why: Status| {
        let refused = of_refusal(Refusal::of_policy(Arc::clone(policy), &why.message));
        Asked { said: Vec::from_iter(policy.fails.then_some(refused)), ..Asked::default() }
    };
    let mut view = match View::of(request, kind, Some(object), lookup).await {
        Ok(view) => view,
        Err(why) => return unconverted(why),
    };
    let before = view.object.take().unwrap_or_default();
    let mut current = before.clone();
    let asked = run(request, &Seen::new(request, &view, lookup), invocation, &mut current);
    if current != before {
        match taken(request, kind, current, lookup).await {
            Ok(taken) => *object = taken,
            Err(why) => return unconverted(why),
        }
    }
    asked
}

fn message(policy: &str, binding: &str, why: &str) -> String {
    let with = if binding.is_empty() { String::new() } else { format!(" with binding '{binding}'") };
    format!("policy '{policy}'{with} denied request: {why}")
}

fn refusal(request: &Request<'_>, said: Vec<Said>) -> Option<Status> {
    let (first, reason) = said.first()?.clone();
    let mut status = request.refusal("");
    status.message = first;
    status.reason = reason.unwrap_or(Reason::Forbidden);
    if let Some(details) = &mut status.details {
        details.causes = said.into_iter().map(|(message, _)| Cause { message, ..Cause::default() }).collect();
    }
    Some(status)
}

/// Runs a policy on the object; what fails is only said where the policy wants that, and keeps no other mutation from
/// being made.
fn run(request: &Request<'_>, seen: &Seen<'_>, invocation: &Invocation, current: &mut Object) -> Asked {
    let (policy, form) = (&invocation.policy, request.body.unwrap_or(&invocation.kind));
    let mut asked = Asked::default();
    let failed = |why: String| {
        let said = (message(&policy.name, invocation.binding_name(), &why), Some(Reason::Invalid));
        policy.fails.then_some(said)
    };
    let before = current.clone();
    let subject = seen.subject(policy, Some(&before), invocation.params.as_ref());
    match evaluate(&policy.conditions, &subject) {
        Verdict::Matches => asked.matched = true,
        Verdict::Skips(_) => return asked,
        Verdict::Failed(whys) => {
            asked.said.extend(failed(whys.join(", ")));
            return asked;
        }
    }
    for mutation in &policy.mutations {
        let now = current.clone();
        let subject = seen.subject(policy, Some(&now), invocation.params.as_ref());
        let changed = match mutation {
            Mutation::ApplyConfiguration(expression) => apply(form, expression, &subject, &now),
            Mutation::JsonPatch(expression) => patch(expression, &subject, &now),
        };
        let unreadable = changed.as_ref().ok().and_then(|changed| unreadable(form, changed));
        match (changed, unreadable) {
            (_, Some(why)) => {
                asked.broken = Some(Status::internal(why));
                return asked;
            }
            (Ok(mut changed), None) => {
                form.normalize(&mut changed);
                form.default(&mut changed);
                *current = changed;
                asked.touched = true;
            }
            (Err(why), None) => asked.said.extend(failed(why)),
        }
    }
    asked
}

/// Why what was made cannot be read as an object; custom ones are looked at later.
fn unreadable(form: &Kind, object: &Object) -> Option<String> {
    let read = || check(object.clone(), form.ty.get()).err().map(|error| error.to_string());
    if form.custom.is_none() { read() } else { None }
}

fn apply<'a>(form: &Kind, expression: &'a Condition, subject: &Subject<'a>, object: &Object) -> Result<Object, String> {
    let value = expression.run(subject, &mut Budget(PER_OBJECT_LIMIT))?;
    let Value::Struct(configuration) = &value else {
        let given = value.type_name();
        return Err(format!("unsupported return type from ApplyConfiguration expression: {given}"));
    };
    check_names(configuration, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    let mut configuration = value.to_json().ok_or_else(|| "invalid return type".to_owned())?;
    configuration["apiVersion"] = object["apiVersion"].clone();
    configuration["kind"] = object["kind"].clone();
    let ty = form.ty.get();
    if let Some(why) = typed::validate(&configuration, ty) {
        return Err(format!("error applying patch: failed to convert patch object to typed object: {why}"));
    }
    let mut atomic = Vec::new();
    find_atomic(&configuration, ty, "", &mut atomic);
    if !atomic.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomic.join(", ")
        ));
    }
    Ok(typed::merge(object, &configuration, ty))
}

/// A literal's type is named after the field that it stands in.
fn check_names(of: &StructValue<'_>, wanted: &str) -> Result<(), String> {
    if of.name != wanted {
        let (given, wanted) = (&of.name, wanted);
        return Err(format!(
            "unexpected type name {given:?}, expected {wanted:?}, which matches field name path from root Object type"
        ));
    }
    of.fields.iter().try_for_each(|(field, value)| check_value(value, &format!("{wanted}.{field}")))
}

fn check_value(value: &Value<'_>, wanted: &str) -> Result<(), String> {
    match value {
        Value::Struct(inner) => check_names(inner, wanted),
        Value::List(List::Owned(elements)) => elements.iter().try_for_each(|element| check_value(element, wanted)),
        Value::Map(map) => map.entries().iter().try_for_each(|(_, value)| check_value(value, wanted)),
        _ => Ok(()),
    }
}

/// What can only be set as a whole, and so not by a policy.
fn find_atomic(value: &Json, ty: &Type, path: &str, found: &mut Vec<String>) {
    match (value, ty) {
        (Json::Object(fields), Type::Struct(known)) => {
            if known.atomic {
                found.push(path.to_owned());
            }
            for (name, value) in fields {
                if let Some(field) = known.field(name) {
                    find_atomic(value, field.ty.get(), &format!("{path}.{name}"), found);
                }
            }
        }
        (Json::Object(_), Type::Map { atomic: true, .. }) => found.push(path.to_owned()),
        (Json::Array(elements), Type::List { item, merge }) => {
            if matches!(merge, ListMerge::Atomic) {
                found.push(path.to_owned());
            }
            let item: &TypeRef = item;
            for (index, element) in elements.iter().enumerate() {
                find_atomic(element, item.get(), &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn patch<'a>(expression: &'a Condition, subject: &Subject<'a>, object: &Object) -> Result<Object, String> {
    let value = expression.run(subject, &mut Budget(PER_OBJECT_LIMIT))?;
    let Value::List(list) = &value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let operations = list.iter().map(|operation| operation_of(&operation)).collect::<Result<Vec<Json>, String>>()?;
    let is_test = |operation: &Json| operation["op"] == "test";
    // A test that fails leaves the object as it is, whatever stands around it.
    let mut current = object.clone();
    for operation in &operations {
        match json_patch(current, &json!([operation])) {
            Ok(changed) => current = changed,
            Err(_) if is_test(operation) => return Ok(object.clone()),
            Err(error) => return Err(format!("JSON Patch: {error}")),
        }
    }
    Ok(current)
}

fn operation_of(value: &Value<'_>) -> Result<Json, String> {
    let Value::Struct(operation) = value else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch".to_owned());
    };
    let mut made = knarr_types::tree::Map::new();
    for (field, value) in &operation.fields {
        if let Value::Struct(inner) = value {
            check_names(inner, &inner.name).map_err(|why| format!("type mismatch: {why}"))?;
        }
        let json = value
            .to_json()
            .ok_or_else(|| "JSONPath valueExpression evaluated to a type that could not marshal to JSON".to_owned())?;
        made.insert(field.clone(), json);
    }
    Ok(Json::Object(made))
}
