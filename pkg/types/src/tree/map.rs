// SPDX-License-Identifier: Apache-2.0
//! A map with its names in order: a sorted list while it is small, a B-tree from then on, so that what costs
//! little for the few fields of an object stays cheap for a map of a hundred thousand. The first bytes of a
//! name in the list stand before it as a number: most lookups compare numbers, and one name at the end. Rules ask for
//! many more fields than an object has, so what is not there is nearly always known without a look at the list.
//!
//! A map that comes from the store can stay the text that it is there until somebody looks inside: most writes change a
//! part of an object and leave the rest alone.

use std::collections::{BTreeMap, btree_map};
use std::hash::{Hash, Hasher};
use std::{fmt, ops, slice, vec};

use bytes::Bytes;

use super::stored::Stored;
use super::words::{front, is_same_behind_front};
use super::{NULL, Text, Value};

/// How many entries a list holds before it becomes a B-tree.
const LIST_MAX: usize = 64;

/// How many entries are walked rather than halved, to find one.
const WALKED_MAX: usize = 8;

/// Values by name, in the order of their names.
#[derive(Clone, Default)]
pub struct Map {
    form: Form,
    /// The [`mark`] of each name that was ever put into the list: a Bloom filter.
    marks: u64,
}

const _: () = assert!(size_of::<Value>() == 32, "a map has no room for more without making each value larger");

/// An entry of a list: the [`front`] of its name, the name, its value.
type Slot = (u64, Text, Value);

#[derive(Clone)]
enum Form {
    Read(Entries),
    Stored(Stored),
}

impl Default for Form {
    fn default() -> Self {
        Self::Read(Entries::default())
    }
}

#[derive(Clone)]
#[allow(clippy::box_collection, reason = "without the box every value would be a quarter larger")]
enum Entries {
    List(Vec<Slot>),
    Tree(Box<BTreeMap<Text, Value>>),
}

impl Default for Entries {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Map {
    /// An empty one.
    pub const fn new() -> Self {
        Self { form: Form::Read(Entries::List(Vec::new())), marks: 0 }
    }

    /// An empty one with room for so many entries.
    pub fn with_capacity(entries: usize) -> Self {
        Self { form: Form::Read(Entries::List(Vec::with_capacity(entries.min(LIST_MAX)))), marks: 0 }
    }

    /// The map that a text of JSON says, a level of which is read once somebody looks inside. The text is one that the
    /// store holds, or is to hold: in the one form of its type and with its defaults, names in their order, no spaces.
    pub fn stored(json: Bytes) -> Self {
        Self { form: Form::Stored(Stored::new(json)), marks: u64::MAX }
    }

    /// Gives a map that is ready to be stored the text that it is stored as: see [`Map::stored`].
    pub fn seal(&mut self, text: impl FnOnce(&Self) -> Bytes) {
        if let Form::Read(entries) = &mut self.form {
            let map = Self { form: Form::Read(std::mem::take(entries)), marks: self.marks };
            self.form = Form::Stored(Stored::read(text(&map), map));
        }
    }

    /// Its text, where it is as it was [stored](Map::stored): nobody had it to change it.
    #[inline]
    pub fn as_stored(&self) -> Option<&Bytes> {
        match &self.form {
            Form::Stored(stored) => Some(stored.json()),
            Form::Read(_) => None,
        }
    }

    /// What follows from the map, always the same, where it is as it was [stored](Map::stored): found out once for it and
    /// its clones. `None` where it is not, or where nothing follows.
    pub fn derived(&self, find: impl FnOnce() -> Option<Box<[u8]>>) -> Option<&[u8]> {
        match &self.form {
            Form::Stored(stored) => stored.derived(find),
            Form::Read(_) => None,
        }
    }

    /// Both are as they were stored, and say the same.
    #[inline]
    pub fn is_stored_as(&self, other: &Self) -> bool {
        self.as_stored().is_some_and(|text| other.as_stored() == Some(text))
    }

