// SPDX-License-Identifier: Apache-2.0
//! Expressions compiled once and evaluated often.

use super::ast::Expr;
use super::check::{Checked, Names, check};
use super::constants;
use super::declarations::KUBERNETES;
use super::estimate::{self, Bounds};
use super::eval::{Activation, Fault, evaluate};
use super::parse::{Issue, Parsed, parse, show};
use super::types::Type;
use super::value::Value;

/// What an expression can name.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables by name.
    pub variables: Vec<(String, Type)>,
    /// Types whose literals can be written; with `Object` all below it too.
    pub structs: Vec<Type>,
}

/// A checked expression.
#[derive(Debug)]
pub struct Program {
    root: Expr,
    checked: Checked,
}

impl Environment {
    /// These variables.
    #[must_use]
    pub fn new(variables: Vec<(&str, Type)>) -> Self {
        let variables = variables.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
        Self { variables, structs: Vec::new() }
    }

    /// The same with one more variable, which hides one of its name.
    #[must_use]
    pub fn with(&self, name: &str, ty: Type) -> Self {
        let mut variables = self.variables.clone();
        variables.retain(|(n, _)| n != name);
        variables.push((name.to_owned(), ty));
        Self { variables, structs: self.structs.clone() }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// All that is wrong with it, as upstream's compiler says it.
    pub fn compile(&self, source: &str) -> Result<Program, String> {
        self.compile_quietly(source).map_err(|issues| show(source, &issues))
    }

    fn compile_quietly(&self, source: &str) -> Result<Program, Vec<Issue>> {
        let Parsed { root, places } = parse(source, &KUBERNETES)?;
        let names = Names { variables: &self.variables, structs: &self.structs, functions: &KUBERNETES };
        let checked = check(&root, &places, &names)?;
        Ok(Program { root, checked })
    }
}

impl Program {
    /// What it gives.
    #[must_use]
    pub fn output(&self) -> &Type {
        &self.checked.output
    }

    /// Why it can never run, where something that is written out cannot be computed.
    #[must_use]
    pub fn constant_fault(&self) -> Option<String> {
        constants::fault(&self.root)
    }

    /// Whether it names this variable.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        self.root.mentions(variable)
    }

    /// The most that it can cost on data of that size.
    #[must_use]
    pub fn max_cost(&self, bounds: &dyn Bounds) -> u64 {
        estimate::max_cost(&self.root, &self.checked, bounds)
    }

    /// Computes it: what it gives, and what that cost.
    pub fn run<'a>(&'a self, variables: &dyn Activation<'a>, limit: u64) -> (Result<Value<'a>, Fault>, u64) {
        evaluate(&self.root, variables, limit)
    }
}

#[cfg(test)]
mod tests;
