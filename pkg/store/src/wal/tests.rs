// SPDX-License-Identifier: Apache-2.0

//! The log against a plain list: faults of the disk, power cuts, and files that come round again, from a seed.

#[path = "../../tests/common/log.rs"]
#[allow(dead_code, reason = "others need more of it")]
mod log;

use std::sync::Arc;

use log::FaultyLog;
use slatedb::wal::{WalError, WalFileRange};

use super::append::{Appender, segments};
use super::collect::collect;
use super::replay;
use super::segment::Span;
use super::writer::Beginning;

const SEEDS: u64 = 20;
const LIVES: u64 = 8;
const RECORDS: u64 = 80;

/// What a log was told, and what it said.
struct Model {
    random: fastrand::Rng,
    disk: FaultyLog,
    /// The body of each record, by its id less 1. The last may not have been acknowledged.
    told: Vec<Vec<u8>>,
    acknowledged: u64,
    /// Up to this id nothing is asked of the log any more.
    in_tables: u64,
    given_back: usize,
}

impl Model {
    /// Opens the log and compares; `None` where the disk failed.
    fn open(&mut self, epoch: u64) -> Option<Appender> {
        let folder = Arc::new(self.disk.clone());
        let (replay, Beginning { appender, last_id }) = match replay::open(folder, epoch, self.in_tables) {
            Ok(opened) => opened,
            Err(WalError::Unavailable(_)) => return None,
            Err(error) => panic!("an open of a log that is whole: {error}"),
        };
        let known = self.acknowledged..=self.told.len() as u64;
        assert!(known.contains(&last_id), "{last_id} of {known:?}");
        if let (Some(first), bodies) = replay.bodies() {
            assert!(first <= self.in_tables + 1, "{first} after {}", self.in_tables);
            assert_eq!(bodies, self.told[first as usize - 1..last_id as usize].concat());
        } else {
            assert_eq!(last_id, self.in_tables);
        }
        self.told.truncate(last_id as usize);
        self.acknowledged = last_id;
        Some(appender)
    }

    /// Appends until the disk fails, or for a while; tables take over some of it.
    fn write(&mut self, appender: &mut Appender) {
        for _ in 0..self.random.u64(0..RECORDS) {
            let id = self.acknowledged + 1;
            let length = if self.random.u8(0..20) == 0 { 9000 } else { self.random.usize(0..900) };
            self.told.push(std::iter::repeat_with(|| self.random.u8(..)).take(length).collect());
            let ids = Span { first: id, last: id };
            match appender.append(ids, ids, &[&self.told[id as usize - 1]]) {
                Ok(()) => self.acknowledged = id,
                Err(_) => return,
            }
            if self.random.u8(0..8) == 0 {
                self.in_tables = self.random.u64(self.in_tables..=id);
                let before = segments(&self.disk).unwrap().len();
                collect(&self.disk, &[WalFileRange::from(self.in_tables + 1..)]).unwrap();
                self.given_back += before - segments(&self.disk).unwrap().len();
            }
        }
    }
}

#[test]
fn what_it_acknowledged_is_there_whatever_was_cut_and_came_round() {
    let (mut given_back, mut faults, mut records) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = FaultyLog::new(random.u64(..));
        let mut model = Model { random, disk, told: Vec::new(), acknowledged: 0, in_tables: 0, given_back: 0 };
        for life in 1..=LIVES {
            model.disk.arm(true);
            if let Some(mut appender) = model.open(life) {
                model.write(&mut appender);
            }
            faults += model.disk.faults();
            model.disk = model.disk.after_power_cut();
        }
        model.open(LIVES + 1).expect("a disk that is well");
        given_back += model.given_back;
        records += model.acknowledged;
    }
    println!("{records} records, {given_back} segments given back, {faults} faults");
    assert!(given_back > 100 && faults > 50 && records > 1000);
}
