// SPDX-License-Identifier: Apache-2.0
//! Sets of field paths: what a manager owns, what a write changed.
//!
//! The published form is `FieldsV1`: an object whose keys are path elements (`f:spec`,
//! `k:{"name":"a"}`, `v:"x"`, `i:0`), an empty object for a field alone and `.` for a field that is in
//! the set together with some below it. Sets borrow from the objects they were made from.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use knarr_types::go_json;
use knarr_types::tree::{Map, Value};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::encode::json;

/// One step of a path. Ordered as in the published form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element<'a> {
    /// A field of an object.
    Field(Cow<'a, str>),
    /// An element of a list as published: `k:{"name":"a"}`, `v:"x"`, `i:0`.
    Item(Cow<'a, str>),
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet<'a> {
    /// Sorted by element; each is a member or has members below.
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node<'a> {
    element: Element<'a>,
    member: bool,
    below: FieldSet<'a>,
}

/// Text that is no `FieldsV1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a set of fields: {0:?}")]
pub struct FieldSetError(String);

/// An element as upstream sorts it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank<'a> {
    Field(&'a str),
    Keys(Vec<(String, Scalar)>),
    Value(Scalar),
    Index(i64),
}

/// A key's value as upstream sorts it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Scalar {
    Number(i64),
    Text(String),
    Other(String),
}

impl Scalar {
    fn of(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.to_string()),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Number(whole),
                None => Self::Other(number.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

// === impl Element ===

impl<'a> Element<'a> {
    /// The element of a list that is told apart by itself.
    #[must_use]
    pub fn value(value: &Value) -> Self {
        Self::Item(Cow::Owned(format!("v:{}", go_json(value.to_string()))))
    }

    fn into_owned(self) -> Element<'static> {
        match self {
            Self::Field(name) => Element::Field(Cow::Owned(name.into_owned())),
            Self::Item(text) => Element::Item(Cow::Owned(text.into_owned())),
        }
    }

    fn parse(text: &'a str) -> Result<Self, FieldSetError> {
        let bad = || FieldSetError(text.to_owned());
        let (kind, rest) = text.split_at_checked(2).ok_or_else(bad)?;
        match kind {
            "f:" => return Ok(Self::Field(rest.into())),
            "i:" => return rest.parse::<i64>().map(|_| Self::Item(text.into())).map_err(|_| bad()),
            "k:" | "v:" => {}
            _ => return Err(bad()),
        }
        let value: Value = serde_json::from_str(rest).map_err(|_| bad())?;
        if kind == "k:" && !value.is_object() {
            return Err(bad());
        }
        let canonical = format!("{kind}{}", go_json(value.to_string()));
        Ok(Self::Item(if canonical == text { text.into() } else { canonical.into() }))
    }

    /// Where upstream has it among others: fields by name, then elements by their keys, by their values, by their
    /// indices; numbers as numbers.
    fn rank(&self) -> Rank<'_> {
        let text = match self {
            Self::Field(name) => return Rank::Field(name),
            Self::Item(text) => text,
        };
        let (kind, rest) = text.split_at_checked(2).unwrap_or(("", text));
        match (kind, serde_json::from_str(rest)) {
            ("k:", Ok(Value::Object(keys))) => {
                Rank::Keys(keys.into_iter().map(|(name, value)| (name.into(), Scalar::of(&value))).collect())
            }
            ("v:", Ok(value)) => Rank::Value(Scalar::of(&value)),
            _ => Rank::Index(rest.parse().unwrap_or_default()),
        }
    }

    /// Writes its published form as JSON.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Field(name) => json::prefixed(text, "f:", name),
            Self::Item(item) => json::text(text, item),
        }
    }

    fn published(&self) -> String {
        match self {
            Self::Field(name) => ["f:", name].concat(),
            Self::Item(text) => text.to_string(),
        }
    }
}

impl fmt::Display for Element<'_> {
    /// As upstream prints it: `.spec`, `[name="a"]`, `[="x"]`, `[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Field(name) => return write!(f, ".{name}"),
            Self::Item(text) => text,
        };
        let (kind, rest) = text.split_at_checked(2).unwrap_or(("", text));
        match (kind, serde_json::from_str(rest)) {
            ("k:", Ok(Value::Object(keys))) => {
                let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
            ("v:", Ok(value)) => write!(f, "[={}]", shown(&value)),
            _ => write!(f, "[{rest}]"),
        }
    }
}

/// A value as upstream's library of typed values prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => fields.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect(),
        scalar => scalar.to_string(),
    }
}

// === impl FieldSet ===

impl<'a> FieldSet<'a> {
    /// Reads the published form.
    ///
    /// # Errors
    /// Where a key is no path element.
    pub fn parse(fields: &'a Value) -> Result<Self, FieldSetError> {
        match fields {
            Value::Object(fields) => Self::parse_map(fields),
            Value::Null => Ok(Self::default()),
            other => Err(FieldSetError(other.to_string())),
        }
    }

