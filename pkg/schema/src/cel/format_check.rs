// SPDX-License-Identifier: Apache-2.0
//! `'%d'.format([...])` where both are written out: whether the arguments fit, by their types.

use super::ast::{Call, Expr, Kind, Literal};
use super::eval::Fault;
use super::functions::check_clauses;
use super::types::Type;

/// What is wrong, and at which node where it is not the call's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub at: Option<usize>,
    pub why: String,
}

impl From<Fault> for Misfit {
    fn from(fault: Fault) -> Self {
        Self { at: None, why: fault.to_string() }
    }
}

/// What is wrong with the arguments of a call of `format`.
pub(super) fn check(call: &Call, ty: &dyn Fn(&Expr) -> Type) -> Option<Misfit> {
    if !call.member || call.function != "format" {
        return None;
    }
    let [Expr { kind: Kind::Literal(Literal::String(text)), .. }, Expr { kind: Kind::List(args), .. }] =
        call.args.as_slice()
    else {
        return None;
    };
    let used = check_clauses(text, args.len(), |clause, index| {
        let Some(arg) = args.get(index).map(|arg| &arg.value) else { return Ok(()) };
        let bad = match clause.is_text() {
            true => unprintable(arg, &|ty| clause.takes(ty), ty),
            false => (!clause.takes(&ty(arg))).then_some(arg),
        };
        bad.map_or(Ok(()), |bad| {
            let name = ty(bad).to_string();
            let name = name.split('(').next().unwrap_or_default();
            Err(Misfit { at: Some(bad.id), why: format!("error during formatting: {}", clause.refuses(name)) })
        })
    });
    match used {
        Err(misfit) => Some(misfit),
        Ok(used) if used < args.len() => {
            let given = args.len();
            let why = format!("too many arguments supplied to string.format (expected {used}, got {given})");
            Some(Misfit { at: None, why })
        }
        Ok(_) => None,
    }
}

/// The first part of what is written that has no text.
fn unprintable<'e>(expr: &'e Expr, takes: &dyn Fn(&Type) -> bool, ty: &dyn Fn(&Expr) -> Type) -> Option<&'e Expr> {
    if !takes(&ty(expr)) {
        return Some(expr);
    }
    match &expr.kind {
        Kind::List(elements) => elements.iter().find_map(|e| unprintable(&e.value, takes, ty)),
        Kind::Map(entries) => {
            entries.iter().flat_map(|e| [&e.key, &e.value]).find_map(|part| unprintable(part, takes, ty))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Environment;

    #[test]
    fn arguments_that_are_written_out_are_checked_with_the_types() {
        let text = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
        for (expression, want) in [
            (
                "'%d'.format(['a'])",
                "1:14: error during formatting: decimal clause can only be used on integers, was given string"
                    .to_owned(),
            ),
            ("'%s'.format([url('/')])", format!("1:17: error during formatting: {text}, was given kubernetes.URL")),
            (
                "'%s'.format([{'a': [quantity('1')]}])",
                format!("1:29: error during formatting: {text}, was given kubernetes.Quantity"),
            ),
            ("'%s %s'.format([1])", "1:15: index 1 out of range".to_owned()),
            (
                "'%s'.format([1, 2])",
                "1:12: too many arguments supplied to string.format (expected 1, got 2)".to_owned(),
            ),
        ] {
            let why = Environment::default().compile(expression).expect_err(expression);
            assert!(why.starts_with(&format!("ERROR: <input>:{want}\n")), "{why}");
        }
        for fine in ["'%s'.format([null])", "'%f'.format(['NaN'])", "'%d'.format([dyn('a')])", "'%s'.format([type(1)])"]
        {
            Environment::default().compile(fine).expect(fine);
        }
    }
}
