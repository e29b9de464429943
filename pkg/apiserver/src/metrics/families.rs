// SPDX-License-Identifier: Apache-2.0
//! Counters and histograms by labels, for what happens rarely enough to look up its labels each time.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::text::Text;

/// A number by labels.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// Durations by labels.
#[derive(Debug)]
pub struct Histogram {
    name: &'static str,
    help: &'static str,
    /// Upper bounds in seconds.
    bounds: &'static [f64],
    series: Mutex<BTreeMap<String, Durations>>,
}

#[derive(Clone, Debug, Default)]
struct Durations {
    /// By bucket, not summed up; the last is for all that took longer.
    buckets: Vec<u64>,
    seconds: f64,
}

impl Counter {
    /// Nothing was counted yet.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: Mutex::new(BTreeMap::new()) }
    }

    /// One more with these labels, as Prometheus' text has them.
    pub fn add(&self, labels: String) {
        *self.counts.lock().entry(labels).or_default() += 1;
    }

    /// Writes it; a counter that never counted is left out.
    pub fn write(&self, text: &mut Text) {
        let counts = self.counts.lock();
        if counts.is_empty() {
            return;
        }
        text.family(self.name, "counter", self.help);
        counts.iter().for_each(|(labels, count)| text.sample(self.name, labels, count));
    }
}

impl Histogram {
    /// Nothing was measured yet.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, help, bounds, series: Mutex::new(BTreeMap::new()) }
    }

    /// One more of this length.
    pub fn observe(&self, labels: String, took: Duration) {
        let mut series = self.series.lock();
        let durations = series.entry(labels).or_default();
        durations.buckets.resize(self.bounds.len() + 1, 0);
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        durations.buckets[bucket] += 1;
        durations.seconds += seconds;
    }

    /// Writes it; a histogram without a measure is left out.
    pub fn write(&self, text: &mut Text) {
        let series = self.series.lock();
        if series.is_empty() {
            return;
        }
        text.family(self.name, "histogram", self.help);
        for (labels, durations) in series.iter() {
            let comma = if labels.is_empty() { "" } else { "," };
            let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            let mut sum = 0;
            for (bound, count) in bounds.zip(&durations.buckets) {
                sum += count;
                text.sample(&format!("{}_bucket", self.name), &format!("{labels}{comma}le=\"{bound}\""), sum);
            }
            text.sample(&format!("{}_sum", self.name), labels, durations.seconds);
            text.sample(&format!("{}_count", self.name), labels, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_summed_up() {
        let histogram = Histogram::new("h", "Help.", &[0.1, 1.0]);
        for millis in [50, 100, 500, 5000] {
            histogram.observe("a=\"b\"".to_owned(), Duration::from_millis(millis));
        }
        let mut text = Text::default();
        histogram.write(&mut text);
        let want = "# HELP h Help.\n# TYPE h histogram\nh_bucket{a=\"b\",le=\"0.1\"} 2\nh_bucket{a=\"b\",le=\"1\"} 3\n\
                    h_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 5.65\nh_count{a=\"b\"} 4\n";
        assert_eq!(text.into_string(), want);
    }

    #[test]
    fn counters_count_by_labels() {
        let counter = Counter::new("c", "Help.");
        let mut text = Text::default();
        counter.write(&mut text);
        ["x", "y", "x"].into_iter().for_each(|label| counter.add(format!("l=\"{label}\"")));
        counter.write(&mut text);
        assert_eq!(text.into_string(), "# HELP c Help.\n# TYPE c counter\nc{l=\"x\"} 2\nc{l=\"y\"} 1\n");
    }
}
