// SPDX-License-Identifier: Apache-2.0
//! What runs each function. What a function takes is declared in `declarations.txt`; an argument of an unknown type
//! is looked at here once more, and a function without an overload for it says so.

mod convert;
mod format;
mod lists;
mod optional;
mod regexes;
mod strings;
mod time;

use super::eval::Fault;
use super::libraries;
use super::value::Value;

pub(super) use convert::to_text;
pub(super) use format::check_clauses;
#[cfg(test)]
pub(super) use format::show;
pub(super) use regexes::{bad_literal, check_pattern};
pub(super) use time::{parse_duration, parse_timestamp};

/// What a function gives.
pub(super) type Outcome<'a> = Result<Value<'a>, Fault>;
/// A function over its arguments, the one before the dot first.
pub(super) type Function = for<'a, 'b> fn(&'b [Value<'a>]) -> Outcome<'a>;

/// The function of this name, whatever its overloads.
pub(super) fn find(name: &str) -> Option<Function> {
    convert::find(name)
        .or_else(|| strings::find(name))
        .or_else(|| lists::find(name))
        .or_else(|| time::find(name))
        .or_else(|| optional::find(name))
        .or_else(|| regexes::find(name))
        .or_else(|| libraries::find(name))
}

/// No overload takes these.
pub(super) fn none<'a>() -> Outcome<'a> {
    Err(Fault::no_overload())
}
