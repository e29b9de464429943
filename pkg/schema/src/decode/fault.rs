// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a body, and where. Paths are built on the way out of the tree, so that a
//! body without faults pays nothing for them.

use std::fmt;

/// More faults than this are not told.
const MAX_STRICT_FAULTS: usize = 100;

/// What a pass over a body has found.
#[derive(Default)]
pub(super) struct Context {
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
    path: String,
}

/// A value that its field does not take.
pub(super) enum ValueFault {
    /// Of another type: reading goes on, the first one counts.
    Type {
        /// The innermost struct around it.
        holder: Option<String>,
        /// The fields that lead to it from the root, without indices and keys of maps.
        path: String,
        /// What it is: `string`, `number 1.5`.
        value: String,
        /// What it should be, as Go names it.
        wanted: String,
        /// It is the field's own value, not one inside it.
        direct: bool,
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
            fault.path = join(step, &fault.path);
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
            self.strict.push(StrictFault { duplicate, path: name.to_owned() });
        }
    }

    /// A value of another type; reading goes on.
    pub fn wrong_type(&mut self, value: impl Into<String>, wanted: impl Into<String>) {
        if self.error.is_none() {
            let (value, wanted) = (value.into(), wanted.into());
            self.error = Some(ValueFault::Type { holder: None, path: String::new(), value, wanted, direct: true });
            self.errors += 1;
        }
    }

    /// A value that ends the pass.
    pub fn refuse(&mut self, why: String) {
        self.error = Some(ValueFault::Refused(why));
        self.errors += 1;
    }
}

impl ValueFault {
    fn prefix(&mut self, step: Step<'_>) {
        let Self::Type { holder, path, wanted, direct, .. } = self else { return };
        let Step::Field(owner, name) = step else {
            *direct = false;
            return;
        };
        if holder.is_none() {
            *holder = Some(owner.rsplit('.').next().unwrap_or_default().to_owned());
            if *direct && let Some(go) = crate::builtin_types::go_type(owner, name) {
                go.clone_into(wanted);
            }
        }
        *path = if path.is_empty() { name.to_owned() } else { format!("{name}.{path}") };
    }
}

fn join(step: Step<'_>, rest: &str) -> String {
    let head = match step {
        Step::Field(_, name) | Step::Key(name) => name.to_owned(),
        Step::Index(i) => format!("[{i}]"),
    };
    if rest.is_empty() || rest.starts_with('[') { head + rest } else { format!("{head}.{rest}") }
}

impl fmt::Display for StrictFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} field {:?}", if self.duplicate { "duplicate" } else { "unknown" }, self.path)
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
