// SPDX-License-Identifier: Apache-2.0
//! What of an expression is computed when its program is built: conversions of constants, and patterns that are
//! written out. What fails there is a fault of the expression, not of the data.

use super::ast::{Expr, Kind};
use super::eval::{Fault, value_of};
use super::functions;
use super::value::{Map, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

const CONVERSIONS: [&str; 9] = ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"];

/// Why the program cannot be built, if it cannot; what stands deeper comes first.
pub(super) fn fault(expr: &Expr) -> Option<String> {
    let below = expr.children().into_iter().find_map(fault);
    below.or_else(|| match own(expr) {
        Err(Fault::Error(why)) => Some(why),
        _ => None,
    })
}

fn own(expr: &Expr) -> Result<(), Fault> {
    let Kind::Call(call) = &expr.kind else { return Ok(()) };
    if matches!(call.function.as_str(), "matches" | "find" | "findAll")
        && let Some(Value::String(pattern)) = call.args.get(1).and_then(constant)
    {
        functions::check_pattern(&pattern)?;
    }
    converted(expr).transpose().map(|_| ())
}

/// What a conversion of a constant gives; nothing where it is none.
fn converted(expr: &Expr) -> Option<Result<Value<'_>, Fault>> {
    let Kind::Call(call) = &expr.kind else { return None };
    let [arg] = call.args.as_slice() else { return None };
    if call.member || !CONVERSIONS.contains(&call.function.as_str()) {
        return None;
    }
    let value = constant(arg)?;
    Some(match call.run {
        Some(run) => run(&[value]),
        None => Ok(value),
    })
}

fn constant(expr: &Expr) -> Option<Value<'_>> {
    match &expr.kind {
        Kind::Literal(literal) => Some(value_of(literal)),
        Kind::List(elements) if elements.iter().all(|e| !e.optional) => {
            Some(Value::list(elements.iter().map(|e| constant(&e.value)).collect::<Option<_>>()?))
        }
        Kind::Map(entries) if entries.iter().all(|e| !e.optional) => {
            let entry = |e: &super::ast::Entry| Some((constant(&e.key)?.key()?, Value::Null));
            let keys: BTreeMap<_, _> = entries.iter().map(entry).collect::<Option<_>>()?;
            Some(Value::Map(Map::Owned(Rc::new(keys)))).filter(|_| entries.iter().all(|e| constant(&e.value).is_some()))
        }
        _ => converted(expr)?.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Environment;

    #[test]
    fn conversions_of_constants_and_written_patterns_fail_when_the_program_is_built() {
        let text = "type conversion error from 'string' to";
        for (expression, want) in [
            ("double('x') > 1.0", Some(format!("{text} 'double'"))),
            ("false && uint('x') == 1u", Some(format!("{text} 'uint'"))),
            ("int(string(1) + 'x') == 1", None),
            ("timestamp(string(5)) == timestamp(0)", Some(format!("{text} 'google.protobuf.Timestamp'"))),
            ("int(1e30) == 1", Some("integer overflow".to_owned())),
            ("'a'.find('[') == ''", Some("error parsing regexp: missing closing ]: `[`".to_owned())),
            ("'a'.find('b') == ''", None),
        ] {
            let program = Environment::default().compile(expression).expect(expression);
            assert_eq!(program.constant_fault(), want, "{expression}");
        }
    }
}
