// SPDX-License-Identifier: Apache-2.0

//! The state of each resource in memory: persistent ordered maps, so that a snapshot costs nothing
//! and a list is a walk over one.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};
use imbl::shared_ptr::DefaultSharedPtr;
use imbl::{GenericHashMap, OrdMap};
use knarr_types::{Key, ResourceId, Revision};

use crate::options::ResourceOptions;
use crate::record::{Commit, Record};

/// Which objects of a resource a list or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of one namespace.
    Namespace(Arc<str>),
    /// One.
    Object {
        /// `""` for objects of the cluster.
        namespace: Arc<str>,
        /// `metadata.name`.
        name: Arc<str>,
    },
    /// Those whose indexed field has this value, in all namespaces.
    Index {
        /// The registered field.
        field: Arc<str>,
        /// Its value.
        value: Arc<str>,
    },
}

impl Scope {
    /// Whether a record is in it.
    #[must_use]
    pub fn contains(&self, record: &Record) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => record.key.namespace == *namespace,
            Self::Object { namespace, name } => record.key.namespace == *namespace && record.key.name == *name,
            Self::Index { field, value } => record.field(field) == Some(value),
        }
    }
}

/// Where an object stands in its resource: lists are in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Name {
    fn of(key: &Key) -> Self {
        Self { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) }
    }

    fn borrowed(&self) -> NameRef<'_> {
        NameRef { namespace: &self.namespace, name: &self.name }
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.borrowed().cmp(&other.borrowed())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// [`Name`], borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NameRef<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// As kube-apiserver's keys in etcd, `NAMESPACE/NAME`: what is in `a-b` stands before what is in `a`.
impl Ord for NameRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let shorter = self.namespace.len().min(other.namespace.len());
        let (mine, others) = (self.namespace.as_bytes(), other.namespace.as_bytes());
        let next = |namespace: &[u8]| namespace.get(shorter).copied().unwrap_or(b'/');
        mine[..shorter]
            .cmp(&others[..shorter])
            .then_with(|| next(mine).cmp(&next(others)))
            .then_with(|| self.name.cmp(other.name))
    }
}

impl PartialOrd for NameRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Equivalent<Name> for NameRef<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        self.compare(key) == Ordering::Equal
    }
}

impl Comparable<Name> for NameRef<'_> {
    fn compare(&self, key: &Name) -> Ordering {
        self.cmp(&key.borrowed())
    }
}

/// An entry of an index, borrowed: the value of the field, then the name.
#[derive(PartialEq, Eq)]
struct EntryRef<'a> {
    value: &'a str,
    name: NameRef<'a>,
}

impl Equivalent<(Arc<str>, Name)> for EntryRef<'_> {
    fn equivalent(&self, key: &(Arc<str>, Name)) -> bool {
        self.compare(key) == Ordering::Equal
    }
}

impl Comparable<(Arc<str>, Name)> for EntryRef<'_> {
    fn compare(&self, (value, name): &(Arc<str>, Name)) -> Ordering {
        (self.value, self.name).cmp(&(value, name.borrowed()))
    }
}

/// Objects by the value of an indexed field.
type Index = OrdMap<(Arc<str>, Name), Arc<Record>>;

/// The state of one resource.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) options: Arc<ResourceOptions>,
    records: OrdMap<Name, Arc<Record>>,
    /// One per indexed field, in the order of the options.
    indexes: Vec<Index>,
    /// The newest commit, and that of each namespace: what `Unchanged` asks for.
    changed: Revision,
    changed_in: OrdMap<Arc<str>, Revision>,
    /// Memory held by the records, about.
    pub(crate) bytes: usize,
}

impl View {
    /// Empty; nothing is known of changes before `since`.
    pub(crate) fn new(options: Arc<ResourceOptions>, since: Revision) -> Self {
        let indexes = options.indexed.iter().map(|_| OrdMap::new()).collect();
        Self { options, records: OrdMap::new(), indexes, changed: since, changed_in: OrdMap::new(), bytes: 0 }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Record>> {
        self.records.get(&NameRef { namespace, name })
    }

    /// The revision of the newest change.
    pub(crate) const fn changed(&self) -> Revision {
        self.changed
    }

    /// Whether anything of the namespace (of all, where `None`) was written after `since`.
    pub(crate) fn changed_since(&self, namespace: Option<&str>, since: Revision) -> bool {
        match namespace {
            None => self.changed > since,
            Some(namespace) => self.changed_in.get(namespace).is_some_and(|changed| *changed > since),
        }
    }

    /// Puts or removes a record.
    pub(crate) fn set(&mut self, key: &Key, revision: Revision, after: Option<Arc<Record>>) {
        let name = Name::of(key);
        let before = match &after {
            Some(record) => {
                self.bytes += record.size_bytes();
                self.records.insert(name.clone(), Arc::clone(record))
            }
            None => self.records.remove(&name),
        };
        if let Some(before) = &before {
            self.bytes -= before.size_bytes();
        }
        for (field, index) in self.options.indexed.iter().zip(&mut self.indexes) {
            let old = before.as_ref().and_then(|record| record.field(field));
            let new = after.as_ref().and_then(|record| record.field(field).map(|value| (value, record)));
            if let Some(value) = old.filter(|old| new.is_none_or(|(new, _)| new != *old)) {
                index.remove(&(Arc::clone(value), name.clone()));
            }
            if let Some((value, record)) = new {
                index.insert((Arc::clone(value), name.clone()), Arc::clone(record));
            }
        }
        self.changed = self.changed.max(revision);
        self.changed_in.insert(Arc::clone(&key.namespace), revision);
    }

    /// The same records under other options.
    pub(crate) fn with_options(&self, options: Arc<ResourceOptions>) -> Self {
        let mut view = Self::new(options, self.changed);
        for record in self.records.values() {
            view.set(&record.key, record.revision, Some(Arc::clone(record)));
        }
        view.changed_in = self.changed_in.clone();
        view.changed = self.changed;
        view
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }
}

/// The state of all resources of a tier at one revision. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) revision: Revision,
    pub(crate) views: GenericHashMap<ResourceId, Arc<View>, foldhash::fast::RandomState, DefaultSharedPtr>,
    /// Memory held by all records, about.
    pub(crate) bytes: usize,
}

