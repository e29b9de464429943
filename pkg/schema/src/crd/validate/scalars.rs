// SPDX-License-Identifier: Apache-2.0
//! Text and numbers against what a schema says of them.

use std::cmp::Ordering;

use knarr_types::go_float;
use knarr_types::tree::{Number, Value};

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

/// All faults of a number. A bound is checked against the type as the value is, and then compared as whole
/// numbers where the value is one.
pub(super) fn number(number: &Number, schema: &StructuralSchema, path: &str) -> Vec<What> {
    let checks = &schema.checks;
    let value = Numeric { number, schema, path };
    let mut faults: Vec<What> = value.out_of_range(number, "Checked").into_iter().collect();
    faults.extend(checks.multiple_of.iter().flat_map(|factor| value.multiple(factor)));
    faults.extend(checks.minimum.iter().flat_map(|least| value.at_least(least, checks.exclusive_minimum)));
    faults.extend(checks.maximum.iter().flat_map(|most| value.at_most(most, checks.exclusive_maximum)));
    faults
}

/// A number on its way through the checks.
struct Numeric<'a> {
    number: &'a Number,
    schema: &'a StructuralSchema,
    path: &'a str,
}

impl Numeric<'_> {
    /// The number is none of the schema's type and format.
    fn out_of_range(&self, number: &Number, prefix: &str) -> Option<What> {
        let (ty, format) = match (self.schema.ty.as_str(), self.schema.format.as_str()) {
            _ if self.schema.int_or_string => ("", ""),
            ("integer", format @ ("int32" | "int64")) => ("integer", format),
            ("number", format @ ("float" | "double")) => ("number", format),
            (ty @ ("integer" | "number"), _) => (ty, ""),
            _ => ("", ""),
        };
        let fits = match (ty, format) {
            ("integer", "int32") => whole(number).is_some_and(|n| i32::try_from(n).is_ok()),
            ("integer", _) => whole(number).is_some(),
            ("number", "float") => float(number).abs() <= f64::from(f32::MAX),
            _ => true,
        };
        let format = if format.is_empty() { "(default format)".to_owned() } else { format!("with format {format}") };
        (!fits).then(|| What::Said(format!("{prefix} value must be of type {ty} {format} in {}", self.path)))
    }

    fn multiple(&self, factor: &Number) -> Vec<What> {
        let mut faults: Vec<What> = self.out_of_range(factor, "MultipleOf").into_iter().collect();
        let native = if faults.is_empty() { self.integers(factor) } else { None };
        let (positive, fits, shown, value) = match native {
            Some((number, factor)) => {
                (factor > 0, factor > 0 && number % factor == 0, factor.to_string(), Number::from(factor))
            }
            None => {
                let (number, by) = (float(self.number), float(factor));
                let times = if by < 1.0 { 1.0 / by * number } else { number / by };
                (by > 0.0, by > 0.0 && is_whole(times), go_float(by), factor.clone())
            }
        };
        if !positive {
            let said = format!("factor MultipleOf declared for {} must be positive: {shown}", self.path);
            faults.push(What::Invalid(Value::Number(value), said));
        } else if !fits {
            faults.push(self.said(&format!("should be a multiple of {shown}")));
        }
        faults
    }

    fn at_least(&self, least: &Number, exclusive: bool) -> Vec<What> {
        let words = if exclusive { "should be greater than" } else { "should be greater than or equal to" };
        self.bound(least, "Minimum boundary", words, |order| order.is_gt() || (!exclusive && order.is_eq()))
    }

    fn at_most(&self, most: &Number, exclusive: bool) -> Vec<What> {
        let words = if exclusive { "should be less than" } else { "should be less than or equal to" };
        self.bound(most, "Maximum boundary", words, |order| order.is_lt() || (!exclusive && order.is_eq()))
    }

    fn bound(&self, bound: &Number, prefix: &str, words: &str, holds: impl Fn(Ordering) -> bool) -> Vec<What> {
        let mut faults: Vec<What> = self.out_of_range(bound, prefix).into_iter().collect();
        let native = if faults.is_empty() { self.integers(bound) } else { None };
        let (order, shown) = match native {
            Some((number, bound)) => (number.cmp(&bound), bound.to_string()),
            None => (float(self.number).total_cmp(&float(bound)), go_float(float(bound))),
        };
        if !holds(order) {
            faults.push(self.said(&format!("{words} {shown}")));
        }
        faults
    }

    /// The value and a bound as whole numbers, where the value is one: the bound loses its fraction.
    #[allow(clippy::cast_possible_truncation, reason = "upstream cuts the bound so")]
    fn integers(&self, bound: &Number) -> Option<(i64, i64)> {
        Some((self.number.as_i64()?, bound.as_i64().unwrap_or_else(|| float(bound) as i64)))
    }

    fn said(&self, words: &str) -> What {
        What::Invalid(Value::Number(self.number.clone()), format!("{} in body {words}", self.path))
    }
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// A number without fraction that 64 bits hold.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = float(number);
        (float.fract() == 0.0).then(|| format!("{float:.0}").parse().ok()).flatten()
    })
}

/// A float that is a whole number but for what was lost in computing it.
fn is_whole(float: f64) -> bool {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    const NEAR: f64 = 1e-9;
    let rest = (float - float.trunc()).abs();
    float.abs() <= EXACT && (rest == 0.0 || rest / (float.abs() + float.trunc().abs()) < NEAR)
}

/// Whether a value is the allowed one, once it is made one of that type: a fraction loses what is behind the point, a
/// whole number becomes the character of that code.
pub(super) fn is_allowed(allowed: &Value, value: &Value) -> bool {
    match (allowed, value) {
        // Upstream compares types first, and null has none.
        (Value::Null, Value::Null) => false,
        (Value::Number(allowed), Value::Number(value)) => match allowed.as_i64() {
            Some(allowed) => cut(value) == allowed,
            None => float(allowed) == float(value),
        },
        (Value::String(allowed), Value::Number(code)) => code.as_i64().is_some_and(|code| {
            let character = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            *character.encode_utf8(&mut [0; 4]) == **allowed
        }),
        _ => allowed == value,
    }
}

/// The number without what is behind the point; the smallest where it is none of 64 bits.
#[allow(clippy::cast_possible_truncation, reason = "what is behind the point is meant to go")]
fn cut(number: &Number) -> i64 {
    number.as_i64().unwrap_or_else(|| {
        let cut = float(number).trunc();
        if cut.abs() < 9.3e18 { cut as i64 } else { i64::MIN }
    })
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn values_are_converted_to_what_is_allowed() {
        for (allowed, value, want) in [
            (json!(2), json!(2.5), true),
            (json!(2), json!(2.0), true),
            (json!(2.5), json!(2), false),
            (json!(2.0), json!(2), true),
            (json!("a"), json!(97), true),
            (json!("a"), json!(97.0), false),
            (json!("\u{fffd}"), json!(-1), true),
            (json!(97), json!("a"), false),
            (json!(null), json!(null), false),
            (json!({"a": 1}), json!({"a": 1}), true),
        ] {
            assert_eq!(is_allowed(&allowed, &value), want, "{allowed} {value}");
        }
    }
}
