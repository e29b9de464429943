// SPDX-License-Identifier: Apache-2.0

//! Objects that are visible at once and gone after a while: expiry, and how a resource that was
//! loaded before anybody said what it is gets its tier and its indexes.

use std::sync::Arc;

use knarr_types::Key;

use crate::keys;
use crate::options::ResourceOptions;
use crate::prepare::{Prepared, PreparedChange, Write, now_ms};
use crate::sequencer::Sequencer;
use crate::view::{Root, View};

impl Sequencer {
    /// Removes what is due.
    pub(crate) fn expire(&mut self) {
        let now = now_ms();
        while let Some((due, ..)) = self.expiring.front()
            && *due <= now
        {
            let Some((_, key, revision)) = self.expiring.pop_front() else { return };
            let root = self.shared.volatile.root();
            if root.get(&key).is_some_and(|record| record.revision == revision) {
                self.apply_volatile(removal(key), Root::clone(&root));
            }
        }
    }

    /// Notes when the objects of a volatile resource expire that were loaded.
    pub(crate) fn schedule_expiry(&mut self) {
        let root = self.shared.volatile.root();
        let mut due: Vec<_> = self.expiring.drain(..).collect();
        for view in root.views.values() {
            let Some(age) = view.options.expire_after else { continue };
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX / 2);
            due.extend(view.records().map(|record| (record.written_ms + age, record.key.clone(), record.revision)));
        }
        due.sort();
        due.dedup();
        self.expiring = due.into();
    }

    /// Treats a resource in another way from now on. Nothing is in flight.
    pub(crate) fn register(&mut self, options: Arc<ResourceOptions>) {
        let resource = options.resource.clone();
        let was_volatile = self.shared.options(&resource).volatile;
        let mut durable = self.head.clone();
        let mut volatile = Root::clone(&self.shared.volatile.root());
        let from = if was_volatile { &mut volatile } else { &mut durable };
        let old = from.take(&resource);
        let into = if options.volatile { &mut volatile } else { &mut durable };
        let view = match old {
            Some(view) => view.with_options(Arc::clone(&options)),
            None => View::new(Arc::clone(&options), into.revision),
        };
        into.place(resource, view);
        self.head = durable.clone();
        self.shared.set_options(&options);
        self.shared.head.store(Arc::new(durable.clone()));
        self.shared.publish(&self.shared.durable, durable, &[]);
        self.shared.publish(&self.shared.volatile, volatile, &[]);
        self.schedule_expiry();
    }
}

fn removal(key: Key) -> Prepared {
    let stored = Some(keys::object(&key));
    let change = PreparedChange { key, base: None, write: Write::Delete { stored }, commit: None };
    Prepared { preconditions: Vec::new(), changes: vec![change], volatile: true, bytes: 0 }
}
