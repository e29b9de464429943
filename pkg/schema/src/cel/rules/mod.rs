// SPDX-License-Identifier: Apache-2.0
//! The rules of a CRD's schema (`x-kubernetes-validations`): compiled with the schema, checked when the CRD is
//! written, run when an object is.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

mod check;
mod field_path;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use knarr_types::{ErrorList, FieldPath};

use super::program::{Environment, Program};
use super::shape::Shape;
use super::types::Type;
use crate::crd::StructuralSchema;
use crate::crd::structural::{ListType, ValidationRule};

pub use check::{check_declarations, check_expressions};
pub(crate) use field_path::walk;
pub use run::one_line;

/// What messages call the type of a rule's `self`: upstream ends it with the clock's nanoseconds.
const SELF_TYPE: &str = "selfType000000000";

/// What objects are checked against: the rules of a schema and of all below it.
#[derive(Debug)]
pub struct Validator {
    shape: Shape,
    /// The type as the schema names it.
    ty: String,
    /// Its rules, or why none of them can run.
    rules: Result<Vec<Rule>, String>,
    properties: BTreeMap<String, Validator>,
    additional: Option<Box<Validator>>,
    items: Option<Box<Validator>>,
    all_of: Vec<Validator>,
    /// By what the elements of a list with keys are told apart.
    list_keys: Vec<String>,
}

/// What the rules say to an object.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong.
    pub errors: ErrorList,
    /// What is wrong and was so before in what did not change: the client is only told.
    pub warnings: Vec<String>,
}

/// A compiled rule, or why there is none.
#[derive(Debug)]
struct Rule {
    declared: ValidationRule,
    compiled: Result<Compiled, String>,
}

#[derive(Debug)]
struct Compiled {
    program: Program,
    uses_old_self: bool,
    message: Option<Result<Program, String>>,
    /// Where the error is, below the node.
    field_path: Option<String>,
}

impl Validator {
    /// The rules of a resource's schema; nothing where there are none.
    #[must_use]
    pub fn new(schema: &StructuralSchema) -> Option<Self> {
        Self::of(schema, true)
    }

    /// The rules of a schema, of a resource or not; nothing where there are none.
    #[must_use]
    pub fn of(schema: &StructuralSchema, resource: bool) -> Option<Self> {
        if !has_rules(schema) {
            return None;
        }
        build(schema, schema, Shape::of_schema(schema, resource, SELF_TYPE).as_ref())
    }

    /// What is wrong with a default: it must hold for objects that are new and for those that had it.
    pub(crate) fn validate_default(&self, value: &knarr_types::tree::Value, at: &FieldPath) -> ErrorList {
        let errors = run::validate_at(self, value, Some(value), at);
        if errors.is_empty() { run::validate_at(self, value, None, at) } else { errors }
    }

    /// Checks an object, and against the old one where there is one.
    #[must_use]
    pub fn validate(&self, object: &knarr_types::tree::Value, old: Option<&knarr_types::tree::Value>) -> Verdict {
        run::validate(self, object, old)
    }
}

fn has_rules(schema: &StructuralSchema) -> bool {
    let below = schema.properties.values().chain(schema.items.as_deref()).chain(schema.additional.schema());
    !schema.rules.is_empty() || below.chain(&schema.checks.all_of).any(has_rules)
}

/// `rules` are the node's own, or those of a partial schema of it below `allOf`. Without a shape they cannot run.
fn build(rules: &StructuralSchema, schema: &StructuralSchema, shape: Option<&Shape>) -> Option<Validator> {
    let mut properties = BTreeMap::new();
    for (name, partial) in &rules.properties {
        let Some(property) = schema.properties.get(name) else { continue };
        let inner = match super::shape::escape(name) {
            // What expressions cannot see is left out with all that is below it.
            Some(escaped) => shape.and_then(|shape| shape.field(&escaped).cloned()),
            None => Shape::of_schema(property, property.embedded_resource, SELF_TYPE),
        };
        if let Some(validator) = inner.and_then(|inner| build(partial, property, Some(&inner))) {
            properties.insert(name.clone(), validator);
        }
    }
    let element = |partial: Option<&StructuralSchema>, whole: Option<&StructuralSchema>| {
        build(partial?, whole?, shape.map(Shape::element)).map(Box::new)
    };
    let items = element(rules.items.as_deref(), schema.items.as_deref());
    let additional = element(rules.additional.schema(), schema.additional.schema());
    let all_of: Vec<Validator> =
        rules.checks.all_of.iter().filter_map(|partial| build(partial, schema, shape)).collect();
    let named = shape.filter(|_| !rules.rules.is_empty()).map(|shape| shape.renamed(SELF_TYPE));
    let compiled = match named {
        Some(named) => Ok(rules.rules.iter().map(|rule| compile(rule, schema, &named)).collect()),
        None if rules.rules.is_empty() => Ok(Vec::new()),
        None => Err("failed to convert to declType for CEL validation rules".to_owned()),
    };
    let is_empty = compiled.as_ref().is_ok_and(Vec::is_empty) && properties.is_empty();
    let is_empty = is_empty && items.is_none() && additional.is_none() && all_of.is_empty();
    let list_keys = if schema.list_type == ListType::Map { schema.list_map_keys.clone() } else { Vec::new() };
    (!is_empty).then(|| Validator {
        shape: shape.cloned().unwrap_or(Shape::DYN),
        ty: schema.ty.clone(),
        rules: compiled,
        properties,
        additional,
        items,
        all_of,
        list_keys,
    })
}

fn compile(declared: &ValidationRule, schema: &StructuralSchema, shape: &Shape) -> Rule {
    Rule { declared: declared.clone(), compiled: compiled(declared, schema, shape) }
}

fn compiled(declared: &ValidationRule, schema: &StructuralSchema, shape: &Shape) -> Result<Compiled, String> {
    let ty = shape.ty();
    let old = if declared.optional_old_self == Some(true) { Type::optional(ty.clone()) } else { ty.clone() };
    let environment = Environment::new(vec![("self", ty), ("oldSelf", old)]);
    let program = environment.compile(&declared.rule).map_err(|why| format!("compilation failed: {why}"))?;
    if *program.output() != Type::Bool {
        return Err("cel expression must evaluate to a bool".to_owned());
    }
    if let Some(why) = program.constant_fault() {
        return Err(format!("program instantiation failed: {why}"));
    }
    let message = (!declared.message_expression.is_empty()).then(|| message(&environment, declared));
    let field_path = field_path::normalize(&declared.field_path, schema).ok().filter(|path| !path.is_empty());
    Ok(Compiled { uses_old_self: program.mentions("oldSelf"), program, message, field_path })
}

fn message(environment: &Environment, declared: &ValidationRule) -> Result<Program, String> {
    let program = environment.compile(&declared.message_expression);
    let program = program.map_err(|why| format!("messageExpression compilation failed: {why}"))?;
    if *program.output() != Type::String {
        return Err("messageExpression must evaluate to a string".to_owned());
    }
    match program.constant_fault() {
        Some(why) => Err(format!("messageExpression instantiation failed: {why}")),
        None => Ok(program),
    }
}