    fn parse_map(fields: &'a Map) -> Result<Self, FieldSetError> {
        let mut nodes = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            if key == "." {
                continue;
            }
            let below = Self::parse(value)?;
            let member = value.as_object().is_none_or(|map| map.contains_key(".") || map.is_empty());
            nodes.push(Node { element: Element::parse(key)?, member: member || below.is_empty(), below });
        }
        let mut set = Self { nodes };
        set.sort();
        Ok(set)
    }

    /// Brings the elements into their order.
    fn sort(&mut self) {
        if !self.nodes.is_sorted_by(|a, b| a.element < b.element) {
            self.nodes.sort_by(|a, b| a.element.cmp(&b.element));
            self.nodes.dedup_by(|a, b| a.element == b.element);
        }
    }

    /// The published form.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.published(false)
    }

    /// The published form of what is below a field, which may be in the set itself.
    fn published(&self, itself: bool) -> Value {
        let dot = itself.then(|| (".".to_owned(), Value::Object(Map::new())));
        let below = self
            .nodes
            .iter()
            .map(|node| (node.element.published(), node.below.published(node.member && !node.below.is_empty())));
        Value::Object(dot.into_iter().chain(below).collect())
    }

    /// Writes the published form as canonical JSON.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        self.write_below(text, false);
    }

    fn write_below(&self, text: &mut Vec<u8>, itself: bool) {
        text.extend_from_slice(if itself { b"{\".\":{}" } else { b"{" });
        for (at, node) in self.nodes.iter().enumerate() {
            if at > 0 || itself {
                text.push(b',');
            }
            node.element.write(text);
            if node.below.is_empty() {
                text.extend_from_slice(b":{}");
            } else {
                text.push(b':');
                node.below.write_below(text, node.member);
            }
        }
        text.push(b'}');
    }

    /// What the published form of a set has somewhere if a path of it begins as one of this set does: `"f:status"`.
    pub(crate) fn fronts(&self) -> impl Iterator<Item = Vec<u8>> {
        self.nodes.iter().map(|node| {
            let mut text = Vec::new();
            node.element.write(&mut text);
            text
        })
    }

    /// It has no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// An empty set with room for that many elements.
    pub(crate) fn with_capacity(elements: usize) -> Self {
        Self { nodes: Vec::with_capacity(elements) }
    }

    /// Adds a path; the empty path adds nothing.
    pub fn insert(&mut self, path: &[Element<'a>]) {
        self.insert_tree(path, Self::default());
    }

    /// Adds a path and all that is in `tree` below it; the empty path adds nothing.
    pub(crate) fn insert_tree(&mut self, path: &[Element<'a>], tree: Self) {
        let Some((first, rest)) = path.split_first() else { return };
        let at = match self.position(first) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(at, Node { element: first.clone(), member: false, below: Self::default() });
                at
            }
        };
        let node = &mut self.nodes[at];
        if rest.is_empty() {
            node.member = true;
            node.below = std::mem::take(&mut node.below).union(tree);
        } else {
            node.below.insert_tree(rest, tree);
        }
    }

    /// Adds an element with what is below it. It must come after all that are there; `false` (and
    /// nothing added) where it is no member and has nothing below.
    pub(crate) fn push(&mut self, element: Element<'a>, member: bool, below: Self) -> bool {
        debug_assert!(self.nodes.last().is_none_or(|last| last.element < element), "pushed out of order");
        let wanted = member || !below.is_empty();
        if wanted {
            self.nodes.push(Node { element, member, below });
        }
        wanted
    }

    /// The path is in it.
    #[must_use]
    pub fn contains(&self, path: &[Element<'_>]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let Some(node) = self.node(first) else { return false };
        if rest.is_empty() { node.member } else { node.below.contains(rest) }
    }

    /// The element itself is in it.
    #[must_use]
    pub fn has(&self, element: &Element<'_>) -> bool {
        self.node(element).is_some_and(|node| node.member)
    }

    /// What is in it below the element; `None` where nothing is.
    #[must_use]
    pub fn below(&self, element: &Element<'_>) -> Option<&Self> {
        self.node(element).map(|node| &node.below).filter(|below| !below.is_empty())
    }

    /// Takes a path out.
    pub fn remove(&mut self, path: &[Element<'_>]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Ok(at) = self.position(first) else { return };
        let node = &mut self.nodes[at];
        if rest.is_empty() {
            node.member = false;
        } else {
            node.below.remove(rest);
        }
        if !node.member && node.below.is_empty() {
            self.nodes.remove(at);
        }
    }

    /// Takes a path and all below it out.
    pub fn remove_tree(&mut self, path: &[Element<'_>]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Ok(at) = self.position(first) else { return };
        if !rest.is_empty() {
            self.nodes[at].below.remove_tree(rest);
        }
        if rest.is_empty() || !self.nodes[at].member && self.nodes[at].below.is_empty() {
            self.nodes.remove(at);
        }
    }

    /// The paths of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        let mut nodes = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let mut right = other.nodes.into_iter().peekable();
        for mut node in self.nodes {
            while let Some(before) = right.next_if(|r| r.element < node.element) {
                nodes.push(before);
            }
            if let Some(same) = right.next_if(|r| r.element == node.element) {
                node.member |= same.member;
                node.below = node.below.union(same.below);
            }
            nodes.push(node);
        }
        nodes.extend(right);
        Self { nodes }
    }

    /// The paths of this one that the other has not.
    #[must_use]
    pub fn difference(&self, other: &FieldSet<'_>) -> Self {
        self.keep(other, |member, in_other| member && !in_other, |below, other| below.difference(other), true)
    }

    /// The paths that both have.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet<'_>) -> Self {
        self.keep(other, |member, in_other| member && in_other, |below, other| below.intersection(other), false)
    }

    /// The same set, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> FieldSet<'static> {
        let nodes = self.nodes.into_iter().map(|node| Node {
            element: node.element.into_owned(),
            member: node.member,
            below: node.below.into_owned(),
        });
        FieldSet { nodes: nodes.collect() }
    }

    /// All paths, as upstream walks them: of each place its members, then what is below them.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<Element<'a>>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    /// Every element with whether it is a member itself, to make a new set of.
    pub(crate) fn map(&self, change: &mut impl FnMut(&Element<'a>, bool, &Self) -> (bool, Self)) -> Self {
        let nodes = self.nodes.iter().map(|node| {
            let (member, below) = change(&node.element, node.member, &node.below);
            Node { element: node.element.clone(), member, below }
        });
        Self { nodes: nodes.collect() }
    }

    fn collect(&self, path: &mut Vec<Element<'a>>, all: &mut Vec<Vec<Element<'a>>>) {
        let mut nodes: Vec<&Node<'a>> = self.nodes.iter().collect();
        nodes.sort_by_cached_key(|node| node.element.rank());
        for node in nodes.iter().filter(|node| node.member) {
            all.push([path.as_slice(), std::slice::from_ref(&node.element)].concat());
        }
        for node in nodes {
            path.push(node.element.clone());
            node.below.collect(path, all);
            path.pop();
        }
    }

    /// Walks both; `unmatched` says whether what only this one has stays.
    fn keep<'b>(
        &self,
        other: &FieldSet<'b>,
        member: impl Fn(bool, bool) -> bool,
        below: impl Fn(&Self, &FieldSet<'b>) -> Self,
        unmatched: bool,
    ) -> Self {
        let mut nodes = Vec::new();
        let mut at = 0;
        for node in &self.nodes {
            while other.nodes.get(at).is_some_and(|o| compare(&o.element, &node.element) == Ordering::Less) {
                at += 1;
            }
            match other.nodes.get(at).filter(|o| compare(&o.element, &node.element) == Ordering::Equal) {
                Some(same) => {
                    let member = member(node.member, same.member);
                    let below = below(&node.below, &same.below);
                    if member || !below.is_empty() {
                        nodes.push(Node { element: node.element.clone(), member, below });
                    }
                }
                None if unmatched => nodes.push(node.clone()),
                None => {}
            }
        }
        Self { nodes }
    }

    fn node(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        self.position(element).ok().map(|at| &self.nodes[at])
    }

    fn position(&self, element: &Element<'_>) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| compare(&node.element, element))
    }
}

