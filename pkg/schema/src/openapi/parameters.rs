// SPDX-License-Identifier: Apache-2.0
//! The parameters of requests, from `data/openapi-parameters.tsv`, and which operations have which.
//!
//! `scripts/generate-openapi-words.py` makes that file and says what its lines hold.

use std::borrow::Cow;
use std::sync::LazyLock;

use knarr_types::tree::{Value, json};

/// Of lists and watches.
pub(super) const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
/// Of writes that have an object in their body.
pub(super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// Of patches.
pub(super) const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
/// Of deletes of one object.
pub(super) const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];

/// A parameter of a request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub name: &'static str,
    /// It is a part of the path and not of the query.
    pub in_path: bool,
    ty: &'static str,
    description: Cow<'static, str>,
}

/// The lines of the file: name, type, description.
static LINES: LazyLock<Vec<[&'static str; 3]>> = LazyLock::new(|| {
    let lines = include_str!("../../data/openapi-parameters.tsv").lines();
    let mut lines: Vec<_> = lines
        .filter_map(|line| {
            let mut columns = line.split('\t');
            Some([columns.next()?, columns.next()?, columns.next()?])
        })
        .collect();
    lines.sort_unstable();
    lines
});

/// The parameter of that name (`{name}` in a path), as it is said at that place (`log`, `patch`).
pub(super) fn named(name: &'static str, place: &str) -> Option<Parameter> {
    let find = |name: &str| LINES.binary_search_by(|line| line[0].cmp(name)).ok().map(|at| LINES[at]);
    let [_, ty, description] = find(&format!("{name}@{place}")).or_else(|| find(name))?;
    let description =
        if description.contains("\\n") { description.replace("\\n", "\n").into() } else { description.into() };
    let in_path = name.starts_with('{');
    Some(Parameter { name: name.trim_matches(['{', '}']), in_path, ty, description })
}

/// Those of a deletion of many: of a list that is not watched, and of a deletion.
pub(super) fn of_delete_collection() -> Vec<&'static str> {
    let listed = LIST.iter().filter(|name| !matches!(**name, "watch" | "allowWatchBookmarks"));
    listed.chain(DELETE).copied().collect()
}

/// Those of a path below an object that carries a stream or text.
pub(super) fn of_stream(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "log" => &[
            "container",
            "follow",
            "insecureSkipTLSVerifyBackend",
            "limitBytes",
            "pretty",
            "previous",
            "sinceSeconds",
            "stream",
            "tailLines",
            "timestamps",
        ],
        "exec" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "attach" => &["container", "stderr", "stdin", "stdout", "tty"],
        "portforward" => &["ports"],
        "proxy" => &["path"],
        _ => &[],
    }
}

impl Parameter {
    /// The name of an object in a path.
    pub fn object_name(kind: &str) -> Self {
        Self { name: "name", in_path: true, ty: "string", description: format!("name of the {kind}").into() }
    }

    /// By what it is sorted and told apart.
    pub fn key(&self) -> (&'static str, &'static str) {
        (self.name, self.place())
    }

    fn place(&self) -> &'static str {
        if self.in_path { "path" } else { "query" }
    }

    /// As OpenAPI 3 writes it.
    pub fn v3(&self) -> Value {
        let mut parameter = json!({
            "name": self.name, "in": self.place(), "description": self.description,
            "schema": { "type": self.ty, "uniqueItems": true },
        });
        if self.in_path {
            parameter["required"] = true.into();
        }
        parameter
    }

    /// As Swagger 2 writes it: text, as its digest is a part of the name under which it is shared.
    pub fn v2(&self) -> String {
        let description = Value::from(&*self.description);
        let required = if self.in_path { ",\"required\":true" } else { "" };
        format!(
            r#"{{"uniqueItems":true,"type":"{}","description":{description},"name":"{}","in":"{}"{required}}}"#,
            self.ty,
            self.name,
            self.place(),
        )
    }

    /// Each place of a Swagger document that has it refers to one: but for what says the kind in its description, and
    /// for those that old clients look for in the operations themselves.
    pub fn is_shared(&self) -> bool {
        !matches!(self.name, "name" | "dryRun" | "fieldValidation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_described() {
        let sets = [LIST, WRITE, PATCH, DELETE, &["{namespace}", "{path}", "pretty"][..]];
        let streams = ["log", "exec", "attach", "portforward", "proxy"].map(of_stream);
        for name in sets.into_iter().chain(streams).flatten() {
            assert!(!named(name, "").unwrap().description.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_place_may_say_it_otherwise() {
        assert_ne!(named("container", "log").unwrap().description, named("container", "exec").unwrap().description);
        assert!(named("none", "").is_none());
    }
}
