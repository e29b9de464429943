// SPDX-License-Identifier: Apache-2.0
//! Which functions there are and what they take and give: the language's own and those of Kubernetes' libraries,
//! one overload a line in `declarations.txt`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub(super) struct Overload {
    pub function: String,
    /// The first argument stands before the dot.
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

/// All functions by name, with their overloads in the order of declaration.
#[derive(Debug)]
pub(super) struct Declarations {
    overloads: HashMap<String, Vec<Arc<Overload>>>,
}

/// What every expression of Kubernetes can call.
pub(super) static KUBERNETES: LazyLock<Declarations> =
    LazyLock::new(|| Declarations::read(include_str!("declarations.txt")));

/// The variables that stand for a type, or nothing.
pub(super) fn type_by_name(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::TypeOf(Arc::new(Type::Dyn)),
        "optional_type" => Type::Opaque("optional_type"),
        "duration" | "google.protobuf.Duration" => Type::Duration,
        "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
        // The others of the libraries have no variable.
        "net.IP" => Type::Opaque("net.IP"),
        "net.CIDR" => Type::Opaque("net.CIDR"),
        _ => return None,
    })
}

/// Types of Kubernetes' libraries: as `declarations.txt` writes them, and as messages do.
const OPAQUE: [(&str, &str); 11] = [
    ("URL", "kubernetes.URL"),
    ("Quantity", "kubernetes.Quantity"),
    ("IP", "net.IP"),
    ("CIDR", "net.CIDR"),
    ("Semver", "kubernetes.Semver"),
    ("Format", "kubernetes.NamedFormat"),
    ("Authorizer", "kubernetes.authorization.Authorizer"),
    ("PathCheck", "kubernetes.authorization.PathCheck"),
    ("GroupCheck", "kubernetes.authorization.GroupCheck"),
    ("ResourceCheck", "kubernetes.authorization.ResourceCheck"),
    ("Decision", "kubernetes.authorization.Decision"),
];

impl Declarations {
    /// There is a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.overloads.contains_key(name)
    }

    /// The ways to call it.
    pub fn overloads(&self, name: &str) -> &[Arc<Overload>] {
        self.overloads.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads lines of `name(arguments) result`, or `receiver.name(arguments) result`.
    fn read(text: &str) -> Self {
        let mut overloads: HashMap<String, Vec<Arc<Overload>>> = HashMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let overload = read_overload(line);
            overloads.entry(overload.function.clone()).or_default().push(Arc::new(overload));
        }
        Self { overloads }
    }
}

fn read_overload(line: &str) -> Overload {
    let mut words = line.split(" | ");
    let (name, args, result) = (words.next(), words.next(), words.next());
    let name = name.unwrap_or_default().trim();
    let (member, function) = name.strip_prefix('.').map_or((false, name), |rest| (true, rest));
    let args = split_types(args.unwrap_or_default().trim()).into_iter().map(read_type).collect();
    Overload { function: function.to_owned(), member, args, result: read_type(result.unwrap_or_default().trim()) }
}

/// At the commas outside of brackets.
fn split_types(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut parts: Vec<&str> = text
        .split(|c: char| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .collect();
    parts.retain(|part| !part.is_empty());
    parts
}

fn read_type(text: &str) -> Type {
    let inner = |name: &str| text.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
    if let Some(element) = inner("list") {
        return Type::list(read_type(element));
    }
    if let Some(value) = inner("optional") {
        return Type::optional(read_type(value));
    }
    if let Some(value) = inner("type") {
        return Type::TypeOf(Arc::new(read_type(value)));
    }
    if let Some([key, value]) = inner("map").map(split_types).as_deref() {
        return Type::map(read_type(key), read_type(value));
    }
    match text {
        "A" => Type::Param('A'),
        "B" => Type::Param('B'),
        "dyn" => Type::Dyn,
        other => OPAQUE
            .iter()
            .find(|(short, _)| *short == other)
            .map(|(_, long)| Type::Opaque(long))
            .or_else(|| type_by_name(other))
            .unwrap_or(Type::Error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the interpreter does itself; the rest is looked up among the libraries' functions.
    const OPERATORS: [&str; 23] = [
        "!_",
        "@not_strictly_false",
        "_&&_",
        "_||_",
        "_?_:_",
        "_==_",
        "_!=_",
        "_<_",
        "_<=_",
        "_>_",
        "_>=_",
        "_+_",
        "_-_",
        "_*_",
        "_/_",
        "_%_",
        "-_",
        "@in",
        "_[_]",
        "_[?_]",
        "_?._",
        "cel.@mapInsert",
        "dyn",
    ];

    #[test]
    fn every_line_names_known_types_and_something_that_runs_it() {
        for (name, overloads) in &KUBERNETES.overloads {
            for overload in overloads {
                let types = overload.args.iter().chain([&overload.result]);
                assert!(types.clone().all(|t| !t.to_string().contains("!error!")), "{name} {overload:?}");
            }
            let operator = OPERATORS.contains(&name.as_str());
            assert!(operator || super::super::functions::find(name).is_some(), "nothing runs {name}");
        }
    }
}
