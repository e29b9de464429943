// SPDX-License-Identifier: Apache-2.0
//! Selectors of objects by label and by field: parsed once, then matched against sorted pairs.
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>

mod fields;
mod names;
mod parse;

use std::fmt;

use crate::tree::Value;

pub use fields::{FieldSelector, FieldTerm};
pub use parse::SelectorError;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `key=value`.
    Equals,
    /// `key==value`, the same.
    DoubleEquals,
    /// `key!=value`: also where there is no such label.
    NotEquals,
    /// `key in (a,b)`.
    In,
    /// `key notin (a,b)`: also where there is no such label.
    NotIn,
    /// `key`.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `key>1`.
    GreaterThan,
    /// `key<1`.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// Conditions on labels, all of which must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Requirement {
    /// A condition that was checked.
    ///
    /// # Errors
    /// Where key, values or their number are not right for the operator.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, SelectorError> {
        let requirement = Self { key: key.into(), operator, values: values.into_iter().collect() };
        names::check(&requirement)?;
        Ok(requirement)
    }

    /// The label it is about.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether it holds for a label's value, or for its absence.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|v| v == value));
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => listed(),
            Operator::NotEquals | Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
                match (number(value), number(self.values.first().map(String::as_str))) {
                    (Some(value), Some(than)) if self.operator == Operator::GreaterThan => value > than,
                    (Some(value), Some(than)) => value < than,
                    _ => false,
                }
            }
        }
    }
}

impl LabelSelector {
    /// Selects every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// All of these must hold.
    #[must_use]
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Reads the text of a query: `a=b,c!=d,e in (x,y),!f`. The empty text selects everything.
    ///
    /// # Errors
    /// Where it is no selector, in upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::labels(text).map(Self::of)
    }

    /// Reads a `meta/v1.LabelSelector`. None (`null`) selects nothing, an empty one everything.
    ///
    /// # Errors
    /// Where an expression is not valid.
    pub fn from_object(selector: &Value) -> Result<Self, SelectorError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements.push(Requirement::new(key.clone(), Operator::Equals, [text(Some(value))])?);
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match text(expression.get("operator")).as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(SelectorError::new(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let key = text(expression.get("key"));
            requirements.push(Requirement::new(key, operator, values.map(|value| text(Some(value))))?);
        }
        Ok(Self::of(requirements))
    }

    /// The conditions, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// It selects every object.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether it selects an object with these labels, which are sorted by key.
    #[must_use]
    pub fn matches<K: AsRef<str>, V: AsRef<str>>(&self, labels: &[(K, V)]) -> bool {
        !self.nothing && self.requirements.iter().all(|wanted| wanted.matches(value_of(labels, &wanted.key)))
    }

    /// Whether it selects an object with this `metadata.labels`.
    #[must_use]
    pub fn matches_object(&self, labels: &Value) -> bool {
        let value = |wanted: &Requirement| labels.get(&wanted.key).and_then(Value::as_str);
        !self.nothing && self.requirements.iter().all(|wanted| wanted.matches(value(wanted)))
    }
}

/// The value of a key in sorted pairs.
fn value_of<'a, K: AsRef<str>, V: AsRef<str>>(pairs: &'a [(K, V)], key: &str) -> Option<&'a str> {
    let at = pairs.binary_search_by(|(other, _)| other.as_ref().cmp(key)).ok()?;
    Some(pairs[at].1.as_ref())
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, first) = (&self.key, self.values.first().map_or("", String::as_str));
        let sorted = || {
            let mut values = self.values.clone();
            values.sort_unstable();
            values.join(",")
        };
        match self.operator {
            Operator::Equals => write!(f, "{key}={first}"),
            Operator::DoubleEquals => write!(f, "{key}=={first}"),
            Operator::NotEquals => write!(f, "{key}!={first}"),
            Operator::In => write!(f, "{key} in ({})", sorted()),
            Operator::NotIn => write!(f, "{key} notin ({})", sorted()),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{first}"),
            Operator::LessThan => write!(f, "{key}<{first}"),
        }
    }
}

impl fmt::Display for LabelSelector {
    /// The text of a query for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
