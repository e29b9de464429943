// SPDX-License-Identifier: Apache-2.0
//! Policies as they run.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use knarr_schema::cel::Type;
use knarr_schema::cel::conditions::{Condition, Scope, environment};
use knarr_types::Object;
use knarr_types::tree::Value;
use parking_lot::Mutex;

/// How many compiled policies are kept.
const KEPT: usize = 1024;

/// A compiled policy, validating or mutating.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    /// What cannot be computed refuses the request.
    pub fails: bool,
    pub conditions: Vec<Condition>,
    pub variables: Vec<(String, Condition)>,
    pub validations: Vec<Validation>,
    /// The keys of annotations for the audit, and their values.
    pub annotations: Vec<(String, Condition)>,
    pub mutations: Vec<Mutation>,
    /// It runs again after others changed the object.
    pub again: bool,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub rule: Condition,
    pub message_expression: Option<Condition>,
    pub message: String,
    pub reason: String,
}

#[derive(Debug)]
pub(super) enum Mutation {
    ApplyConfiguration(Condition),
    JsonPatch(Condition),
}

/// By uid and generation.
type Cache = HashMap<(String, i64), Arc<Policy>>;

static COMPILED: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

/// The policy compiled, now or before.
pub(super) fn of(policy: &Object) -> Arc<Policy> {
    let metadata = &policy["metadata"];
    let uid = metadata["uid"].as_str().unwrap_or_default().to_owned();
    let key = (uid, metadata["generation"].as_i64().unwrap_or_default());
    if let Some(known) = COMPILED.lock().get(&key) {
        return Arc::clone(known);
    }
    let made = Arc::new(compile(policy));
    if !key.0.is_empty() {
        let mut compiled = COMPILED.lock();
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.retain(|(uid, _), _| *uid != key.0);
        compiled.insert(key, Arc::clone(&made));
    }
    made
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

fn compile(policy: &Object) -> Policy {
    let spec = &policy["spec"];
    let mutating = !spec["mutations"].is_null();
    let mut scope =
        Scope { params: !spec["paramKind"].is_null(), authorizer: true, mutation: mutating, ..Scope::default() };
    let of_conditions = environment(&scope);
    let condition = |c: &Value| Condition::compile(text(c, "name"), text(c, "expression"), &of_conditions);
    let conditions = items(spec, "matchConditions").map(condition).collect();
    let variables = variables(spec, &mut scope);
    let full = environment(&scope);
    let of_messages = environment(&Scope { authorizer: false, ..scope });
    let validation = |v: &Value| Validation {
        rule: Condition::compile("", text(v, "expression"), &full),
        message_expression: v["messageExpression"].as_str().map(|text| Condition::compile("", text, &of_messages)),
        message: text(v, "message").trim().to_owned(),
        reason: text(v, "reason").to_owned(),
    };
    let annotation = |a: &Value| (text(a, "key").to_owned(), Condition::compile("", text(a, "valueExpression"), &full));
    let mutation = |m: &Value| match text(m, "patchType") {
        "JSONPatch" => Mutation::JsonPatch(Condition::compile("", text(&m["jsonPatch"], "expression"), &full)),
        _ => Mutation::ApplyConfiguration(Condition::compile("", text(&m["applyConfiguration"], "expression"), &full)),
    };
    Policy {
        name: text(&policy["metadata"], "name").to_owned(),
        fails: text(spec, "failurePolicy") != "Ignore",
        conditions,
        validations: items(spec, "validations").map(validation).collect(),
        annotations: items(spec, "auditAnnotations").map(annotation).collect(),
        mutations: items(spec, "mutations").map(mutation).collect(),
        variables,
        again: text(spec, "reinvocationPolicy") == "IfNeeded",
    }
}

/// The variables, each of which sees those before it.
fn variables(spec: &Value, scope: &mut Scope) -> Vec<(String, Condition)> {
    scope.variables = Some(Vec::new());
    let mut made = Vec::new();
    for variable in items(spec, "variables") {
        let name = text(variable, "name");
        let condition = Condition::compile(name, text(variable, "expression"), &environment(scope));
        let gives = condition.program.as_ref().map_or(Type::Dyn, |program| program.output().as_variable());
        scope.variables.get_or_insert_default().push((name.to_owned(), gives));
        made.push((name.to_owned(), condition));
    }
    made
}
