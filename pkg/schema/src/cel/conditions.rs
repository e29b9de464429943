// SPDX-License-Identifier: Apache-2.0
//! Expressions about requests: match conditions of webhooks, and the expressions of admission policies, which see the
//! same variables.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use knarr_types::tree::Value as Json;

use super::eval::{Activation, Fault};
use super::libraries::{Attributes, Authorize};
use super::program::{Environment, Program};
use super::shape::{Shape, ShapeKind};
use super::types::{Struct, Type};
use super::value::Value;
use super::{MATCH_CONDITIONS_LIMIT, PER_CALL_LIMIT};

/// Which variables an expression about requests may name besides `object`, `oldObject`, `request` and
/// `namespaceObject`.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `params`
    pub params: bool,
    /// `authorizer`
    pub authorizer: bool,
    /// `variables`, by name, with what they give.
    pub variables: Option<Vec<(String, Type)>>,
    /// `Object{...}` and `JSONPatch{...}` can be written.
    pub mutation: bool,
    /// The type of `object` and `oldObject`, where it is known.
    pub object: Option<Type>,
    /// The type of `params`, where it is known.
    pub params_type: Option<Type>,
}

/// A named condition.
#[derive(Clone, Debug)]
pub struct Condition {
    /// How messages call it.
    pub name: String,
    /// As it was written.
    pub expression: String,
    /// Compiled, or why not.
    pub program: Result<Arc<Program>, String>,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Matches,
    /// This one does not hold: whatever failed in others, the request is not meant.
    Skips(String),
    /// None is false, but these could not be computed.
    Failed(Vec<String>),
}

/// What expressions about one request see.
pub struct Subject<'a> {
    /// The object as it would be; none for deletes.
    pub object: Option<&'a Json>,
    /// The object as it is; none for creates.
    pub old_object: Option<&'a Json>,
    /// The AdmissionRequest.
    pub request: &'a Json,
    /// The parameters of the binding.
    pub params: Option<&'a Json>,
    /// The request's namespace, whole.
    pub namespace: Option<&'a Json>,
    /// Who answers what may be done, and what the request itself asks.
    pub authorizer: Option<(&'a dyn Authorize, Attributes)>,
    /// Variables of the policy, computed when they are first asked for.
    pub variables: &'a [(String, Condition)],
    computed: RefCell<HashMap<String, Result<Value<'a>, Fault>>>,
    spent: Cell<u64>,
}

/// All that the expressions of one binding may still cost.
#[derive(Debug)]
pub struct Budget(pub i64);

/// How to compile expressions about requests.
#[must_use]
pub fn environment(scope: &Scope) -> Environment {
    let object = scope.object.clone().unwrap_or(Type::Dyn);
    let mut environment = Environment::new(vec![
        ("object", object.clone()),
        ("oldObject", object),
        ("request", REQUEST.ty()),
        ("namespaceObject", NAMESPACE.ty()),
    ]);
    let mut add = |name: &str, ty: Type| environment.variables.push((name.to_owned(), ty));
    if scope.params {
        add("params", scope.params_type.clone().unwrap_or(Type::Dyn));
    }
    if scope.authorizer {
        add("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"));
        add("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
    }
    if let Some(variables) = &scope.variables {
        let fields = Some(variables.iter().cloned().collect());
        add("variables", Type::Struct(Arc::new(Struct { name: "kubernetes.variables".to_owned(), fields })));
    }
    if scope.mutation {
        let fields = [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
        let fields = fields.map(|(name, ty)| (name.to_owned(), ty)).into_iter().collect();
        let patch = Struct { name: "JSONPatch".to_owned(), fields: Some(fields) };
        environment.structs = vec![Type::open_struct("Object"), Type::Struct(Arc::new(patch))];
    }
    environment
}

impl Condition {
    /// Compiles a condition of a webhook or a policy.
    #[must_use]
    pub fn compile(name: &str, expression: &str, environment: &Environment) -> Self {
        let program = environment.compile(expression).map(Arc::new);
        Self { name: name.to_owned(), expression: expression.to_owned(), program }
    }

    /// What it gives.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn run<'a>(&'a self, subject: &Subject<'a>, budget: &mut Budget) -> Result<Value<'a>, String> {
        let program = self.program.as_ref().map_err(|why| format!("compilation error: compilation failed: {why}"))?;
        if budget.0 < 0 {
            return Err(OUT_OF_BUDGET.to_owned());
        }
        subject.spent.set(0);
        let (outcome, cost) = program.run(subject, PER_CALL_LIMIT);
        let cost = cost.saturating_add(subject.spent.get());
        budget.0 = budget.0.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
        if budget.0 < 0 {
            return Err(OUT_OF_BUDGET.to_owned());
        }
        outcome.map_err(|fault| format!("expression '{}' resulted in error: {fault}", self.expression))
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Whether the conditions hold for the request.
#[must_use]
pub fn evaluate<'a>(conditions: &'a [Condition], subject: &Subject<'a>) -> Verdict {
    let mut budget = Budget(MATCH_CONDITIONS_LIMIT);
    let mut failed = Vec::new();
    for condition in conditions {
        match condition.run(subject, &mut budget) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => return Verdict::Skips(condition.name.clone()),
            Err(why) => failed.push(why),
        }
    }
    if failed.is_empty() { Verdict::Matches } else { Verdict::Failed(failed) }
}