    #[inline]
    fn entries(&self) -> &Entries {
        match &self.form {
            Form::Read(entries) => entries,
            Form::Stored(stored) => stored.map().entries(),
        }
    }

    /// The entries, to change them: they are not as they were stored from now on.
    #[inline]
    fn entries_mut(&mut self) -> &mut Entries {
        if let Form::Stored(stored) = &mut self.form {
            *self = stored.take();
        }
        match &mut self.form {
            Form::Read(entries) => entries,
            Form::Stored(_) => unreachable!("what was read of a stored map is no stored map"),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self.entries() {
            Entries::List(list) => list.len(),
            Entries::Tree(tree) => tree.len(),
        }
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the name is there.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let front = front(name);
        if self.marks & mark(front) == 0 { None } else { self.get_behind(front, name) }
    }

    /// The value of a name with that front: a name in the code is a number, and a mark, before it runs.
    fn get_behind(&self, front: u64, name: &str) -> Option<&Value> {
        match self.entries() {
            Entries::List(list) => find(list, front, name).map(|at| &list[at].2),
            Entries::Tree(tree) => tree.get(name),
        }
    }

    /// The value of a name, to change it.
    #[inline]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let front = front(name);
        if self.marks & mark(front) == 0 { None } else { self.get_mut_behind(front, name) }
    }

    fn get_mut_behind(&mut self, front: u64, name: &str) -> Option<&mut Value> {
        match self.entries_mut() {
            Entries::List(list) => find(list, front, name).map(|at| &mut list[at].2),
            Entries::Tree(tree) => tree.get_mut(name),
        }
    }

    /// Gives a name a value; gives back the one it had.
    pub fn insert(&mut self, name: impl Into<Text>, value: Value) -> Option<Value> {
        let name = name.into();
        self.make_room(&name);
        let list = match self.entries_mut() {
            Entries::Tree(tree) => return tree.insert(name, value),
            Entries::List(list) => list,
        };
        let front = front(&name);
        match search(list, front, &name) {
            Ok(at) => return Some(std::mem::replace(&mut list[at].2, value)),
            Err(at) => list.insert(at, (front, name, value)),
        }
        self.marks |= mark(front);
        None
    }

    /// Makes a list that is full a B-tree, unless it has the name.
    fn make_room(&mut self, name: &str) {
        if let Entries::List(list) = self.entries_mut()
            && list.len() == LIST_MAX
            && find(list, front(name), name).is_none()
        {
            let entries = std::mem::take(list).into_iter().map(|(_, name, value)| (name, value));
            self.form = Form::Read(Entries::Tree(Box::new(entries.collect())));
            self.marks = u64::MAX;
        }
    }

    /// Takes a name out; gives back its value.
    #[inline]
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let front = front(name);
        if self.marks & mark(front) == 0 { None } else { self.remove_behind(front, name) }
    }

    fn remove_behind(&mut self, front: u64, name: &str) -> Option<Value> {
        match self.entries_mut() {
            Entries::List(list) => find(list, front, name).map(|at| list.remove(at).2),
            Entries::Tree(tree) => tree.remove(name),
        }
    }