impl Root {
    pub(crate) fn new(revision: Revision) -> Self {
        Self { revision, views: GenericHashMap::default(), bytes: 0 }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Record>> {
        self.views.get(&key.resource)?.get(&key.namespace, &key.name)
    }

    /// Takes the view of a resource out.
    pub(crate) fn take(&mut self, resource: &ResourceId) -> Option<Arc<View>> {
        let view = self.views.remove(resource)?;
        self.bytes -= view.bytes;
        Some(view)
    }

    /// Puts a view in where none is.
    pub(crate) fn place(&mut self, resource: ResourceId, view: View) {
        self.bytes += view.bytes;
        self.views.insert(resource, Arc::new(view));
    }

    /// Puts or removes a record; `options` are those of its resource.
    pub(crate) fn set(
        &mut self,
        key: &Key,
        revision: Revision,
        after: Option<Arc<Record>>,
        options: impl FnOnce() -> Arc<ResourceOptions>,
    ) {
        let since = self.revision;
        let view = self.views.entry(key.resource.clone()).or_insert_with(|| Arc::new(View::new(options(), since)));
        let view = Arc::make_mut(view);
        self.bytes -= view.bytes;
        view.set(key, revision, after);
        self.bytes += view.bytes;
    }
}

/// The objects of one resource at one revision. Cheap to clone; never changes.
#[derive(Clone)]
pub struct Snapshot {
    revision: Revision,
    view: Arc<View>,
}

impl Snapshot {
    pub(crate) const fn new(revision: Revision, view: Arc<View>) -> Self {
        Self { revision, view }
    }

    /// The revision at which this is the state.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The state at an older revision, given the commits since then, newest first.
    pub(crate) fn undone(&self, revision: Revision, later: &[Arc<Commit>]) -> Self {
        let mut view = View::clone(&self.view);
        for commit in later {
            view.set(&commit.key, revision, commit.before.clone());
        }
        Self { revision, view: Arc::new(view) }
    }

    /// How many objects there are, in all scopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.view.records.is_empty()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Record>> {
        self.view.get(namespace, name)
    }

    /// Whether lists by this field go through an index.
    #[must_use]
    pub fn is_indexed(&self, field: &str) -> bool {
        self.view.options.indexed.iter().any(|indexed| &**indexed == field)
    }

    /// The objects of a scope, ordered as the texts `NAMESPACE/NAME`, beginning with `from` (namespace,
    /// name) where that is given: behind an object is its name with a zero byte at the end. A field
    /// without index costs a walk over all.
    pub fn list<'a>(
        &'a self,
        scope: &'a Scope,
        from: Option<(&'a str, &'a str)>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Record>> + Send + 'a> {
        match scope {
            Scope::All => Box::new(self.from("", from)),
            Scope::Namespace(namespace) => {
                Box::new(self.from(namespace, from).take_while(|record| record.key.namespace == *namespace))
            }
            Scope::Object { namespace, name } => Box::new(
                self.get(namespace, name)
                    .filter(|_| {
                        let begins = |(namespace, name)| NameRef { namespace, name };
                        from.is_none_or(|from| begins(from) <= begins((namespace, name)))
                    })
                    .into_iter(),
            ),
            Scope::Index { field, value } => {
                match self.view.options.indexed.iter().position(|indexed| indexed == field) {
                    Some(at) => Box::new(self.entries(at, value, from)),
                    None => Box::new(self.from("", from).filter(move |record| scope.contains(record))),
                }
            }
        }
    }

    fn from<'a>(
        &'a self,
        namespace: &'a str,
        from: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + Send + 'a {
        let scope = NameRef { namespace, name: "" };
        let start = Bound::Included(from.map_or(scope, |(namespace, name)| scope.max(NameRef { namespace, name })));
        self.view.records.range((start, Bound::Unbounded)).map(|(_, record)| record)
    }

    fn entries<'a>(
        &'a self,
        index: usize,
        value: &'a Arc<str>,
        from: Option<(&'a str, &'a str)>,
    ) -> impl Iterator<Item = &'a Arc<Record>> + Send + 'a {
        let (namespace, name) = from.unwrap_or_default();
        let start = Bound::Included(EntryRef { value, name: NameRef { namespace, name } });
        self.view.indexes[index]
            .range((start, Bound::Unbounded))
            .take_while(move |((found, _), _)| found == value)
            .map(|(_, record)| record)
    }
}
