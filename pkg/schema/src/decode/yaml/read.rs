// SPDX-License-Identifier: Apache-2.0
//! From the nodes of a document to a tree, with merge keys and aliases.

use knarr_types::tree::{Map, Value};

use super::nodes::{Kind, Node};
use super::scalar;

/// More levels than this are refused, as in JSON: all that walks a tree calls itself.
const MAX_DEPTH: usize = 128;
/// How many keys that come twice are told.
const TOLD: usize = 100;

/// The tree of a document, and the keys that come twice in it, each in go-yaml's words with the line of the later
/// value. A map's come after those of its values.
///
/// # Errors
/// In go-yaml's words, where a scalar is not what its tag says, an alias holds itself, or aliases repeat too much.
pub(super) fn tree(root: &Node) -> Result<(Value, Vec<String>), String> {
    let mut reader = Reader { twice: Vec::new(), read: 0, by_alias: 0, aliases: Vec::new(), depth: 0 };
    let value = reader.value(root)?;
    Ok((value, reader.twice))
}

struct Reader {
    twice: Vec<String>,
    /// How many nodes were read.
    read: u64,
    /// How many of them inside of an alias.
    by_alias: u64,
    /// The aliases that are being read.
    aliases: Vec<*const Node>,
    depth: usize,
}

impl Reader {
    fn value(&mut self, node: &Node) -> Result<Value, String> {
        self.count()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("yaml: exceeded max depth of {MAX_DEPTH}"));
        }
        let value = match &node.kind {
            Kind::Scalar { text, plain } => scalar::resolve(&node.tag, text, *plain),
            Kind::Sequence(items) => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::Array)
            }
            Kind::Mapping(_) => {
                let mut map = Map::new();
                self.mapping(node, &mut map).map(|()| Value::Object(map))
            }
            Kind::Alias { .. } => self.alias(node, |reader, target| reader.value(target)),
        };
        self.depth -= 1;
        value
    }

    /// Reads the pairs of a mapping into a map that may have some.
    fn mapping(&mut self, node: &Node, map: &mut Map) -> Result<(), String> {
        let Kind::Mapping(pairs) = &node.kind else { return Err(no_map()) };
        for (key, value) in pairs {
            if is_merge(key) {
                self.merge(value, map)?;
                continue;
            }
            let key = self.value(key)?;
            let read = self.value(value)?;
            let name = key_text(&key, &read)?;
            if map.insert(name.as_str(), read).is_some() && self.twice.len() < TOLD {
                self.twice.push(format!("  line {}: key {name:?} already set in map", value.line));
            }
        }
        Ok(())
    }

    /// Puts the pairs of other mappings in; of several the first counts.
    fn merge(&mut self, value: &Node, map: &mut Map) -> Result<(), String> {
        match &value.kind {
            Kind::Mapping(_) => {
                self.count()?;
                self.mapping(value, map)
            }
            Kind::Alias { .. } => {
                self.count()?;
                self.alias(value, |reader, target| {
                    reader.count()?;
                    reader.mapping(target, map)
                })
            }
            Kind::Sequence(items) => items
                .iter()
                .rev()
                .filter(|item| !matches!(item.kind, Kind::Sequence(_)))
                .try_for_each(|item| self.merge(item, map)),
            Kind::Scalar { .. } => Err(no_map()),
        }
    }

    /// Reads what an alias names.
    fn alias<T>(&mut self, node: &Node, read: impl FnOnce(&mut Self, &Node) -> Result<T, String>) -> Result<T, String> {
        let Kind::Alias { name, target } = &node.kind else { return Err(no_map()) };
        let this: *const Node = node;
        let Some(target) = target.as_ref().filter(|_| !self.aliases.contains(&this)) else {
            return Err(format!("yaml: anchor '{name}' value contains itself"));
        };
        self.aliases.push(this);
        let value = read(self, target);
        self.aliases.pop();
        value
    }

    /// Bounds what aliases repeat by what is written, as go-yaml does.
    fn count(&mut self) -> Result<(), String> {
        const FEW: f64 = 400_000.0;
        const MANY: f64 = 4_000_000.0;
        self.read += 1;
        self.by_alias += u64::from(!self.aliases.is_empty());
        if self.by_alias <= 100 || self.read <= 1000 {
            return Ok(());
        }
        #[allow(clippy::cast_precision_loss, reason = "bodies are bounded, and so are nodes")]
        let (read, by_alias) = (self.read as f64, self.by_alias as f64);
        let allowed = 0.99 - 0.89 * ((read - FEW) / (MANY - FEW)).clamp(0.0, 1.0);
        if by_alias / read > allowed { Err("yaml: document contains excessive aliasing".into()) } else { Ok(()) }
    }
}

fn no_map() -> String {
    "yaml: map merge requires map or sequence of maps as the value".into()
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.kind, Kind::Scalar { text, plain } if text == "<<" && (*plain || key.tag == "tag:yaml.org,2002:merge"))
}

/// A key as text: YAML also has numbers and booleans for keys.
fn key_text(key: &Value, value: &Value) -> Result<String, String> {
    match key {
        Value::String(text) => Ok(text.to_string()),
        Value::Number(_) | Value::Bool(_) => Ok(key.to_string()),
        Value::Null => {
            let value = crate::patch::go_text::in_yaml(value);
            Err(format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {value}"))
        }
        other => Err(format!("yaml: invalid map key: {}", crate::patch::go_text::in_yaml(other))),
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::super::first_document;

    #[test]
    fn maps_merge_and_aliases_repeat() {
        for (text, want) in [
            ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", json!({"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}})),
            ("d: {<<: [{a: 1}, {a: 2, b: 2}]}", json!({"d": {"a": 1, "b": 2}})),
            ("a: &x [1]\nb: *x\nc: &y z\nd: *y", json!({"a": [1], "b": [1], "c": "z", "d": "z"})),
            ("\"<<\": 1", json!({"<<": 1})),
            ("1: a\n1.5: b\nyes: c", json!({"1": "a", "1.5": "b", "true": "c"})),
        ] {
            assert_eq!(first_document(text.as_bytes()).unwrap().value, want, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, want) in [
            ("a: *x", "yaml: unknown anchor 'x' referenced"),
            ("a: &x [*x]", "yaml: anchor 'x' value contains itself"),
            ("<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
            ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ] {
            assert_eq!(first_document(text.as_bytes()).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn keys_that_come_twice_are_told_with_their_lines() {
        for (text, want) in [
            ("a: 1\na: 2\n", "  line 2: key \"a\" already set in map"),
            (
                "m:\n  b: 1\n  b:\n    c: 1\n    c: 2\n",
                "  line 5: key \"c\" already set in map\n  line 4: key \"b\" already set in map",
            ),
            (
                "l:\n- {x: 1, x: 2}\nl: []\n",
                "  line 2: key \"x\" already set in map\n  line 3: key \"l\" already set in map",
            ),
            ("{\"a\": 1, \"a\": null}", "  line 1: key \"a\" already set in map"),
        ] {
            let told = first_document(text.as_bytes()).unwrap().duplicates.unwrap();
            assert_eq!(told, format!("yaml: unmarshal errors:\n{want}"), "{text}");
        }
    }
}