// === impl Deserialize ===

/// The published form as [`FieldSet::write`] leaves it: keys of list elements are not brought into their form.
impl<'de: 'a, 'a> Deserialize<'de> for FieldSet<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Below).map(|(set, _)| set)
    }
}

/// What is below an element, and whether the element itself is in the set as well.
struct Below;

impl<'de> Visitor<'de> for Below {
    type Value = (FieldSet<'de>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a set of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut set, mut itself) = (FieldSet::default(), false);
        while let Some(Key(key)) = map.next_key()? {
            if key == "." {
                map.next_value::<IgnoredAny>()?;
                itself = true;
                continue;
            }
            let is_item = key.starts_with("k:") || key.starts_with("v:") || key.starts_with("i:");
            let element = match key {
                key if is_item => Element::Item(key),
                Cow::Borrowed(key) if key.starts_with("f:") => Element::Field(key[2..].into()),
                Cow::Owned(key) if key.starts_with("f:") => Element::Field(key[2..].to_owned().into()),
                key => return Err(A::Error::custom(FieldSetError(key.into_owned()))),
            };
            let (below, itself) = map.next_value_seed(Below)?;
            set.nodes.push(Node { element, member: itself || below.is_empty(), below });
        }
        set.sort();
        Ok((set, itself))
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Below {
    type Value = (FieldSet<'de>, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Elements of different lifetimes.
fn compare(a: &Element<'_>, b: &Element<'_>) -> Ordering {
    match (a, b) {
        (Element::Field(a), Element::Field(b)) | (Element::Item(a), Element::Item(b)) => a.cmp(b),
        (Element::Field(_), Element::Item(_)) => Ordering::Less,
        (Element::Item(_), Element::Field(_)) => Ordering::Greater,
    }
}

/// A path as upstream prints it: `.spec.containers[name="a"].image`.
#[must_use]
pub fn path_text(path: &[Element<'_>]) -> String {
    path.iter().map(Element::to_string).collect()
}

#[cfg(test)]
mod tests;
