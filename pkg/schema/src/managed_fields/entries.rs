// SPDX-License-Identifier: Apache-2.0
//! The entries of `managedFields`: read, changed and written.

use std::borrow::Cow;

use knarr_types::tree::{Map, Value};
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MAX_UPDATE_MANAGERS, Manager};
use crate::encode::json;
use crate::field_set::FieldSet;
use crate::typed::Comparison;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// What tells managers apart. Appliers have no version: each of theirs takes over from the one before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id<'a> {
    pub operation: Operation,
    pub manager: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
}

/// One manager with its fields.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub id: Id<'a>,
    pub version: Cow<'a, str>,
    pub time: Option<Cow<'a, str>>,
    pub fields: FieldSet<'a>,
    /// The text of its fields where no write touches them; `fields` is empty then.
    untouched: Option<Cow<'a, str>>,
}

/// The managers of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries<'a> {
    all: Vec<Entry<'a>>,
}

/// Entries that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    Version,
    #[error("missing fieldsType in managed fields entry {0}")]
    NoFieldsType(usize),
    #[error("invalid fieldsType {0:?} in managed fields entry {1}")]
    FieldsType(String, usize),
    #[error(transparent)]
    Fields(#[from] crate::field_set::FieldSetError),
    #[error(transparent)]
    Text(#[from] serde_json::Error),
}

/// An entry as it is published.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Published<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow)]
    manager: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_v1: Option<&'a RawValue>,
}

impl<'a> Published<'a> {
    /// The entry without its fields, if it makes sense; `index` is for messages.
    fn check(self, index: usize) -> Result<Entry<'a>, EntryError> {
        let operation = match &*self.operation {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err(EntryError::Operation),
        };
        if self.api_version.is_empty() {
            return Err(EntryError::Version);
        }
        match &*self.fields_type {
            "FieldsV1" => {}
            "" => return Err(EntryError::NoFieldsType(index)),
            other => return Err(EntryError::FieldsType(other.to_owned(), index)),
        }
        let version = if operation == Operation::Apply { "".into() } else { self.api_version.clone() };
        let id = Id { operation, manager: self.manager, version, subresource: self.subresource };
        Ok(Entry::new(id, self.api_version, self.time, FieldSet::default()))
    }
}

impl<'a> Id<'a> {
    pub(crate) fn update(manager: &'a str, version: &'a str, subresource: &'a str) -> Self {
        Self {
            operation: Operation::Update,
            manager: or_unknown(manager),
            version: version.into(),
            subresource: subresource.into(),
        }
    }

    pub(crate) fn apply(manager: &'a str, subresource: &'a str) -> Self {
        Self {
            operation: Operation::Apply,
            manager: or_unknown(manager),
            version: "".into(),
            subresource: subresource.into(),
        }
    }

    /// What managers are sorted by where their time does not say: upstream compares the JSON that names them, in
    /// which one with a subresource comes before the same without.
    pub(crate) fn order(&self) -> (String, Operation, String, bool, String) {
        let (version, subresource) = (self.version.to_string(), self.subresource.to_string());
        (self.manager.to_string(), self.operation, version, subresource.is_empty(), subresource)
    }

    /// As a conflict names it: `"m" with subresource "status" using v1`.
    pub(crate) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

fn or_unknown(manager: &str) -> Cow<'_, str> {
    if manager.is_empty() { "unknown".into() } else { manager.into() }
}

