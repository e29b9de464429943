// SPDX-License-Identifier: Apache-2.0
//! The expression language of Kubernetes: compiled against the types of what an expression can name, evaluated with a
//! limit of what that may cost.
//! <https://kubernetes.io/docs/reference/using-api/cel/>
//!
//! The grammar is the `cel` crate's. The type check, the interpreter and the libraries are here, because clients see
//! upstream's words for what is wrong with an expression, and because costs are counted while one runs.

mod ast;
mod check;
pub mod conditions;
mod constants;
mod cost;
mod declarations;
mod estimate;
mod eval;
mod format_check;
mod functions;
mod libraries;
mod operators;
mod parse;
mod program;
pub mod rules;
mod shape;
mod syntax;
pub mod type_check;
mod types;
mod value;

pub use estimate::Bounds;
pub use eval::{Activation, Fault};
pub use libraries::{Attributes, Authorize, Decision, Opaque, Reference};
pub use program::{Environment, Program};
pub use shape::{FieldShape, ListKind, ObjectShape, Shape, ShapeKind, escape};
pub use types::{Struct, Type};
pub use value::{Key, List, Map, StructValue, Value};

/// What one expression may cost when it runs.
pub(crate) const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all expressions of a resource or of a policy's binding may cost in one request.
pub const PER_OBJECT_LIMIT: i64 = 10_000_000;
/// What all match conditions of a webhook or a policy may cost in one request.
pub(crate) const MATCH_CONDITIONS_LIMIT: i64 = 2_500_000;

/// The variable `authorizer`, or with attributes `authorizer.requestResource`.
pub fn authorizer<'a>(by: &'a dyn Authorize, request: Option<Attributes>) -> Value<'a> {
    libraries::authorizer(by, request)
}
