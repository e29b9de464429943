// SPDX-License-Identifier: Apache-2.0
//! Optional values.

use super::{Function, Outcome, none};
use crate::cel::eval::Fault;
use crate::cel::value::{List, Value};

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "optional.of" => |args| match args {
            [value] => Ok(Value::some(value.clone())),
            _ => none(),
        },
        "optional.ofNonZeroValue" => |args| match args {
            [value] if value.is_zero() => Ok(Value::Optional(None)),
            [value] => Ok(Value::some(value.clone())),
            _ => none(),
        },
        "optional.none" => |_| Ok(Value::Optional(None)),
        "optional.unwrap" | "unwrapOpt" => |args| match args {
            [Value::List(list)] => unwrap(list),
            _ => none(),
        },
        "value" => |args| match args {
            [Value::Optional(Some(inner))] => Ok(Value::clone(inner)),
            [Value::Optional(None)] => Err(Fault::new("optional.none() dereference")),
            _ => none(),
        },
        "hasValue" => |args| match args {
            [Value::Optional(inner)] => Ok(Value::Bool(inner.is_some())),
            _ => none(),
        },
        "or" => |args| match args {
            [first @ Value::Optional(inner), second] => {
                Ok(if inner.is_some() { first.clone() } else { second.clone() })
            }
            _ => none(),
        },
        "orValue" => |args| match args {
            [Value::Optional(inner), other] => {
                Ok(inner.as_ref().map_or_else(|| other.clone(), |inner| Value::clone(inner)))
            }
            _ => none(),
        },
        _ => return None,
    })
}

fn unwrap<'a>(list: &List<'a>) -> Outcome<'a> {
    let mut present = Vec::new();
    for element in list.iter() {
        match element {
            Value::Optional(inner) => present.extend(inner.map(|inner| Value::clone(&inner))),
            _ => return none(),
        }
    }
    Ok(Value::list(present))
}
