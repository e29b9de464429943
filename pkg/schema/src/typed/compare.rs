// SPDX-License-Identifier: Apache-2.0
//! Which paths differ between two objects.

use knarr_types::tree::{Map, Value};

use super::elements::element_of;
use super::{Shape, field};
use crate::field_set::{Element, FieldSet};
use crate::field_table::{Type, TypeRef};

/// What one object has that the other has not. No path is in two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// Only the new one has it.
    pub added: FieldSet<'a>,
    /// Both have it, with different values.
    pub modified: FieldSet<'a>,
    /// Only the old one has it.
    pub removed: FieldSet<'a>,
}

impl Comparison<'_> {
    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Comparison<'static> {
        Comparison {
            added: self.added.into_owned(),
            modified: self.modified.into_owned(),
            removed: self.removed.into_owned(),
        }
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// An element of a list with what tells it apart.
pub(crate) type Told<'a> = (Element<'a>, &'a Value);

struct Walk<'a> {
    path: Vec<Element<'a>>,
    found: Comparison<'a>,
}

/// Compares two objects of a type.
#[must_use]
pub fn compare<'a>(old: &'a Value, new: &'a Value, ty: &Type) -> Comparison<'a> {
    let mut walk = Walk { path: Vec::with_capacity(8), found: Comparison::default() };
    walk.values(Some(old), Some(new), Shape::of_type(ty));
    walk.found
}

impl<'a> Walk<'a> {
    fn values(&mut self, old: Option<&'a Value>, new: Option<&'a Value>, shape: Shape<'_>) {
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(new)) => return self.found.added.insert_tree(&self.path, whole(new, shape)),
            (Some(old), None) => return self.found.removed.insert_tree(&self.path, whole(old, shape)),
            (None, None) => return,
        };
        if let (Value::Object(old), Value::Object(new)) = (old, new)
            && old.is_stored_as(new)
        {
            return;
        }
        let walked = match shape {
            Shape::Leaf => false,
            Shape::List { item, keys } => self.lists(items(old), items(new), item, keys),
            shape => walkable(old) && walkable(new) && self.objects(fields(old), fields(new), shape),
        };
        if !walked && old != new {
            self.found.modified.insert(&self.path);
        }
    }

    /// `false` where both are empty, to be compared as a whole.
    fn objects(&mut self, old: Option<&'a Map>, new: Option<&'a Map>, shape: Shape<'_>) -> bool {
        let mut before = old.into_iter().flatten().peekable();
        let mut after = new.into_iter().flatten().peekable();
        if before.peek().is_none() && after.peek().is_none() {
            return false;
        }
        let mut shape_of = shape.fields();
        loop {
            let (name, old, new) = match (before.peek(), after.peek()) {
                (None, None) => return true,
                (Some(b), Some(a)) if b.0 == a.0 => (b.0, before.next(), after.next()),
                (Some(b), Some(a)) if b.0 < a.0 => (b.0, before.next(), None),
                (Some(b), None) => (b.0, before.next(), None),
                (_, Some(a)) => (a.0, None, after.next()),
            };
            self.path.push(field(name));
            self.values(old.map(|(_, value)| value), new.map(|(_, value)| value), shape_of(name));
            self.path.pop();
        }
    }

    /// `false` where both are empty, to be compared as a whole.
    fn lists(&mut self, old: &'a [Value], new: &'a [Value], item: &TypeRef, keys: &[String]) -> bool {
        if old.is_empty() && new.is_empty() {
            return false;
        }
        if old == new {
            return true;
        }
        let (old, new) = (told_apart(old, item, keys), told_apart(new, item, keys));
        let (mut before, mut after) = (old.as_slice(), new.as_slice());
        loop {
            let element = match (before.first(), after.first()) {
                (None, None) => return true,
                (Some(b), Some(a)) => (&b.0).min(&a.0),
                (Some((element, _)), None) | (None, Some((element, _))) => element,
            };
            let element = element.clone();
            let (b, a) = (take(&mut before, &element), take(&mut after, &element));
            self.path.push(element);
            self.elements(b, a, item);
            self.path.pop();
        }
    }

    /// The elements of one key: one each, or several that count as one value.
    fn elements(&mut self, old: &[Told<'a>], new: &[Told<'a>], item: &TypeRef) {
        let one = |list: &[Told<'a>]| list.first().map(|(_, value)| *value);
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => self.values(one(old), one(new), Shape::of(item)),
            (0 | 1, _) => {
                if old.len() == 1 {
                    self.values(one(old), None, Shape::of(item));
                }
                self.found.added.insert(&self.path);
            }
            (_, 0 | 1) => {
                if new.len() == 1 {
                    self.values(None, one(new), Shape::of(item));
                }
                self.found.removed.insert(&self.path);
            }
            _ => {
                if !old.iter().map(|(_, value)| value).eq(new.iter().map(|(_, value)| value)) {
                    self.found.modified.insert(&self.path);
                }
            }
        }
    }
}

/// All that is below a value which only one of both has.
fn whole<'a>(value: &'a Value, shape: Shape<'_>) -> FieldSet<'a> {
    let mut set = FieldSet::default();
    match (shape, value) {
        (Shape::Leaf, _) => {}
        (Shape::List { item, keys }, value) => {
            for same in told_apart(items(value), item, keys).chunk_by(|a, b| a.0 == b.0) {
                let below = if let [(_, one)] = same { whole(one, Shape::of(item)) } else { FieldSet::default() };
                set.push(same[0].0.clone(), true, below);
            }
        }
        (shape, Value::Object(fields)) => {
            set = FieldSet::with_capacity(fields.len());
            let mut shape_of = shape.fields();
            for (name, value) in fields {
                set.push(field(name), true, whole(value, shape_of(name)));
            }
        }
        _ => {}
    }
    set
}

/// The elements sorted by what tells them apart; those that nothing tells apart are left out.
pub(crate) fn told_apart<'a>(list: &'a [Value], item: &TypeRef, keys: &[String]) -> Vec<Told<'a>> {
    let mut told: Vec<Told<'a>> =
        list.iter().filter_map(|value| Some((element_of(value, item, keys).ok()?, value))).collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

/// Takes the elements of that key off the front.
fn take<'s, 'a>(list: &mut &'s [Told<'a>], element: &Element<'a>) -> &'s [Told<'a>] {
    let count = list.iter().take_while(|(other, _)| other == element).count();
    let (same, rest) = list.split_at(count);
    *list = rest;
    same
}

/// It is an object, or nothing yet.
fn walkable(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Object(_))
}

fn fields(value: &Value) -> Option<&Map> {
    value.as_object()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