    /// The place of a name, to fill it where it is empty.
    pub fn entry(&mut self, name: impl Into<Text>) -> Entry<'_> {
        Entry { map: self, name: name.into() }
    }

    /// The value of a name, which is `null` from now on where there was none.
    pub(super) fn get_or_insert_null(&mut self, name: &str) -> &mut Value {
        self.make_room(name);
        let front = front(name);
        self.marks |= mark(front);
        match self.entries_mut() {
            Entries::Tree(tree) => tree.entry(name.into()).or_insert(Value::Null),
            Entries::List(list) => {
                let at = search(list, front, name).unwrap_or_else(|at| {
                    list.insert(at, (front, name.into(), Value::Null));
                    at
                });
                &mut list[at].2
            }
        }
    }

    /// Keeps what the function says.
    pub fn retain(&mut self, mut keep: impl FnMut(&Text, &mut Value) -> bool) {
        match self.entries_mut() {
            Entries::List(list) => list.retain_mut(|(_, name, value)| keep(name, value)),
            Entries::Tree(tree) => tree.retain(keep),
        }
    }

    /// Takes all of another map over; its values win.
    pub fn append(&mut self, other: &mut Map) {
        self.extend(std::mem::take(other));
    }

    /// All entries, in the order of their names.
    pub fn iter(&self) -> Iter<'_> {
        match self.entries() {
            Entries::List(list) => Iter(Either::List(list.iter())),
            Entries::Tree(tree) => Iter(Either::Tree(tree.iter())),
        }
    }

    /// All entries, in the order of their names, to change their values.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        match self.entries_mut() {
            Entries::List(list) => IterMut(Either::List(list.iter_mut())),
            Entries::Tree(tree) => IterMut(Either::Tree(tree.iter_mut())),
        }
    }

    /// All names, in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Text> + ExactSizeIterator + Clone {
        self.iter().map(|(name, _)| name)
    }

    /// All values, in the order of their names.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// All values, in the order of their names, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Value> + ExactSizeIterator {
        self.iter_mut().map(|(_, value)| value)
    }
}

