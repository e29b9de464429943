// SPDX-License-Identifier: Apache-2.0
//! Regular expressions, and the check of texts that must be one.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;

use super::{Function, Outcome, none, time};
use crate::cel::eval::Fault;
use crate::cel::value::Value;
use crate::go_regex;

/// How many compiled expressions a thread keeps.
const KEPT: usize = 64;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "matches" => |args| match args {
            [Value::String(text), Value::String(pattern)] => Ok(Value::Bool(compile(pattern)?.is_match(text))),
            _ => none(),
        },
        "find" => |args| match args {
            [Value::String(text), Value::String(pattern)] => {
                Ok(Value::text(illegal(pattern)?.find(text).map_or("", |found| found.as_str())))
            }
            _ => none(),
        },
        "findAll" => |args| match args {
            [Value::String(text), Value::String(pattern)] => find_all(text, pattern, -1),
            [Value::String(text), Value::String(pattern), Value::Int(limit)] => find_all(text, pattern, *limit),
            _ => none(),
        },
        _ => return None,
    })
}

fn find_all<'a>(text: &str, pattern: &str, limit: i64) -> Outcome<'a> {
    let pattern = illegal(pattern)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Value::list(pattern.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect()))
}

fn illegal(pattern: &str) -> Result<Regex, Fault> {
    compile(pattern).map_err(|fault| Fault::Error(format!("Illegal regex: {fault}")))
}

/// The compiled expression, kept for the next time.
fn compile(pattern: &str) -> Result<Regex, Fault> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(known) = compiled.get(pattern) {
            return Ok(known.clone());
        }
        let built = go_regex::compile(pattern).map_err(Fault::Error)?;
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(pattern.to_owned(), built.clone());
        Ok(built)
    })
}

/// Whether this is a regular expression.
///
/// # Errors
/// In Go's words.
pub(in crate::cel) fn check_pattern(pattern: &str) -> Result<(), Fault> {
    compile(pattern).map(|_| ())
}

/// What a text in the source, given to this function, should have been and is not.
pub(in crate::cel) fn bad_literal(function: &str, text: &str) -> Option<&'static str> {
    match function {
        "matches" if compile(text).is_err() => Some("matches"),
        "duration" if time::parse_duration(text).is_none() => Some("duration"),
        "timestamp" if time::parse_timestamp(text).is_none() => Some("timestamp"),
        _ => None,
    }
}
