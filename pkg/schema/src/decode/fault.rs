// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a body, and where. Paths are built on the way out of the tree, so that a
//! body without faults pays nothing for them.

use std::fmt;

use crate::builtin_types;

/// More faults than this are not told.
const MAX_STRICT_FAULTS: usize = 100;

/// What a pass over a body has found.
#[derive(Default)]
pub(super) struct Context {
    /// What is read is text in JSON, and no tree.
    pub is_text: bool,
    /// Unknown and duplicate fields, in the order of the body.
    pub strict: Vec<StrictFault>,
    /// The first value of a wrong type, or the value that ended the pass.
    pub error: Option<ValueFault>,
    /// How many errors were set, so that a parent sees whether its child set one.
    pub errors: u32,
}

/// A field that is unknown or came twice.
pub(super) struct StrictFault {
    duplicate: bool,
    /// What leads to the object around it, each key with a dot before it: `.spec.ports[0]`.
    path: String,
    name: String,
}

/// A value that its field does not take.
pub(super) enum ValueFault {
    /// Of another type.
    Type {
        /// The innermost struct around it.
        holder: Option<String>,
        /// The fields that lead to it from the root, without indices and keys of maps, but with the
        /// names of the structs that Go embeds.
        path: String,
        /// What it is: `string`, `number 1.5`.
        value: String,
        /// What it should be, as Go names it.
        wanted: String,
        /// How many lists and maps are between the field and it.
        inside: usize,
    },
    /// Refused by its type's own reader, in that reader's words.
    Refused(String),
}

/// A step from a parent to a child.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    /// A field of the struct of that full name.
    Field(&'a str, &'a str),
    /// A key of a map.
    Key(&'a str),
    /// An element of a list.
    Index(usize),
}

/// How far a context was before a child was read.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    strict: usize,
    errors: u32,
}

impl Context {
    pub fn mark(&self) -> Mark {
        Mark { strict: self.strict.len(), errors: self.errors }
    }

    /// Puts the step in front of the paths of what was found since the mark.
    pub fn prefix(&mut self, since: Mark, step: Step<'_>) {
        for fault in self.strict.iter_mut().skip(since.strict) {
            let path = &fault.path;
            fault.path = match step {
                Step::Field(_, name) | Step::Key(name) => format!(".{name}{path}"),
                Step::Index(i) => format!("[{i}]{path}"),
            };
        }
        if self.errors != since.errors
            && let Some(fault) = &mut self.error
        {
            fault.prefix(step);
        }
    }

    pub fn unknown(&mut self, name: &str) {
        self.strict_fault(false, name);
    }

    pub fn duplicate(&mut self, name: &str) {
        self.strict_fault(true, name);
    }

    fn strict_fault(&mut self, duplicate: bool, name: &str) {
        if self.strict.len() < MAX_STRICT_FAULTS {
            self.strict.push(StrictFault { duplicate, path: String::new(), name: name.to_owned() });
        }
    }

    /// A value of another type; reading goes on, and the first one counts.
    pub fn wrong_type(&mut self, value: impl Into<String>, wanted: impl Into<String>) {
        if self.error.is_none() {
            self.fail(ValueFault::of_type(value, wanted));
        }
    }

    /// Text that is refused; reading goes on, and the first fault counts.
    pub fn wrong_text(&mut self, why: String) {
        if self.error.is_none() {
            self.fail(ValueFault::Refused(why));
        }
    }

    /// A value that ends the pass; it counts more than what was found before.
    pub fn fail(&mut self, fault: ValueFault) {
        self.error = Some(fault);
        self.errors += 1;
    }
}

impl ValueFault {
    /// A value that is not what its type is read from.
    pub fn of_type(value: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self::Type { holder: None, path: String::new(), value: value.into(), wanted: wanted.into(), inside: 0 }
    }

    /// Puts a number as the body has it in the place of one as it is printed.
    pub fn with_literal(mut self, literal: impl FnOnce(&str) -> Option<String>) -> Self {
        if let Self::Type { value, .. } = &mut self
            && let Some(found) = value.strip_prefix("number ").and_then(literal)
        {
            *value = format!("number {found}");
        }
        self
    }

    fn prefix(&mut self, step: Step<'_>) {
        let Self::Type { holder, path, wanted, inside, .. } = self else { return };
        let Step::Field(owner, name) = step else {
            *inside += 1;
            return;
        };
        if holder.is_none() {
            *holder = Some(owner.rsplit('.').next().unwrap_or_default().to_owned());
            let named = builtin_types::go_type(owner, name);
            if let Some(go) = named.and_then(|go| (0..*inside).try_fold(go, |go, _| element(go))) {
                go.clone_into(wanted);
            }
        }
        let embedded = builtin_types::embedded(owner, name);
        let steps = embedded.into_iter().chain([name]).chain(Some(&**path).filter(|path| !path.is_empty()));
        *path = steps.collect::<Vec<_>>().join(".");
    }
}

/// The type of the elements of a list or map, by their names in Go; `None` of a type with a name of its own.
fn element(go: &str) -> Option<&str> {
    go.strip_prefix("[]").or_else(|| go.strip_prefix("map[")?.split_once(']').map(|(_, value)| value))
}

impl fmt::Display for StrictFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.duplicate { "duplicate" } else { "unknown" };
        match self.path.strip_prefix('.').unwrap_or(&self.path) {
            "" => write!(f, "{what} field {:?}", self.name),
            path => write!(f, "{what} field {:?}", format!("{path}.{}", self.name)),
        }
    }
}

impl fmt::Display for ValueFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { holder: None, value, wanted, .. } => {
                write!(f, "json: cannot unmarshal {value} into Go value of type {wanted}")
            }
            Self::Type { holder: Some(holder), path, value, wanted, .. } => {
                write!(f, "json: cannot unmarshal {value} into Go struct field {holder}.{path} of type {wanted}")
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}
