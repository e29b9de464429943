// SPDX-License-Identifier: Apache-2.0
//! Rules at work: every rule of every node on the object, within one budget of cost.

use knarr_types::tree::Value as Json;
use knarr_types::{ErrorList, FieldError, FieldErrorType, FieldPath};

use super::{Compiled, Rule, Validator, Verdict};
use crate::cel::eval::{Activation, Fault};
use crate::cel::value::Value;
use crate::cel::{PER_CALL_LIMIT, PER_OBJECT_LIMIT};
use crate::crd::structural::ValidationRule;

/// What a message that is computed may be long.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

pub(super) fn validate(validator: &Validator, object: &Json, old: Option<&Json>) -> Verdict {
    let mut run = Run { budget: PER_OBJECT_LIMIT, verdict: Verdict::default() };
    let ratchet = Ratchet { current: old, parent: None, is_root: true };
    run.node(validator, &At { path: FieldPath::root(), object, old, ratchet });
    run.verdict
}

/// Checks a value at a place of its own, where nothing that was wrong before is tolerated.
pub(super) fn validate_at(validator: &Validator, value: &Json, old: Option<&Json>, path: &FieldPath) -> ErrorList {
    let mut run = Run { budget: PER_OBJECT_LIMIT, verdict: Verdict::default() };
    let ratchet = Ratchet { current: None, parent: None, is_root: false };
    run.node(validator, &At { path: path.clone(), object: value, old, ratchet });
    run.verdict.errors
}

/// A node of the object, with what it is compared to.
struct At<'a> {
    path: FieldPath,
    object: &'a Json,
    /// What was there before, for rules about changes.
    old: Option<&'a Json>,
    ratchet: Ratchet<'a>,
}

/// What was there before, for what did not change: elements of lists without keys change with their list.
#[derive(Clone, Copy)]
struct Ratchet<'a> {
    current: Option<&'a Json>,
    /// The nearest node above that could be found before: itself, and as it was.
    parent: Option<(&'a Json, &'a Json)>,
    /// It is the whole object, whose metadata no schema knows: it always counts as changed.
    is_root: bool,
}

impl<'a> Ratchet<'a> {
    fn unchanged(&self, object: &Json) -> bool {
        match (self.current, self.parent) {
            _ if self.is_root => false,
            (Some(old), _) => old == object,
            (None, Some((new, old))) => new == old,
            (None, None) => false,
        }
    }

    fn below(&self, object: &'a Json, find: impl Fn(&'a Json) -> Option<&'a Json>) -> Self {
        match self.current {
            Some(old) => Self { current: find(old), parent: Some((object, old)), is_root: false },
            None => *self,
        }
    }
}

/// What no rule can run after.
struct Exhausted;

struct Run {
    budget: i64,
    verdict: Verdict,
}

struct Variables<'a> {
    this: Value<'a>,
    old: Option<Value<'a>>,
}

impl<'a> Activation<'a> for Variables<'a> {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        match name {
            "self" => Some(self.this.clone()),
            "oldSelf" => self.old.clone(),
            _ => None,
        }
    }
}

impl Run {
    fn node(&mut self, validator: &Validator, at: &At<'_>) -> bool {
        if at.object.is_null() {
            return true;
        }
        if self.rules(validator, at).is_err() {
            self.budget = -1;
            return false;
        }
        for partial in &validator.all_of {
            let ratchet = Ratchet { current: None, ..at.ratchet };
            let at = At { path: at.path.clone(), object: at.object, old: at.old, ratchet };
            if !self.node(partial, &at) {
                return false;
            }
        }
        match at.object {
            Json::Array(elements) => self.elements(validator, at, elements),
            Json::Object(fields) => self.fields(validator, at, fields),
            _ => true,
        }
    }

    fn elements(&mut self, validator: &Validator, at: &At<'_>, elements: &[Json]) -> bool {
        let Some(items) = &validator.items else { return true };
        elements.iter().enumerate().all(|(index, element)| {
            let old = at.old.and_then(|old| same_element(old, element, &validator.list_keys));
            let ratchet = at.ratchet.below(at.object, |old| same_element(old, element, &validator.list_keys));
            self.node(items, &At { path: at.path.index(index), object: element, old, ratchet })
        })
    }

    fn fields(&mut self, validator: &Validator, at: &At<'_>, fields: &knarr_types::tree::Map) -> bool {
        fields.iter().all(|(name, value)| {
            let old = at.old.and_then(|old| old.get(name));
            let (inner, path) = match (&validator.additional, validator.properties.get(name.as_str())) {
                (Some(additional), _) => (additional.as_ref(), at.path.key(name)),
                (None, Some(property)) => (property, at.path.child(name)),
                (None, None) => return true,
            };
            let ratchet = at.ratchet.below(at.object, |old| old.get(name));
            self.node(inner, &At { path, object: value, old, ratchet })
        })
    }

    fn rules(&mut self, validator: &Validator, at: &At<'_>) -> Result<(), Exhausted> {
        let invalid = |detail: String| FieldError::invalid(&at.path, validator.ty.as_str(), detail);
        let rules = match &validator.rules {
            Ok(rules) => rules,
            Err(why) => {
                self.verdict.errors.push(invalid(format!("rule compiler initialization error: {why}")));
                return Ok(());
            }
        };
        for rule in rules {
            if self.budget <= 0 {
                self.verdict.errors.push(invalid(OUT_OF_BUDGET.to_owned()));
                return Err(Exhausted);
            }
            let compiled = match &rule.compiled {
                Ok(compiled) => compiled,
                Err(why) => {
                    self.verdict.errors.push(invalid(format!("rule compile error: {why}")));
                    continue;
                }
            };
            let optional = rule.declared.optional_old_self == Some(true);
            if compiled.uses_old_self && at.old.is_none() && !optional {
                continue;
            }
            self.rule(validator, rule, compiled, at)?;
        }
        Ok(())
    }

