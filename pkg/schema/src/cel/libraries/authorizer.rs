// SPDX-License-Identifier: Apache-2.0
//! Asking who may do what: `authorizer.group('apps').resource('deployments').namespace('x').check('create').allowed()`.

use super::Opaque;
use crate::cel::eval::Fault;
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::Value;
use crate::rules::names;

/// Who answers.
pub trait Authorize {
    /// Whether this is allowed.
    fn check(&self, attributes: &Attributes) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// A service account's namespace and name; none for who makes the request.
    pub service_account: Option<(String, String)>,
    /// A path outside of the API; empty for a resource.
    pub path: String,
    /// The group of the resource.
    pub group: String,
    /// Its plural.
    pub resource: String,
    /// Its part.
    pub subresource: String,
    /// Empty for the cluster.
    pub namespace: String,
    /// Empty for all.
    pub name: String,
    /// As a list would select.
    pub field_selector: String,
    /// As a list would select.
    pub label_selector: String,
    /// What would be done.
    pub verb: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It is.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// Why there is no answer; empty where there is one.
    pub error: String,
}

/// A question as far as it is asked.
#[derive(Clone)]
pub struct Check<'a> {
    by: &'a dyn Authorize,
    stage: Stage,
    asked: Attributes,
}

impl std::fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("stage", &self.stage).field("asked", &self.asked).finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// The variable `authorizer`; with attributes it is `authorizer.requestResource`.
pub fn of<'a>(by: &'a dyn Authorize, request: Option<Attributes>) -> Value<'a> {
    let stage = if request.is_some() { Stage::Resource } else { Stage::Authorizer };
    Value::opaque(Opaque::Check(Check { by, stage, asked: request.unwrap_or_default() }))
}

impl Check<'_> {
    pub(super) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
        }
    }
}

pub(super) fn find(name: &str) -> Option<Function> {
    asking(name).or_else(|| narrowing(name)).or_else(|| reading(name))
}

fn asking(name: &str) -> Option<Function> {
    Some(match name {
        "path" => |args| {
            step(args, Stage::Authorizer, Stage::Path, |asked, path| match path.trim() {
                "" => Err(Fault::new("path must not be empty")),
                _ => set(&mut asked.path, path),
            })
        },
        "group" => |args| step(args, Stage::Authorizer, Stage::Group, |asked, group| set(&mut asked.group, group)),
        "resource" => |args| {
            step(args, Stage::Group, Stage::Resource, |asked, resource| match resource.trim() {
                "" => Err(Fault::new("resource must not be empty")),
                _ => set(&mut asked.resource, resource),
            })
        },
        "serviceAccount" => |args| match args {
            [who, Value::String(namespace), Value::String(name)] => service_account(who, namespace, name),
            _ => none(),
        },
        "check" => |args| match args {
            [what, Value::String(verb)] => {
                let Some(check) = question(what) else { return none() };
                if !matches!(check.stage, Stage::Path | Stage::Resource) {
                    return none();
                }
                let asked = Attributes { verb: verb.to_string(), ..check.asked.clone() };
                Ok(Value::opaque(Opaque::Decision(check.by.check(&asked))))
            }
            _ => none(),
        },
        _ => return None,
    })
}

fn narrowing(name: &str) -> Option<Function> {
    Some(match name {
        "subresource" => |args| narrow(args, |asked, value| set(&mut asked.subresource, value)),
        "namespace" => |args| narrow(args, |asked, value| set(&mut asked.namespace, value)),
        "name" => |args| narrow(args, |asked, value| set(&mut asked.name, value)),
        "fieldSelector" => |args| narrow(args, |asked, value| set(&mut asked.field_selector, value)),
        "labelSelector" => |args| narrow(args, |asked, value| set(&mut asked.label_selector, value)),
        _ => return None,
    })
}

fn reading(name: &str) -> Option<Function> {
    Some(match name {
        "allowed" => |args| read(args, |decision| Value::Bool(decision.allowed)),
        "reason" => |args| read(args, |decision| Value::text(decision.reason.as_str())),
        "errored" => |args| read(args, |decision| Value::Bool(!decision.error.is_empty())),
        "error" => |args| read(args, |decision| Value::text(decision.error.as_str())),
        _ => return None,
    })
}

fn set(field: &mut String, value: &str) -> Result<(), Fault> {
    value.clone_into(field);
    Ok(())
}

fn question<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Check<'a>> {
    match value {
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Check(check) => Some(check),
            _ => None,
        },
        _ => None,
    }
}

type Set = fn(&mut Attributes, &str) -> Result<(), Fault>;

fn step<'a>(args: &[Value<'a>], from: Stage, to: Stage, set: Set) -> Outcome<'a> {
    let [what, Value::String(text)] = args else { return none() };
    let Some(check) = question(what).filter(|check| check.stage == from) else { return none() };
    let mut next = Check { stage: to, ..check.clone() };
    set(&mut next.asked, text)?;
    Ok(Value::opaque(Opaque::Check(next)))
}

fn narrow<'a>(args: &[Value<'a>], set: Set) -> Outcome<'a> {
    step(args, Stage::Resource, Stage::Resource, set)
}

fn service_account<'a>(who: &Value<'a>, namespace: &str, name: &str) -> Outcome<'a> {
    let Some(check) = question(who).filter(|check| check.stage == Stage::Authorizer) else { return none() };
    if !names::dns1123_subdomain(name).is_empty() {
        return Err(Fault::new("Invalid service account name"));
    }
    if !names::dns1123_label(namespace).is_empty() {
        return Err(Fault::new("Invalid service account namespace"));
    }
    let mut next = check.clone();
    next.asked.service_account = Some((namespace.to_owned(), name.to_owned()));
    Ok(Value::opaque(Opaque::Check(next)))
}

fn read<'a>(args: &[Value<'a>], f: fn(&Decision) -> Value<'a>) -> Outcome<'a> {
    let [Value::Opaque(of)] = args else { return none() };
    match of.as_ref() {
        Opaque::Decision(decision) => Ok(f(decision)),
        _ => none(),
    }
}
