// SPDX-License-Identifier: Apache-2.0

//! The state of the cluster: revisions, proposals, views and watches over SlateDB.
//!
//! Writers hand over proposals (conditions and changes); one task, the sequencer, orders them, and
//! a write is seen and acknowledged only once it is durable. Readers never touch the database: all
//! objects are in memory as the bytes that clients get, and so are the last commits, for watches and
//! for reads in the past.
//!
//! A write goes `prepare` (encode, delta, encrypt, in the writer's task) -> `lanes` -> `sequencer`
//! (compare, number, batch) -> SlateDB and its log (`wal`) -> `shared` (publish) -> `view`, `ring` -> `watch`.

#[cfg(test)]
extern crate self as knarr_store; // what helpers of black-box tests know it by

mod batch;
mod commit;
mod conditions;
mod crypt;
mod database;
mod delta;
mod error;
mod history;
mod keyring;
mod keys;
mod lanes;
mod load;
mod options;
mod prepare;
mod proposal;
mod prune;
mod record;
mod recovery;
mod ring;
mod sequencer;
mod shared;
mod store;
mod value;
mod view;
mod volatile;
mod wakes;
pub mod wal;
mod watch;

pub use error::{OpenError, ProposeError, ReadError, UpdateError};
pub use history::CommitInfo;
pub use keyring::KeyRing;
pub use options::{Backend, Limits, Options, ResourceOptions, Tier};
pub use proposal::{Applied, Author, Change, Committed, Decision, Lane, Precondition, Proposal, WriteContext};
pub use record::{Commit, Draft, Fields, Labels, Record};
pub use store::{Health, Stats, Store};
pub use view::{Scope, Snapshot};
pub use watch::{WatchEvent, Watcher};
