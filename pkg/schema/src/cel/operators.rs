// SPDX-License-Identifier: Apache-2.0
//! The operators of the language on values.

use std::cmp::Ordering;

use super::eval::Fault;
use super::value::Value;

type Outcome<'a> = Result<Value<'a>, Fault>;

/// `operand.field`.
pub(super) fn select<'a>(operand: &Value<'a>, field: &str) -> Outcome<'a> {
    match operand {
        Value::Map(map) => map.field(field).ok_or_else(|| Fault::no_key(field)),
        Value::Struct(of) => of.fields.get(field).cloned().ok_or_else(|| Fault::no_key(field)),
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => Ok(optional_select(inner, field)),
        Value::List(_) => Err(Fault::new("unsupported index type 'string' in list")),
        _ => Err(Fault::no_key(field)),
    }
}

/// `has(operand.field)`.
pub(super) fn has(operand: &Value<'_>, field: &str) -> Result<bool, Fault> {
    match operand {
        Value::Map(map) => Ok(map.field(field).is_some()),
        Value::Struct(of) => Ok(of.fields.contains_key(field)),
        Value::Optional(None) => Ok(false),
        Value::Optional(Some(inner)) => has(inner, field),
        Value::List(_) => Err(Fault::new("unsupported index type 'string' in list")),
        _ => Ok(false),
    }
}

fn optional_select<'a>(operand: &Value<'a>, field: &str) -> Value<'a> {
    select(operand, field).map_or(Value::Optional(None), Value::some)
}

/// `operand[index]`.
pub(super) fn index<'a>(operand: &Value<'a>, index: &Value<'a>) -> Outcome<'a> {
    match (operand, index) {
        (Value::List(list), at) => {
            let number = match at {
                Value::Int(n) => *n,
                Value::Uint(n) => i64::try_from(*n).unwrap_or(i64::MAX),
                Value::Double(n) if n.fract() == 0.0 => *n as i64,
                _ => return Err(Fault::Error(format!("unsupported index type '{}' in list", at.type_name()))),
            };
            let found = usize::try_from(number).ok().and_then(|n| list.get(n));
            found.ok_or_else(|| Fault::Error(format!("index out of bounds: {number}")))
        }
        (Value::Map(map), key) => {
            map.get(key).ok_or_else(|| Fault::no_key(&super::functions::to_text(key).unwrap_or_default()))
        }
        (Value::Optional(None), _) => Ok(Value::Optional(None)),
        (Value::Optional(Some(inner)), at) => Ok(self::index(inner, at).map_or(Value::Optional(None), Value::some)),
        _ => Err(Fault::no_overload()),
    }
}

/// An operator, by its inner name, on its arguments.
pub(super) fn apply<'a>(operator: &str, args: &[Value<'a>]) -> Outcome<'a> {
    match (operator, args) {
        ("!_", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("dyn", [value]) => Ok(value.clone()),
        ("-_", [value]) => negate(value),
        ("_==_", [a, b]) => Ok(Value::Bool(a.equals(b))),
        ("_!=_", [a, b]) => Ok(Value::Bool(!a.equals(b))),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => ordered(operator, a, b),
        ("@in", [value, Value::List(list)]) => Ok(Value::Bool(list.iter().any(|element| element.equals(value)))),
        ("@in", [key, Value::Map(map)]) => Ok(Value::Bool(map.get(key).is_some())),
        ("_[?_]", [operand, at]) => Ok(match operand {
            Value::Optional(_) => index(operand, at)?,
            _ => index(operand, at).map_or(Value::Optional(None), Value::some),
        }),
        ("_?._", [operand, Value::String(field)]) => Ok(match operand {
            Value::Optional(_) => select(operand, field)?,
            _ => optional_select(operand, field),
        }),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(operator, a, b),
        _ => Err(Fault::no_overload()),
    }
}

