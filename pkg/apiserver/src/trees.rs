// SPDX-License-Identifier: Apache-2.0
//! Parsed forms of the small objects that admission looks at with every request: namespaces, accounts,
//! classes, policies.

use std::collections::HashMap;
use std::sync::Arc;

use knarr_schema::Kind;
use knarr_store::Record;
use knarr_types::{Key, Object, Revision};
use parking_lot::RwLock;

use crate::serve_object;

/// How many objects are kept.
const CAPACITY: usize = 512;
/// The largest object that is kept, in bytes of JSON.
const SIZE_MAX: usize = 16 * 1024;

/// The kept trees, each with the revision it is of.
#[derive(Default)]
pub struct Trees(RwLock<HashMap<Key, (Revision, Arc<Object>), foldhash::fast::RandomState>>);

impl Trees {
    /// The record as a tree in the version of `kind`.
    #[must_use]
    pub fn get(&self, kind: &Kind, record: &Record) -> Arc<Object> {
        // Custom objects have a tree in each of their versions.
        if kind.custom.is_some() || record.json.len() > SIZE_MAX {
            return Arc::new(serve_object::tree(kind, record));
        }
        if let Some((_, tree)) = self.0.read().get(&record.key).filter(|(at, _)| *at == record.revision) {
            return Arc::clone(tree);
        }
        let tree = Arc::new(serve_object::tree(kind, record));
        let mut kept = self.0.write();
        if kept.len() >= CAPACITY {
            kept.clear();
        }
        kept.insert(record.key.clone(), (record.revision, Arc::clone(&tree)));
        tree
    }
}