/// The bit that stands for all names with that front.
#[inline]
const fn mark(front: u64) -> u64 {
    1 << (front.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// Where a name is in a list. Most lists are short and most lookups miss: those end at the first name behind it.
#[inline]
fn find(list: &[Slot], front: u64, name: &str) -> Option<usize> {
    let start = if list.len() > WALKED_MAX {
        list.partition_point(|(f, ..)| *f < front)
    } else {
        list.iter().position(|(f, ..)| *f >= front)?
    };
    let alike = list[start..].iter().take_while(|(f, ..)| *f == front);
    alike.zip(start..).find(|((_, n, _), _)| is_same_behind_front(n, name)).map(|(_, at)| at)
}

/// Where a name is in a list, or where it belongs.
fn search(list: &[Slot], front: u64, name: &str) -> Result<usize, usize> {
    list.binary_search_by(|(f, n, _)| f.cmp(&front).then_with(|| n.as_str().cmp(name)))
}

/// The place of a name in a map.
pub struct Entry<'a> {
    map: &'a mut Map,
    name: Text,
}

impl<'a> Entry<'a> {
    /// The value that is there, or this one from now on.
    pub fn or_insert(self, value: Value) -> &'a mut Value {
        self.or_insert_with(|| value)
    }

    /// The value that is there, or the one that the function makes from now on.
    pub fn or_insert_with(self, value: impl FnOnce() -> Value) -> &'a mut Value {
        if !self.map.contains_key(&self.name) {
            self.map.insert(self.name.clone(), value());
        }
        self.map.get_mut(&self.name).expect("it was there, or was put there in the line above")
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        self.is_stored_as(other) || self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Map {}

impl Hash for Map {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// `null` where the name is not there.
impl ops::Index<&str> for Map {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl ops::IndexMut<&str> for Map {
    fn index_mut(&mut self, name: &str) -> &mut Value {
        self.get_or_insert_null(name)
    }
}

impl<N: Into<Text>, V: Into<Value>> Extend<(N, V)> for Map {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        for (name, value) in entries {
            self.insert(name, value.into());
        }
    }
}

impl<N: Into<Text>, V: Into<Value>> FromIterator<(N, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let entries = entries.into_iter();
        let mut map = Self::with_capacity(entries.size_hint().0);
        map.extend(entries);
        map
    }
}

impl<N: Into<Text>, V: Into<Value>, const COUNT: usize> From<[(N, V); COUNT]> for Map {
    fn from(entries: [(N, V); COUNT]) -> Self {
        entries.into_iter().collect()
    }
}

#[derive(Clone, Debug)]
enum Either<L, T> {
    List(L),
    Tree(T),
}

/// Entries of a map, in the order of their names.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Either<slice::Iter<'a, Slot>, btree_map::Iter<'a, Text, Value>>);

/// Entries of a map, in the order of their names, to change their values.
#[derive(Debug)]
pub struct IterMut<'a>(Either<slice::IterMut<'a, Slot>, btree_map::IterMut<'a, Text, Value>>);

/// Entries of a map that is taken apart, in the order of their names.
#[derive(Debug)]
pub struct IntoIter(Either<vec::IntoIter<Slot>, btree_map::IntoIter<Text, Value>>);

/// One more iterator over either form of a map: how it ends, and what an entry of a list is given as.
macro_rules! iterator {
    ($name:ident $(<$life:lifetime>)?, $item:ty, $entry:pat => $given:expr) => {
        impl $(<$life>)? Iterator for $name $(<$life>)? {
            type Item = $item;

            fn next(&mut self) -> Option<Self::Item> {
                match &mut self.0 {
                    Either::List(list) => list.next().map(|$entry| $given),
                    Either::Tree(tree) => tree.next(),
                }
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                match &self.0 {
                    Either::List(list) => list.size_hint(),
                    Either::Tree(tree) => tree.size_hint(),
                }
            }
        }

        impl $(<$life>)? DoubleEndedIterator for $name $(<$life>)? {
            fn next_back(&mut self) -> Option<Self::Item> {
                match &mut self.0 {
                    Either::List(list) => list.next_back().map(|$entry| $given),
                    Either::Tree(tree) => tree.next_back(),
                }
            }
        }

        impl $(<$life>)? ExactSizeIterator for $name $(<$life>)? {}
    };
}

iterator!(Iter<'a>, (&'a Text, &'a Value), (_, name, value) => (name, value));
iterator!(IterMut<'a>, (&'a Text, &'a mut Value), (_, name, value) => (&*name, value));
iterator!(IntoIter, (Text, Value), (_, name, value) => (name, value));

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Map {
    type Item = (&'a Text, &'a mut Value);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.iter_mut()
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        let mut map = self;
        match std::mem::take(map.entries_mut()) {
            Entries::List(list) => IntoIter(Either::List(list.into_iter())),
            Entries::Tree(tree) => IntoIter(Either::Tree(tree.into_iter())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_map_is_a_map_whatever_its_form(
            steps in prop::collection::vec((0u8..4, "[a-c]{0,3}[a-z]{0,30}", any::<i64>()), 0..300)
        ) {
            let mut map = Map::new();
            let mut model = BTreeMap::new();
            for (step, name, number) in steps {
                match step {
                    0 => prop_assert_eq!(map.remove(&name), model.remove(&name)),
                    1 => {
                        let kept = map.entry(name.as_str()).or_insert(number.into()).clone();
                        prop_assert_eq!(&kept, model.entry(name).or_insert(number.into()));
                    }
                    2 => {
                        map[name.as_str()] = number.into();
                        model.insert(name, number.into());
                    }
                    _ => prop_assert_eq!(map.insert(name.as_str(), number.into()), model.insert(name, number.into())),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(model.iter().all(|(name, value)| map.get(name) == Some(value)));
            prop_assert!(map.iter().map(|(name, value)| (name.as_str(), value)).eq(model.iter().map(|(n, v)| (n.as_str(), v))));
            prop_assert!(map.keys().rev().map(Text::as_str).eq(model.keys().rev().map(String::as_str)));
            let again: Map = model.clone().into_iter().rev().collect();
            prop_assert_eq!(&again, &map);
            map.retain(|_, value| value.as_i64() > Some(0));
            model.retain(|_, value: &mut Value| value.as_i64() > Some(0));
            prop_assert!(map.into_iter().map(|(name, _)| name).eq(model.into_keys()));
        }
    }
}
