// SPDX-License-Identifier: Apache-2.0
//! What is wrong with the rules of a CRD: how they are written, whether they compile, what they could cost.

use knarr_types::{ErrorList, FieldError, FieldPath, Shown, go_json};

use super::{Compiled, SELF_TYPE, ValidationRule, compiled, field_path};
use crate::cel::shape::{MAX_REQUEST_BYTES, Shape, escape};
use crate::crd::StructuralSchema;
use crate::crd::structural::{Additional, ListType};

/// What one rule may be estimated to cost.
const EXPRESSION_LIMIT: u64 = 10_000_000;
/// What all rules of a schema may be estimated to cost.
const SCHEMA_LIMIT: u64 = 100_000_000;
const REASONS: [&str; 4] = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// How the rules of one node are written; what is wrong counts among the faults of the schema. Of a schema that is not
/// readable as a structural one every path may be right.
#[must_use]
pub fn check_declarations(schema: &StructuralSchema, path: &FieldPath, is_readable: bool) -> ErrorList {
    let rules = path.child("x-kubernetes-validations");
    let schema_of_paths = is_readable.then_some(schema);
    let of_rule = |(index, rule)| check_declaration(rule, schema_of_paths, &rules.index(index));
    schema.rules.iter().enumerate().flat_map(of_rule).collect()
}

fn has_line_break(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn check_declaration(rule: &ValidationRule, schema: Option<&StructuralSchema>, path: &FieldPath) -> ErrorList {
    const EMPTY: &str = "must be non-empty if specified";
    const BROKEN: &str = "must not contain line breaks";
    let mut errors = ErrorList::new();
    let (expression, message) = (rule.rule.trim(), rule.message.trim());
    let of_message = |detail: &str| FieldError::invalid(&path.child("message"), rule.message.as_str(), detail);
    if expression.is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if !rule.message.is_empty() && message.is_empty() {
        errors.push(of_message(EMPTY));
    } else if has_line_break(message) {
        errors.push(of_message(BROKEN));
    } else if has_line_break(expression) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&path.child("message"), detail));
    }
    if !rule.message_expression.is_empty() && rule.message_expression.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    if !rule.reason.is_empty() && !REASONS.contains(&rule.reason.as_str()) {
        errors.push(FieldError::not_supported(&path.child("reason"), rule.reason.as_str(), &REASONS));
    }
    let of_path = |detail: &str| FieldError::invalid(&path.child("fieldPath"), rule.field_path.as_str(), detail);
    if !rule.field_path.is_empty() && rule.field_path.trim().is_empty() {
        errors.push(of_path(EMPTY));
    }
    if has_line_break(&rule.field_path) {
        errors.push(of_path(BROKEN));
    }
    let leads_nowhere = |schema| field_path::normalize(&rule.field_path, schema).is_err();
    if !rule.field_path.is_empty() && schema.is_some_and(leads_nowhere) {
        errors.push(of_path("must be a valid path"));
    }
    errors
}

/// Compiles all rules of a version's schema, which stands at `path`, and estimates what they cost. Below nodes with
/// faults of their own (`schema_errors`) nothing is compiled.
#[must_use]
pub fn check_expressions(schema: &StructuralSchema, path: &FieldPath, schema_errors: &ErrorList) -> ErrorList {
    let mut check = Check { schema_errors, errors: ErrorList::new(), total: 0, most_expensive: Vec::new() };
    let root = Node {
        schema,
        above: Above::Unruled,
        path: path.clone(),
        cardinality: Some(1),
        uncorrelatable: None,
        root: true,
    };
    check.node(&root);
    check.total_cost(path);
    check.errors
}

/// What the nodes above say of the shape of a node.
enum Above {
    /// None of them has rules.
    Unruled,
    /// One has, and this is the shape of this node as they see it, if they do.
    Ruled(Option<Shape>),
    /// One has, and has no shape: so no node below it has.
    Broken,
}

/// A node of the schema.
struct Node<'a> {
    schema: &'a StructuralSchema,
    above: Above,
    path: FieldPath,
    /// How often there can be such a value; nothing where that is not bounded.
    cardinality: Option<u64>,
    /// The list or map above whose elements cannot be found again after a change.
    uncorrelatable: Option<FieldPath>,
    /// It is a resource.
    root: bool,
}

struct Check<'a> {
    schema_errors: &'a ErrorList,
    errors: ErrorList,
    total: u64,
    most_expensive: Vec<(FieldPath, u64)>,
}

