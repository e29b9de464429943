// SPDX-License-Identifier: Apache-2.0
//! What the columns of built-in kinds say about themselves, as kube-apiserver 1.36 does: a line of the
//! file for each, with its group, version, plural and heading; `*` for what all kinds share.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::kinds::{Column, Kind};

/// Group, version, plural and heading.
type Place<'a> = (&'a str, &'a str, &'a str, &'a str);

static DESCRIPTIONS: LazyLock<HashMap<Place<'static>, String>> = LazyLock::new(|| {
    let lines = include_str!("../../data/column-descriptions.tsv").lines();
    lines.filter_map(read_line).collect()
});

fn read_line(line: &'static str) -> Option<(Place<'static>, String)> {
    let mut columns = line.split('\t');
    let place = (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    Some((place, serde_json::from_str(&format!("\"{}\"", columns.next()?)).ok()?))
}

/// The description of a column: its own, or that of the built-in kind.
pub(super) fn of<'c>(kind: &'c Kind, column: &'c Column) -> &'c str {
    if !column.description.is_empty() || (kind.custom.is_some() && column.format != "name") {
        return &column.description;
    }
    let find = |group, version, resource| DESCRIPTIONS.get(&(group, version, resource, &*column.name));
    let own = find(&*kind.group, &*kind.version, &*kind.resource);
    own.or_else(|| find("*", "*", "*")).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn every_column_of_every_kind_is_described() {
        // These are described by nothing in upstream either.
        let silent: usize = Registry::builtin()
            .iter()
            .flat_map(|kind| kind.columns.iter().map(|column| of(kind, column).is_empty()))
            .filter(|empty| *empty)
            .count();
        let lines = include_str!("../../data/column-descriptions.tsv").lines();
        let empty_lines = lines.filter(|line| line.ends_with('\t')).count();
        assert_eq!(silent, empty_lines);
    }

    #[test]
    fn what_kinds_share_is_said_once() {
        let registry = Registry::builtin();
        let pods = registry.by_resource("", "v1", "pods").unwrap();
        let described = |name: &str| of(pods, pods.columns.iter().find(|c| c.name == name).unwrap()).to_owned();
        assert!(described("Age").starts_with("CreationTimestamp is a timestamp"));
        assert!(described("Age").contains("in UTC.\n\nPopulated by the system."));
        assert_eq!(described("Status"), "The aggregate status of the containers in this pod.");
    }
}
