// SPDX-License-Identifier: Apache-2.0
//! The counts of one sort of request.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::Asked;
use super::text::Text;

/// Upper bounds of `apiserver_request_duration_seconds`, in milliseconds. Upstream's.
const MILLIS: [u64; 23] = [
    5, 25, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000,
    30_000, 45_000, 60_000,
];

/// Upper bounds of `apiserver_response_sizes`. Upstream's.
const BYTES: [u64; 7] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// The counts of requests that ask for the same.
#[derive(Debug)]
pub struct Series {
    labels: String,
    /// Group, version and resource alone.
    what: String,
    codes: RwLock<Vec<(u16, AtomicU64)>>,
    /// By bucket, not summed up; the last is for all that took longer.
    durations: [AtomicU64; MILLIS.len() + 1],
    micros: AtomicU64,
    /// Of reads: how many answers there were by their length, not summed up.
    sizes: [AtomicU64; BYTES.len() + 1],
    bytes: AtomicU64,
    open: AtomicI64,
    events: AtomicU64,
}

/// A request that goes on, while it does.
#[derive(Debug)]
pub struct Open(Arc<Series>);

impl Open {
    /// Events were sent to its client.
    pub fn sent(&self, events: u64) {
        self.0.events.fetch_add(events, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Series {
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        let Asked { verb, dry_run, group, version, resource, subresource, scope } = asked;
        let dry_run = if *dry_run { "All" } else { "" };
        let what = format!("group=\"{group}\",version=\"{version}\",resource=\"{resource}\"");
        let labels = format!(
            "verb=\"{verb}\",dry_run=\"{dry_run}\",{what},subresource=\"{subresource}\",scope=\"{scope}\",\
             component=\"apiserver\""
        );
        Self {
            labels,
            what,
            codes: RwLock::default(),
            durations: std::array::from_fn(|_| AtomicU64::new(0)),
            micros: AtomicU64::new(0),
            sizes: Default::default(),
            bytes: AtomicU64::new(0),
            open: AtomicI64::new(0),
            events: AtomicU64::new(0),
        }
    }

    pub(super) fn labels(&self) -> &str {
        &self.labels
    }

    /// One goes on until what this gives is dropped.
    #[must_use]
    pub fn open(self: Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    /// One was answered, after this time where that counts.
    pub(super) fn observe(&self, code: u16, elapsed: Option<Duration>) {
        if let Some(elapsed) = elapsed {
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            let bucket = MILLIS.partition_point(|bound| bound * 1000 < micros);
            self.durations[bucket].fetch_add(1, Ordering::Relaxed);
            self.micros.fetch_add(micros, Ordering::Relaxed);
        }
        if let Some((_, count)) = self.codes.read().iter().find(|(known, _)| *known == code) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut codes = self.codes.write();
        match codes.iter().find(|(known, _)| *known == code) {
            Some((_, count)) => drop(count.fetch_add(1, Ordering::Relaxed)),
            None => codes.push((code, AtomicU64::new(1))),
        }
    }

    /// The answer to a read had that many bytes.
    pub(super) fn observe_size(&self, bytes: u64) {
        self.sizes[BYTES.partition_point(|bound| *bound < bytes)].fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn write_sizes(&self, text: &mut Text) {
        let name = "apiserver_response_sizes";
        let counts: Vec<u64> = self.sizes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        // This one has no label for dry runs: reads are none.
        let labels = self.labels.replacen("dry_run=\"\",", "", 1);
        let mut sum = 0;
        for (bound, count) in BYTES.iter().zip(counts) {
            sum += count;
            text.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), sum);
        }
        text.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), total);
        text.sample(&format!("{name}_sum"), &labels, self.bytes.load(Ordering::Relaxed));
        text.sample(&format!("{name}_count"), &labels, total);
    }

    pub(super) fn write_codes(&self, text: &mut Text) {
        for (code, count) in self.codes.read().iter() {
            let labels = format!("{},code=\"{code}\"", self.labels);
            text.sample("apiserver_request_total", &labels, count.load(Ordering::Relaxed));
        }
    }

    pub(super) fn write_durations(&self, text: &mut Text) {
        let name = "apiserver_request_duration_seconds";
        let counts: Vec<u64> = self.durations.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let mut sum = 0;
        for (bound, count) in MILLIS.iter().zip(counts) {
            sum += count;
            let labels = format!("{},le=\"{}\"", self.labels, *bound as f64 / 1000.0);
            text.sample(&format!("{name}_bucket"), &labels, sum);
        }
        text.sample(&format!("{name}_bucket"), &format!("{},le=\"+Inf\"", self.labels), total);
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        text.sample(&format!("{name}_sum"), &self.labels, seconds);
        text.sample(&format!("{name}_count"), &self.labels, total);
    }

    pub(super) fn write_open(&self, text: &mut Text) {
        let open = self.open.load(Ordering::Relaxed);
        if open > 0 {
            // This one has no label for dry runs.
            let labels = self.labels.replacen("dry_run=\"\",", "", 1);
            text.sample("apiserver_longrunning_requests", &labels, open);
        }
    }

    /// Group, version and resource, and how many events of these were sent.
    pub(super) fn events(&self) -> (&str, u64) {
        (&self.what, self.events.load(Ordering::Relaxed))
    }
}