impl Check<'_> {
    fn node(&mut self, node: &Node<'_>) {
        let schema = node.schema;
        let here = node.shape();
        let below = |shape: &dyn Fn(&Shape) -> Option<Shape>| match &here {
            Above::Ruled(Some(here)) => Above::Ruled(shape(here)),
            Above::Ruled(None) | Above::Unruled => Above::Unruled,
            Above::Broken => Above::Broken,
        };
        let element = |here: &Shape| Some(here.element().clone());
        if let Some(values) = schema.additional.schema() {
            self.node(&node.child(values, node.path.child("additionalProperties"), below(&element)));
        }
        for (name, property) in &schema.properties {
            let shape = below(&|here| here.field(&escape(name)?).cloned());
            self.node(&node.child(property, node.path.child("properties").key(name), shape));
        }
        if let Some(items) = schema.items.as_deref() {
            self.node(&node.child(items, node.path.child("items"), below(&element)));
        }
        let shape = if let Above::Ruled(shape) = &here { shape.as_ref() } else { None };
        self.rules(node, &schema.rules, shape);
    }

    fn rules(&mut self, node: &Node<'_>, rules: &[ValidationRule], shape: Option<&Shape>) {
        let below = |error: &FieldError| error.path.as_str().starts_with(node.path.as_str());
        if rules.is_empty() || self.schema_errors.iter().any(below) {
            return;
        }
        let list = node.path.child("x-kubernetes-validations");
        let Some(shape) = shape else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                          unable to convert structural schema to CEL declarations";
            let kind = knarr_types::FieldErrorType::Internal;
            self.errors.push(FieldError { kind, path: list, value: None, detail: detail.to_owned() });
            return;
        };
        let shape = shape.renamed(SELF_TYPE);
        for (index, rule) in rules.iter().enumerate() {
            self.rule(node, rule, &shape, &list.index(index));
        }
    }

    fn rule(&mut self, node: &Node<'_>, rule: &ValidationRule, shape: &Shape, path: &FieldPath) {
        let made = compiled(rule, node.schema, shape);
        let cost = made.as_ref().map_or(0, |made| made.program.max_cost(shape));
        let cardinality = node.cardinality.unwrap_or(MAX_REQUEST_BYTES / (shape.min_bytes + 1));
        self.observe(&path.child("rule"), cost.saturating_mul(cardinality), "estimated rule cost");
        let made = match made {
            Ok(made) => made,
            Err(why) => {
                self.errors.push(FieldError::invalid(&path.child("rule"), printed(rule), why));
                if rule.optional_old_self.is_some() {
                    self.unused_old_self(rule, path);
                }
                return;
            }
        };
        self.message(rule, &made, shape, path);
        match (&node.uncorrelatable, made.uses_old_self) {
            (Some(above), true) => {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {above}");
                self.errors.push(FieldError::invalid(&path.child("rule"), rule.rule.as_str(), detail));
            }
            (None, true) => {}
            (_, false) if rule.optional_old_self.is_some() => self.unused_old_self(rule, path),
            _ => {}
        }
    }

    fn unused_old_self(&mut self, rule: &ValidationRule, path: &FieldPath) {
        let given = rule.optional_old_self.unwrap_or_default();
        let detail = "may not be set if oldSelf is not used in rule";
        self.errors.push(FieldError::invalid(&path.child("optionalOldSelf"), given, detail));
    }

    fn message(&mut self, rule: &ValidationRule, made: &Compiled, shape: &Shape, path: &FieldPath) {
        let path = path.child("messageExpression");
        match &made.message {
            Some(Err(why)) => self.errors.push(FieldError::invalid(&path, printed(rule), why.as_str())),
            Some(Ok(program)) => {
                self.observe(&path, program.max_cost(shape), "estimated messageExpression cost");
            }
            None => {}
        }
    }

    fn observe(&mut self, path: &FieldPath, cost: u64, name: &str) {
        if cost > EXPRESSION_LIMIT {
            self.errors.push(FieldError::forbidden(path, too_expensive(name, cost, EXPRESSION_LIMIT)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_LIMIT / 100 {
            self.most_expensive.push((path.clone(), cost));
            self.most_expensive.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.most_expensive.truncate(4);
        }
    }

    fn total_cost(&mut self, path: &FieldPath) {
        if self.total <= SCHEMA_LIMIT {
            return;
        }
        for (path, _) in std::mem::take(&mut self.most_expensive) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.errors.push(FieldError::forbidden(&path, detail));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.push(FieldError::forbidden(path, too_expensive(name, self.total, SCHEMA_LIMIT)));
    }
}

impl<'a> Node<'a> {
    /// Its own shape where it has rules, or one above has: what those above cannot see is looked at by itself.
    fn shape(&self) -> Above {
        match &self.above {
            Above::Broken => return Above::Broken,
            Above::Ruled(Some(shape)) => return Above::Ruled(Some(shape.clone())),
            Above::Unruled if self.schema.rules.is_empty() => return Above::Unruled,
            Above::Ruled(None) | Above::Unruled => {}
        }
        let shape = Shape::of_schema(self.schema, self.root || self.schema.embedded_resource, SELF_TYPE);
        shape.map_or(Above::Broken, |shape| Above::Ruled(Some(shape)))
    }

    fn child(&self, schema: &'a StructuralSchema, path: FieldPath, above: Above) -> Node<'a> {
        let factor = match self.schema.ty.as_str() {
            "object" if !matches!(self.schema.additional, Additional::Unset) => {
                self.schema.checks.max_properties.map(|n| n.max(0))
            }
            "array" => self.schema.checks.max_items.map(|n| n.max(0)),
            _ => Some(1),
        };
        let factor = factor.and_then(|n| u64::try_from(n).ok());
        let cardinality = self.cardinality.zip(factor).map(|(a, b)| a.saturating_mul(b));
        let own = (self.schema.ty == "array" && self.schema.list_type != ListType::Map).then(|| self.path.clone());
        Node { schema, above, path, cardinality, uncorrelatable: self.uncorrelatable.clone().or(own), root: false }
    }
}

fn too_expensive(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
         and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as upstream prints its own struct.
fn printed(rule: &ValidationRule) -> Shown {
    let text = |text: &str| go_json(knarr_types::tree::Value::from(text).to_string());
    let reason = if rule.reason.is_empty() { "null".to_owned() } else { text(&rule.reason) };
    let optional = rule.optional_old_self.map_or("null".to_owned(), |set| set.to_string());
    Shown::Printed(format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\
         \"OptionalOldSelf\":{optional}}}",
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path)
    ))
}