impl<'a> Subject<'a> {
    /// A request about an object; the rest is set where it is known.
    #[must_use]
    pub fn new(request: &'a Json, object: Option<&'a Json>, old_object: Option<&'a Json>) -> Self {
        Self {
            object,
            old_object,
            request,
            params: None,
            namespace: None,
            authorizer: None,
            variables: &[],
            computed: RefCell::default(),
            spent: Cell::new(0),
        }
    }

    fn computed(&self, name: &str) -> Option<Result<Value<'a>, Fault>> {
        if let Some(known) = self.computed.borrow().get(name) {
            return Some(known.clone());
        }
        let (_, variable) = self.variables.iter().find(|(n, _)| n == name)?;
        let outcome = match &variable.program {
            Ok(program) => {
                // A variable cannot name itself or a later one, so this ends.
                let (outcome, cost) = program.run(self, PER_CALL_LIMIT);
                self.spent.set(self.spent.get().saturating_add(cost));
                outcome
            }
            Err(why) => Err(Fault::Error(format!("composited variable {name:?} fails to compile: {why}"))),
        };
        let outcome = match outcome {
            Err(Fault::Error(why)) => {
                Err(Fault::Error(format!("composited variable {name:?} fails to evaluate: {why}")))
            }
            other => other,
        };
        self.computed.borrow_mut().insert(name.to_owned(), outcome.clone());
        Some(outcome)
    }
}

impl<'a> Activation<'a> for Subject<'a> {
    fn variable(&self, name: &str) -> Option<Value<'a>> {
        let free = |json: Option<&'a Json>| json.map_or(Value::Null, |json| Value::from_json(json, &Shape::DYN));
        Some(match name {
            "object" => free(self.object),
            "oldObject" => free(self.old_object),
            "params" => free(self.params),
            "request" => Value::from_json(self.request, &REQUEST),
            "namespaceObject" => self.namespace.map_or(Value::Null, |json| Value::from_json(json, &NAMESPACE)),
            "authorizer" => super::authorizer(self.authorizer.as_ref()?.0, None),
            _ => return None,
        })
    }

    fn member(&self, variable: &str, member: &str) -> Option<Result<Value<'a>, Fault>> {
        match (variable, member) {
            ("variables", name) => self.computed(name),
            ("authorizer", "requestResource") => {
                let (by, attributes) = self.authorizer.as_ref()?;
                Some(Ok(super::authorizer(*by, Some(attributes.clone()))))
            }
            _ => None,
        }
    }
}

fn of(kind: ShapeKind) -> Shape {
    Shape { kind, ..Shape::DYN }
}

fn texts(name: &str, fields: &[&'static str]) -> Shape {
    object(name, fields.iter().map(|field| (*field, Shape::STRING)).collect())
}

fn list_of(shape: Shape) -> Shape {
    of(ShapeKind::List(Arc::new(shape), super::ListKind::Atomic))
}

fn map_of(shape: Shape) -> Shape {
    of(ShapeKind::Map(Arc::new(shape)))
}

fn object(name: &str, fields: Vec<(&str, Shape)>) -> Shape {
    Shape::unescaped_object(name, fields)
}

static REQUEST: LazyLock<Shape> = LazyLock::new(|| {
    let kind = texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = object(
        "kubernetes.UserInfo",
        vec![
            ("username", Shape::STRING),
            ("uid", Shape::STRING),
            ("groups", list_of(Shape::STRING)),
            ("extra", map_of(list_of(Shape::STRING))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Shape::STRING),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Shape::STRING),
            ("name", Shape::STRING),
            ("namespace", Shape::STRING),
            ("operation", Shape::STRING),
            ("userInfo", user),
            ("dryRun", of(ShapeKind::Bool)),
            ("options", Shape::DYN),
        ],
    )
});

static NAMESPACE: LazyLock<Shape> = LazyLock::new(|| {
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        vec![
            ("name", Shape::STRING),
            ("generateName", Shape::STRING),
            ("namespace", Shape::STRING),
            ("labels", map_of(Shape::STRING)),
            ("annotations", map_of(Shape::STRING)),
            ("UID", Shape::STRING),
            ("creationTimestamp", of(ShapeKind::Timestamp)),
            ("deletionGracePeriodSeconds", of(ShapeKind::Int)),
            ("deletionTimestamp", of(ShapeKind::Timestamp)),
            ("generation", of(ShapeKind::Int)),
            ("resourceVersion", Shape::STRING),
            ("finalizers", list_of(Shape::STRING)),
        ],
    );
    object(
        "kubernetes.Namespace",
        vec![
            ("metadata", metadata),
            ("spec", object("kubernetes.NamespaceSpec", vec![("finalizers", list_of(Shape::STRING))])),
            ("status", texts("kubernetes.NamespaceStatus", &["phase"])),
        ],
    )
});