    fn rule(&mut self, validator: &Validator, rule: &Rule, compiled: &Compiled, at: &At<'_>) -> Result<(), Exhausted> {
        let this = Value::from_json(at.object, &validator.shape);
        let old = at.old.map(|old| Value::from_json(old, &validator.shape));
        let plain = Variables { this: this.clone(), old: old.clone() };
        let variables = match rule.declared.optional_old_self {
            Some(true) => Variables { this, old: Some(old.map_or(Value::Optional(None), Value::some)) },
            _ => Variables { this, old },
        };
        let invalid = |detail: String| FieldError::invalid(&at.path, validator.ty.as_str(), detail);
        let (outcome, cost) = compiled.program.run(&variables, PER_CALL_LIMIT);
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        if cost > self.budget {
            self.verdict.errors.push(invalid(OUT_OF_BUDGET.to_owned()));
            return Err(Exhausted);
        }
        self.budget -= cost;
        match outcome {
            Ok(Value::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(fault) => {
                self.verdict.errors.push(invalid(explain(&fault, &rule.declared)));
                return if fault == Fault::Cost { Err(Exhausted) } else { Ok(()) };
            }
        }
        let path = match &compiled.field_path {
            Some(below) => at.path.child(below),
            None => at.path.clone(),
        };
        let computed = match &compiled.message {
            Some(Ok(program)) => self.message(program, &plain, &rule.declared),
            _ => Ok(None),
        };
        let (detail, exhausted) = match computed {
            Ok(message) => (message.unwrap_or_else(|| default_message(&rule.declared)), false),
            Err(why) => (why, true),
        };
        let error = if exhausted {
            FieldError::invalid(&path, validator.ty.as_str(), detail)
        } else {
            refusal(path, at.object, &validator.ty, detail, &rule.declared.reason)
        };
        if !compiled.uses_old_self && at.ratchet.unchanged(at.object) {
            self.verdict.warnings.push(error.to_string());
        } else {
            self.verdict.errors.push(error);
        }
        if exhausted { Err(Exhausted) } else { Ok(()) }
    }

    /// The message that an expression gives; nothing where it gives none that can be shown.
    fn message(
        &mut self,
        program: &super::Program,
        variables: &Variables<'_>,
        declared: &ValidationRule,
    ) -> Result<Option<String>, String> {
        let (outcome, cost) = program.run(&Shortened(variables), PER_CALL_LIMIT);
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        if cost > self.budget {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further \
                        validation rules will be run"
                .to_owned());
        }
        self.budget -= cost;
        match outcome {
            Ok(Value::String(text)) => Ok(one_line(&text)),
            Err(Fault::Cost) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                declared.message_expression
            )),
            _ => Ok(None),
        }
    }
}

/// The same variables for a shorter time.
struct Shortened<'s, 'a>(&'s Variables<'a>);

impl<'s, 'a: 's> Activation<'s> for Shortened<'s, 'a> {
    fn variable(&self, name: &str) -> Option<Value<'s>> {
        self.0.variable(name)
    }
}

/// One line that says something, and not too long: what an expression may give as a message.
#[must_use]
pub fn one_line(text: &str) -> Option<String> {
    let text = text.trim();
    let good = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
    good.then(|| text.to_owned())
}

/// The element of the old list with the same keys.
fn same_element<'a>(old: &'a Json, element: &Json, keys: &[String]) -> Option<&'a Json> {
    if keys.is_empty() {
        return None;
    }
    old.as_array()?.iter().find(|old| keys.iter().all(|key| old.get(key) == element.get(key)))
}

/// A rule by its message, or as it is written.
fn name_of(declared: &ValidationRule) -> &str {
    if declared.message.is_empty() { declared.rule.trim() } else { declared.message.trim() }
}

fn default_message(declared: &ValidationRule) -> String {
    match declared.message.is_empty() {
        true => format!("failed rule: {}", declared.rule.trim()),
        false => declared.message.trim().to_owned(),
    }
}

fn explain(fault: &Fault, declared: &ValidationRule) -> String {
    let rule = name_of(declared);
    match fault {
        Fault::Cost => format!(
            "'{fault}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
        ),
        Fault::Error(why) if why.starts_with("no such overload") => format!(
            "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
        ),
        Fault::Error(why) => format!("{why} evaluating rule: {rule}"),
    }
}

/// What the client reads; objects and lists are not repeated to it.
fn refusal(path: FieldPath, value: &Json, ty: &str, detail: String, reason: &str) -> FieldError {
    let shown = (ty != "object" && ty != "array").then(|| value.clone().into());
    match reason {
        "FieldValueForbidden" => FieldError::forbidden(&path, detail),
        "FieldValueRequired" => FieldError::required(&path, detail),
        "FieldValueDuplicate" => {
            FieldError { kind: FieldErrorType::Duplicate, path, value: shown, detail: String::new() }
        }
        _ => FieldError { kind: FieldErrorType::Invalid, path, value: shown, detail },
    }
}
