// SPDX-License-Identifier: Apache-2.0

//! One nftables table as data, and the transaction that makes it of another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

/// The whole of a node's table: comparable, and printable as one nft transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub(super) table: String,
    pub(super) sets: BTreeMap<String, Set>,
    pub(super) chains: BTreeMap<String, Chain>,
    /// Where UDP goes: what the kernel remembers beyond these is stale.
    pub(super) udp_targets: BTreeSet<SocketAddr>,
}

/// A set or a map. Elements that packets add (affinity) are not in it and stay untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Its type and flags, each ended by a semicolon.
    pub declaration: String,
    /// Key to value; a set's values are empty.
    pub elements: BTreeMap<String, String>,
    pub map: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// `type nat hook prerouting priority dstnat; policy accept;`, empty for a chain that others jump to.
    pub hook: String,
    pub rules: Vec<String>,
}

impl Set {
    fn keyword(&self) -> &'static str {
        if self.map { "map" } else { "set" }
    }
}

impl Ruleset {
    /// The transaction that puts this table in the place of whatever has its name.
    pub fn replacement(&self) -> String {
        let table = &self.table;
        let empty = Self { table: table.clone(), ..Self::default() };
        // The first line makes the second one succeed where there is no table yet.
        format!(
            "add table inet {table}\ndelete table inet {table}\nadd table inet {table}\n{}",
            self.changes_from(&empty)
        )
    }

    /// The transaction that makes this table of `old`; empty if they are the same. Its order keeps every
    /// reference valid: what is referred to comes before, and goes after, what refers to it.
    pub fn changes_from(&self, old: &Self) -> String {
        let mut out = String::new();
        let table = &self.table;
        // A set of another type is another set: it goes, with every rule that names it, and comes anew.
        // Names tell families and purposes apart, so only a changed timeout does this.
        let kept = |name: &str| {
            let (new, old) = (self.sets.get(name)?, old.sets.get(name)?);
            (new.declaration == old.declaration && new.map == old.map).then_some(old)
        };
        let redeclared: Vec<&str> = self
            .sets
            .keys()
            .filter(|name| old.sets.contains_key(*name) && kept(name).is_none())
            .map(String::as_str)
            .collect();
        let touched = |rules: &[String]| rules.iter().any(|rule| redeclared.iter().any(|set| names(rule, set)));

        for (name, chain) in self.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            line(&mut out, format_args!("add chain inet {table} {name} {}", braces(&chain.hook)));
        }
        for (name, before) in &old.sets {
            let after = kept(name).and_then(|_| self.sets.get(name));
            let gone = before
                .elements
                .iter()
                .filter(|(key, value)| after.is_none_or(|after| after.elements.get(*key) != Some(*value)));
            elements(&mut out, "delete", table, name, gone);
        }
        let changed = |name: &str, chain: &Chain| {
            old.chains.get(name).is_none_or(|before| before.rules != chain.rules) || touched(&chain.rules)
        };
        for (name, before) in &old.chains {
            if self.chains.get(name).is_none_or(|after| changed(name, after)) && !before.rules.is_empty() {
                line(&mut out, format_args!("flush chain inet {table} {name}"));
            }
        }
        for (name, before) in old.sets.iter().filter(|(name, _)| kept(name).is_none()) {
            line(&mut out, format_args!("delete {} inet {table} {name}", before.keyword()));
        }
        for name in old.chains.keys().filter(|name| !self.chains.contains_key(*name)) {
            line(&mut out, format_args!("delete chain inet {table} {name}"));
        }
        for (name, set) in self.sets.iter().filter(|(name, _)| kept(name).is_none()) {
            line(&mut out, format_args!("add {} inet {table} {name} {}", set.keyword(), braces(&set.declaration)));
        }
        for (name, chain) in self.chains.iter().filter(|(name, chain)| changed(name, chain)) {
            for rule in &chain.rules {
                line(&mut out, format_args!("add rule inet {table} {name} {rule}"));
            }
        }
        for (name, after) in &self.sets {
            let before = kept(name);
            let fresh = after
                .elements
                .iter()
                .filter(|(key, value)| before.is_none_or(|before| before.elements.get(*key) != Some(*value)));
            elements(&mut out, "add", table, name, fresh);
        }
        out
    }
}

fn names(rule: &str, set: &str) -> bool {
    rule.split(' ').any(|word| word.strip_prefix('@') == Some(set))
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text); // writing to a String cannot fail
    out.push('\n');
}

fn braces(inside: &str) -> String {
    if inside.is_empty() { String::new() } else { format!("{{ {inside} }}") }
}

fn elements<'a>(
    out: &mut String,
    verb: &str,
    table: &str,
    set: &str,
    list: impl Iterator<Item = (&'a String, &'a String)>,
) {
    let list: Vec<String> =
        list.map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key} : {value}") }).collect();
    if !list.is_empty() {
        line(out, format_args!("{verb} element inet {table} {set} {{ {} }}", list.join(", ")));
    }
}
