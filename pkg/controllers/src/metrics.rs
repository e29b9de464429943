// SPDX-License-Identifier: Apache-2.0
//! What the work queues count, under the names that upstream's controllers have for it, as Prometheus reads
//! it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

use crate::queue::{Counts, Queue, Spans};

/// The queues of this process by the names of their controllers.
static QUEUES: Mutex<BTreeMap<&'static str, Queue>> = Mutex::new(BTreeMap::new());

/// A family: its name, its kind, what it tells, and its value.
type Family = (&'static str, &'static str, &'static str, fn(&Counts) -> f64);

const FAMILIES: [Family; 5] = [
    ("workqueue_adds_total", "counter", "Keys that were put into the queue.", |c| c.adds as f64),
    ("workqueue_retries_total", "counter", "Keys that came back after a failure.", |c| c.retries as f64),
    ("workqueue_depth", "gauge", "Keys that wait for a worker.", |c| c.depth as f64),
    ("workqueue_unfinished_work_seconds", "gauge", "Time spent on keys that are worked on.", |c| {
        c.unfinished.as_secs_f64()
    }),
    ("workqueue_longest_running_processor_seconds", "gauge", "The longest of these.", |c| c.longest.as_secs_f64()),
];

/// A histogram: its name, what it tells, and its spans.
type Histogram = (&'static str, &'static str, fn(&Counts) -> &Spans);

const HISTOGRAMS: [Histogram; 2] = [
    ("workqueue_queue_duration_seconds", "Time that keys waited for a worker.", |c| &c.waited),
    ("workqueue_work_duration_seconds", "Time spent on keys that are done.", |c| &c.work),
];

/// The bounds of [`Spans`], as upstream's client writes them.
const BOUNDS: [&str; 13] = [
    "1e-08",
    "1e-07",
    "1e-06",
    "9.999999999999999e-06",
    "9.999999999999999e-05",
    "0.001",
    "0.01",
    "0.1",
    "1",
    "10",
    "100",
    "1000",
    "+Inf",
];

/// Makes a queue known under the name of its controller.
pub(crate) fn name(name: &'static str, queue: &Queue) {
    QUEUES.lock().insert(name, queue.clone());
}

/// Writes all of it, in Prometheus' text format 0.0.4.
pub fn render(text: &mut String) {
    let counts: Vec<(&str, Counts)> = QUEUES.lock().iter().map(|(name, queue)| (*name, queue.counts())).collect();
    for (family, kind, help, value) in FAMILIES {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        for (name, counts) in &counts {
            let _ = writeln!(text, "{family}{{name=\"{name}\"}} {}", value(counts));
        }
    }
    for (family, help, spans) in HISTOGRAMS {
        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} histogram");
        for (name, counts) in &counts {
            let spans = spans(counts);
            let mut sum = 0;
            for (bound, count) in BOUNDS.iter().zip(spans.buckets) {
                sum += count;
                let _ = writeln!(text, "{family}_bucket{{name=\"{name}\",le=\"{bound}\"}} {sum}");
            }
            let _ = writeln!(text, "{family}_sum{{name=\"{name}\"}} {}", spans.sum.as_secs_f64());
            let _ = writeln!(text, "{family}_count{{name=\"{name}\"}} {sum}");
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_client::cache::ObjectRef;

    use super::*;

    #[test]
    fn queues_are_told_by_their_controllers() {
        let queue = Queue::default();
        queue.add(ObjectRef::new("n", "a"));
        name("tested", &queue);
        let mut text = String::new();
        render(&mut text);
        for line in [
            "# TYPE workqueue_depth gauge",
            "workqueue_depth{name=\"tested\"} 1",
            "# TYPE workqueue_work_duration_seconds histogram",
            "workqueue_queue_duration_seconds_count{name=\"tested\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
