// SPDX-License-Identifier: Apache-2.0
//! Amounts: `quantity('1Gi').isGreaterThan(quantity('100M'))`.

use std::cmp::Ordering;

use knarr_types::Quantity;

use super::Opaque;
use super::semantic_version;
use crate::cel::eval::Fault;
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::Value;

/// An amount in billionths.
pub type Amount = i128;

const UNIT: i128 = 1_000_000_000;

pub(super) fn find(name: &str) -> Option<Function> {
    making(name).or_else(|| computing(name))
}

fn making(name: &str) -> Option<Function> {
    Some(match name {
        "quantity" => |args| match args {
            [Value::String(text)] => match text.parse::<Quantity>() {
                Ok(quantity) => Ok(Value::opaque(Opaque::Quantity(quantity.nanos()))),
                Err(error) => Err(Fault::Error(error.to_string())),
            },
            _ => none(),
        },
        "isQuantity" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(text.parse::<Quantity>().is_ok())),
            _ => none(),
        },
        "sign" => |args| on(args, |nanos| Ok(Value::Int(nanos.signum() as i64))),
        "isInteger" => |args| on(args, |nanos| Ok(Value::Bool(whole(nanos).is_some()))),
        "asInteger" => |args| {
            on(args, |nanos| whole(nanos).map(Value::Int).ok_or_else(|| Fault::new("cannot convert value to integer")))
        },
        "asApproximateFloat" => |args| on(args, |nanos| Ok(Value::Double(nanos as f64 / UNIT as f64))),
        _ => return None,
    })
}

fn computing(name: &str) -> Option<Function> {
    Some(match name {
        "add" => |args| combine(args, i128::checked_add),
        "sub" => |args| combine(args, i128::checked_sub),
        "isGreaterThan" => |args| Ok(Value::Bool(compare(args)? == Ordering::Greater)),
        "isLessThan" => |args| Ok(Value::Bool(compare(args)? == Ordering::Less)),
        "compareTo" => |args| Ok(Value::Int(compare(args)? as i64)),
        _ => return None,
    })
}

fn whole(nanos: i128) -> Option<i64> {
    (nanos % UNIT == 0).then(|| i64::try_from(nanos / UNIT).ok()).flatten()
}

fn amount(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Opaque(of) => match of.as_ref() {
            Opaque::Quantity(nanos) => Some(*nanos),
            _ => None,
        },
        _ => None,
    }
}

fn on<'a>(args: &[Value<'a>], f: fn(i128) -> Outcome<'a>) -> Outcome<'a> {
    match args {
        [value] => amount(value).map_or_else(none, f),
        _ => none(),
    }
}

fn combine<'a>(args: &[Value<'a>], f: fn(i128, i128) -> Option<i128>) -> Outcome<'a> {
    let [a, b] = args else { return none() };
    let b = match b {
        Value::Int(n) => Some(i128::from(*n) * UNIT),
        other => amount(other),
    };
    let (Some(a), Some(b)) = (amount(a), b) else { return none() };
    let result = f(a, b).ok_or_else(|| Fault::new("quantity overflow"))?;
    Ok(Value::opaque(Opaque::Quantity(result)))
}

/// Amounts and versions are compared by functions of the same names.
fn compare(args: &[Value<'_>]) -> Result<Ordering, Fault> {
    let [a, b] = args else { return Err(Fault::no_overload()) };
    match (amount(a), amount(b)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => semantic_version::compare(a, b).ok_or_else(Fault::no_overload),
    }
}