fn ordered<'a>(operator: &str, a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    if let (Value::Double(n), _) | (_, Value::Double(n)) = (a, b)
        && n.is_nan()
    {
        return Err(Fault::new("NaN values cannot be ordered"));
    }
    let order = a.compare(b).ok_or_else(Fault::no_overload)?;
    Ok(Value::Bool(match operator {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn negate<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(n) => n.checked_neg().map(Value::Int).ok_or_else(|| overflow("integer")),
        Value::Double(n) => Ok(Value::Double(-n)),
        Value::Duration(n) => n.checked_neg().map(Value::Duration).ok_or_else(|| overflow("integer")),
        _ => Err(Fault::no_overload()),
    }
}

fn arithmetic<'a>(operator: &str, a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => INT.of(operator, *a, *b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => UINT.of(operator, *a, *b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => doubles(operator, *a, *b).map(Value::Double),
        (Value::String(a), Value::String(b)) if operator == "_+_" => Ok(Value::text(format!("{a}{b}"))),
        (Value::Bytes(a), Value::Bytes(b)) if operator == "_+_" => {
            Ok(Value::Bytes(a.iter().chain(b.iter()).copied().collect()))
        }
        (Value::List(a), Value::List(b)) if operator == "_+_" => Ok(a.plus(b)),
        _ => times(operator, a, b),
    }
}

fn overflow(of: &str) -> Fault {
    Fault::Error(format!("{of} overflow"))
}

/// The checked operations of a type of whole numbers.
struct Whole<T> {
    name: &'static str,
    add: fn(T, T) -> Option<T>,
    sub: fn(T, T) -> Option<T>,
    mul: fn(T, T) -> Option<T>,
    div: fn(T, T) -> Option<T>,
    rem: fn(T, T) -> Option<T>,
}

const INT: Whole<i64> = Whole {
    name: "integer",
    add: i64::checked_add,
    sub: i64::checked_sub,
    mul: i64::checked_mul,
    div: i64::checked_div,
    rem: i64::checked_rem,
};

const UINT: Whole<u64> = Whole {
    name: "unsigned integer",
    add: u64::checked_add,
    sub: u64::checked_sub,
    mul: u64::checked_mul,
    div: u64::checked_div,
    rem: u64::checked_rem,
};

impl<T: Default + PartialEq> Whole<T> {
    fn of(&self, operator: &str, a: T, b: T) -> Result<T, Fault> {
        let by_zero = b == T::default();
        let checked = match operator {
            "_+_" => self.add,
            "_-_" => self.sub,
            "_*_" => self.mul,
            "_/_" if by_zero => return Err(Fault::new("division by zero")),
            "_/_" => self.div,
            _ if by_zero => return Err(Fault::new("modulus by zero")),
            _ => self.rem,
        };
        checked(a, b).ok_or_else(|| overflow(self.name))
    }
}

fn doubles(operator: &str, a: f64, b: f64) -> Result<f64, Fault> {
    match operator {
        "_+_" => Ok(a + b),
        "_-_" => Ok(a - b),
        "_*_" => Ok(a * b),
        "_/_" => Ok(a / b),
        _ => Err(Fault::no_overload()),
    }
}

/// The years from 1 to 9999, in nanoseconds from 1970.
const TIMESTAMPS: std::ops::RangeInclusive<i128> = -62_135_596_800_000_000_000..=253_402_300_799_999_999_999;

/// A timestamp within what can be written, on a clock so many seconds ahead of UTC.
pub(super) fn timestamp<'a>(nanos: i128, offset: i32) -> Outcome<'a> {
    if TIMESTAMPS.contains(&nanos) { Ok(Value::Timestamp(nanos, offset)) } else { Err(overflow("timestamp")) }
}

fn times<'a>(operator: &str, a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    let span = |n: Option<i64>| n.map(Value::Duration).ok_or_else(|| overflow("integer"));
    match (operator, a, b) {
        ("_+_", Value::Duration(a), Value::Duration(b)) => span(a.checked_add(*b)),
        ("_-_", Value::Duration(a), Value::Duration(b)) => span(a.checked_sub(*b)),
        ("_+_", Value::Timestamp(t, zone), Value::Duration(d))
        | ("_+_", Value::Duration(d), Value::Timestamp(t, zone)) => timestamp(t + i128::from(*d), *zone),
        ("_-_", Value::Timestamp(t, zone), Value::Duration(d)) => timestamp(t - i128::from(*d), *zone),
        ("_-_", Value::Timestamp(a, _), Value::Timestamp(b, _)) => span(i64::try_from(a - b).ok()),
        _ => Err(Fault::no_overload()),
    }
}