impl<'a> Entries<'a> {
    /// Reads `managedFields`.
    pub(crate) fn parse(list: &'a [Value]) -> Result<Self, EntryError> {
        let mut entries = Self { all: Vec::with_capacity(list.len() + 1) };
        for (index, entry) in list.iter().enumerate() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().into();
            let published = Published {
                api_version: text("apiVersion"),
                fields_type: text("fieldsType"),
                manager: text("manager"),
                operation: text("operation"),
                subresource: text("subresource"),
                time: entry.get("time").and_then(Value::as_str).map(Cow::Borrowed),
                fields_v1: None,
            };
            let fields = FieldSet::parse(entry.get("fieldsV1").unwrap_or(&Value::Null))?;
            entries.add(Entry { fields, ..published.check(index)? });
        }
        Ok(entries)
    }

    /// Reads the text of `managedFields` as [`Entries::fold`] writes it.
    pub(crate) fn read(text: &'a str) -> Result<Self, EntryError> {
        Self::read_where(text, |_, _, _| true)
    }

    /// The same for a write by that manager that changed no more than what was found: who owns nothing near it keeps
    /// the text of its fields. Nearly all of them do: a status belongs to one manager, a spec to another, or to the same
    /// by way of the object itself.
    pub(crate) fn read_touched(
        text: &'a str,
        manager: &Manager<'_>,
        found: &Comparison<'_>,
    ) -> Result<Self, EntryError> {
        let touched: Vec<_> =
            [&found.added, &found.modified, &found.removed].into_iter().flat_map(FieldSet::fronts).collect();
        let own = or_unknown(manager.name);
        Self::read_where(text, |entry, fields, count| {
            let is_near = |front: &Vec<u8>| memmem::find(fields.as_bytes(), front).is_some();
            // Managers of other versions, and those that become one for being too many, are looked into.
            (*entry.manager == *own && *entry.subresource == *manager.subresource)
                || *entry.api_version != *manager.api_version
                || count >= MAX_UPDATE_MANAGERS
                || touched.iter().any(is_near)
        })
    }

    /// Reads the fields of the entries (of so many) about which `is_read` says so.
    fn read_where(text: &'a str, is_read: impl Fn(&Published<'a>, &str, usize) -> bool) -> Result<Self, EntryError> {
        let list: Vec<Published<'a>> = serde_json::from_str(text)?;
        let count = list.len();
        let mut entries = Self { all: Vec::with_capacity(count + 1) };
        for (index, entry) in list.into_iter().enumerate() {
            let fields = entry.fields_v1.map_or("{}", RawValue::get);
            let is_read = is_read(&entry, fields, count);
            let entry = entry.check(index)?;
            entries.add(if is_read {
                Entry { fields: serde_json::from_str(fields)?, ..entry }
            } else {
                Entry { untouched: Some(fields.into()), ..entry }
            });
        }
        Ok(entries)
    }

    /// The one manager of an object that it made, with the text of its fields.
    pub(crate) fn of_maker(manager: &Manager<'a>, fields: String, time: String) -> Self {
        let id = Id::update(manager.name, manager.api_version, manager.subresource);
        let entry = Entry::new(id, manager.api_version.into(), Some(time.into()), FieldSet::default());
        Self { all: vec![Entry { untouched: Some(fields.into()), ..entry }] }
    }

    /// The published form; `None` where nobody owns anything.
    pub(crate) fn publish(mut self) -> Option<Value> {
        self.sort();
        (!self.all.is_empty()).then(|| Value::Array(self.all.iter().map(Entry::to_value).collect()))
    }

    /// The published form as canonical JSON; `None` where nobody owns anything.
    pub(crate) fn fold(mut self) -> Option<String> {
        self.sort();
        let mut text = Vec::with_capacity(1024);
        for (at, entry) in self.all.iter().enumerate() {
            text.push(if at == 0 { b'[' } else { b',' });
            entry.write(&mut text);
        }
        text.push(b']');
        (!self.all.is_empty()).then(|| String::from_utf8(text).expect("what is written of texts is text"))
    }

    /// As upstream sorts them: appliers first, then by time, those without one before the others, then by name.
    fn sort(&mut self) {
        fn names<'e>(entry: &'e Entry<'_>) -> [&'e str; 3] {
            [&entry.id.manager, &entry.version, &entry.id.subresource]
        }
        self.all.sort_by(|a, b| {
            let order = a.id.operation.cmp(&b.id.operation).then_with(|| a.time.cmp(&b.time));
            order.then_with(|| names(a).cmp(&names(b)))
        });
    }

    /// Both have the same managers, with the same fields, in the same order.
    pub(crate) fn equal_but_times(&self, other: &Self) -> bool {
        let same = |a: &Entry<'_>, b: &Entry<'_>| a.id == b.id && a.version == b.version && a.fields == b.fields;
        self.all.len() == other.all.len() && self.all.iter().zip(&other.all).all(|(a, b)| same(a, b))
    }

    /// The same, borrowing nothing.
    pub(crate) fn into_owned(self) -> Entries<'static> {
        Entries { all: self.all.into_iter().map(Entry::into_owned).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds a manager that is none yet.
    pub(crate) fn add(&mut self, entry: Entry<'a>) {
        self.all.retain(|other| other.id != entry.id);
        self.all.push(entry);
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<'a>> {
        self.all.iter_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.all.iter()
    }

    pub(crate) fn get(&self, id: &Id<'_>) -> Option<&Entry<'a>> {
        self.all.iter().find(|entry| entry.id == *id)
    }

    /// Takes paths from every manager of that version but one.
    pub(crate) fn lose<const N: usize>(&mut self, version: &str, paths: [&FieldSet<'_>; N], but: Option<&Id<'_>>) {
        for paths in paths.into_iter().filter(|paths| !paths.is_empty()) {
            for entry in self.all.iter_mut().filter(|entry| *entry.version == *version) {
                if but.is_none_or(|but| entry.id != *but) {
                    entry.fields = entry.fields.difference(paths);
                }
            }
        }
    }

    /// Drops the managers of a version.
    pub(crate) fn forget(&mut self, version: &str) {
        self.all.retain(|entry| *entry.version != *version);
    }

    /// Drops managers that own nothing.
    pub(crate) fn retain_owners(&mut self) {
        self.all.retain(|entry| entry.untouched.is_some() || !entry.fields.is_empty());
    }

    /// Gives paths to a manager, beside those it has.
    pub(crate) fn gain(&mut self, id: Id<'a>, version: &'a str, paths: FieldSet<'a>, time: Option<String>) {
        let time = time.map(Cow::Owned);
        match self.all.iter_mut().find(|entry| entry.id == id) {
            Some(entry) => {
                entry.fields = std::mem::take(&mut entry.fields).union(paths);
                entry.time = time;
            }
            None => self.all.push(Entry::new(id, version.into(), time, paths)),
        }
    }

    /// Gives a manager exactly these paths; none make it no manager.
    pub(crate) fn set(&mut self, id: Id<'a>, version: &'a str, paths: FieldSet<'a>) {
        match self.all.iter_mut().find(|entry| entry.id == id) {
            Some(entry) => {
                entry.fields = paths;
                entry.version = version.into();
            }
            None => self.all.push(Entry::new(id, version.into(), None, paths)),
        }
    }

    pub(crate) fn set_time(&mut self, id: &Id<'_>, time: String) {
        if let Some(entry) = self.all.iter_mut().find(|entry| entry.id == *id) {
            entry.time = Some(Cow::Owned(time));
        }
    }

    /// Folds the oldest managers of updates into `ancient-changes`, one for each version, until there
    /// are no more than `most`.
    pub(crate) fn cap(&mut self, most: usize) {
        let mut updaters: Vec<Id<'a>> =
            self.all.iter().filter(|e| e.id.operation == Operation::Update).map(|e| e.id.clone()).collect();
        let mut count = updaters.len();
        if count <= most {
            return;
        }
        updaters.sort_by_cached_key(|id| (self.get(id).and_then(|entry| entry.time.clone()), id.order()));
        let mut buckets: Vec<(Cow<'a, str>, Id<'a>)> = Vec::new();
        for id in updaters {
            if count <= most {
                break;
            }
            let Some((_, first)) = buckets.iter().find(|(version, _)| *version == id.version) else {
                buckets.push((id.version.clone(), id));
                continue;
            };
            let bucket = Id {
                operation: Operation::Update,
                manager: "ancient-changes".into(),
                version: id.version.clone(),
                subresource: "".into(),
            };
            let first = first.clone();
            let is_new = self.get(&bucket).is_none();
            if let Some(entry) = self.all.iter_mut().find(|entry| is_new && entry.id == first) {
                entry.id = bucket.clone();
            }
            if id == bucket {
                continue;
            }
            let Some(at) = self.all.iter().position(|entry| entry.id == id) else { continue };
            let folded = self.all.swap_remove(at);
            if let Some(entry) = self.all.iter_mut().find(|entry| entry.id == bucket) {
                entry.fields = std::mem::take(&mut entry.fields).union(folded.fields);
                entry.time = folded.time;
            }
            count -= 1;
        }
    }
}

impl<'a> Entry<'a> {
    pub(crate) const fn new(
        id: Id<'a>,
        version: Cow<'a, str>,
        time: Option<Cow<'a, str>>,
        fields: FieldSet<'a>,
    ) -> Self {
        Self { id, version, time, fields, untouched: None }
    }

    fn into_owned(self) -> Entry<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let id = Id {
            operation: self.id.operation,
            manager: owned(self.id.manager),
            version: owned(self.id.version),
            subresource: owned(self.id.subresource),
        };
        Entry {
            id,
            version: owned(self.version),
            time: self.time.map(owned),
            fields: self.fields.into_owned(),
            untouched: self.untouched.map(owned),
        }
    }

    /// Writes it as canonical JSON.
    fn write(&self, text: &mut Vec<u8>) {
        let member = |text: &mut Vec<u8>, front: &str, value: &str| {
            text.extend_from_slice(front.as_bytes());
            json::text(text, value);
        };
        member(text, "{\"apiVersion\":", &self.version);
        member(text, ",\"fieldsType\":", "FieldsV1");
        text.extend_from_slice(b",\"fieldsV1\":");
        match &self.untouched {
            Some(fields) => text.extend_from_slice(fields.as_bytes()),
            None => self.fields.write(text),
        }
        member(text, ",\"manager\":", &self.id.manager);
        member(text, ",\"operation\":", self.id.operation.as_str());
        if !self.id.subresource.is_empty() {
            member(text, ",\"subresource\":", &self.id.subresource);
        }
        if let Some(time) = &self.time {
            member(text, ",\"time\":", time);
        }
        text.push(b'}');
    }

    fn to_value(&self) -> Value {
        let mut map = Map::new();
        let mut text = |name: &str, value: &str| map.insert(name.to_owned(), Value::from(value));
        text("apiVersion", &self.version);
        text("fieldsType", "FieldsV1");
        text("manager", &self.id.manager);
        text("operation", self.id.operation.as_str());
        if !self.id.subresource.is_empty() {
            text("subresource", &self.id.subresource);
        }
        if let Some(time) = &self.time {
            text("time", time);
        }
        map.insert("fieldsV1".to_owned(), self.fields.to_value());
        Value::Object(map)
    }
}
