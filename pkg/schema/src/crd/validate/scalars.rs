// SPDX-License-Identifier: Apache-2.0
//! Text and numbers against what a schema says of them.

use serde_json::{Number, Value};

use super::value::What;
use crate::crd::structural::StructuralSchema;

/// The first fault of a text.
pub(super) fn text(text: &str, schema: &StructuralSchema, path: &str) -> Option<What> {
    let checks = &schema.checks;
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(most) = checks.max_length.filter(|most| length > *most) {
        return Some(What::TooLong(most));
    }
    let least = checks.min_length.filter(|least| length < *least);
    let said = match (least, &checks.pattern) {
        (Some(least), _) => format!("should be at least {least} chars long"),
        (None, Some(pattern)) if !pattern.matches(text) => format!("should match '{}'", pattern.text),
        _ => return None,
    };
    Some(What::Invalid(text.into(), format!("{path} in body {said}")))
}

/// All faults of a number.
pub(super) fn number(number: &Number, schema: &StructuralSchema, path: &str) -> Vec<What> {
    let checks = &schema.checks;
    let mut faults = Vec::new();
    faults.extend(out_of_range(number, schema, path).map(What::Said));
    let float = number.as_f64().unwrap_or_default();
    let mut say = |words: String| {
        faults.push(What::Invalid(Value::Number(number.clone()), format!("{path} in body {words}")));
    };
    if let Some(factor) = &checks.multiple_of
        && !is_multiple(number, factor)
    {
        say(format!("should be a multiple of {}", shown(factor)));
    }
    let bound = |bound: &Number| bound.as_f64().unwrap_or_default();
    if let Some(least) = &checks.minimum {
        let exclusive = checks.exclusive_minimum;
        if float < bound(least) || (exclusive && float <= bound(least)) {
            let words = if exclusive { "greater than" } else { "greater than or equal to" };
            say(format!("should be {words} {}", shown(least)));
        }
    }
    if let Some(most) = &checks.maximum {
        let exclusive = checks.exclusive_maximum;
        if float > bound(most) || (exclusive && float >= bound(most)) {
            let words = if exclusive { "less than" } else { "less than or equal to" };
            say(format!("should be {words} {}", shown(most)));
        }
    }
    faults
}

fn out_of_range(number: &Number, schema: &StructuralSchema, path: &str) -> Option<String> {
    let (ty, format) = (schema.ty.as_str(), schema.format.as_str());
    if schema.int_or_string {
        return None;
    }
    let fits = match (ty, format) {
        ("integer", "int32") => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        ("integer", _) => number.as_i64().is_some(),
        ("number", "float") => number.as_f64().is_some_and(|n| n.abs() <= f64::from(f32::MAX)),
        _ => true,
    };
    let known = matches!((ty, format), ("integer", "int32" | "int64") | ("number", "float" | "double"));
    let said = if known {
        format!("Checked value must be of type {ty} with format {format} in {path}")
    } else {
        format!("Checked value must be of type {ty} (default format) in {path}")
    };
    (!fits).then_some(said)
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    match (number.as_i64(), factor.as_i64()) {
        (Some(number), Some(factor)) => factor != 0 && number % factor == 0,
        _ => {
            let times = number.as_f64().unwrap_or_default() / factor.as_f64().unwrap_or(1.0);
            times.fract() == 0.0
        }
    }
}

/// A number as Go prints a float.
fn shown(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e21 => format!("{float:.0}"),
        Some(float) => float.to_string(),
        None => number.to_string(),
    }
}

/// Whether two values are the same, numbers by what they are worth.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}
