// SPDX-License-Identifier: Apache-2.0
//! What the scheduler counts, under upstream's names, as Prometheus reads it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::queue::Waits;

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    Scheduled,
    Unschedulable,
    Error,
}

const RESULTS: [&str; 3] = ["scheduled", "unschedulable", "error"];
const QUEUES: [&str; 3] = ["active", "backoff", "unschedulable"];

/// A process schedules once.
static ATTEMPTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static PENDING: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

pub(crate) fn attempted(attempt: Attempt) {
    ATTEMPTS[attempt as usize].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn waits(waits: &Waits) {
    for (gauge, count) in PENDING.iter().zip([waits.due, waits.pausing, waits.parked]) {
        gauge.store(count as u64, Ordering::Relaxed);
    }
}

/// Writes all of it, in Prometheus' text format 0.0.4.
pub fn render(text: &mut String) {
    let families = [
        ("scheduler_schedule_attempts_total", "counter", "Attempts to schedule pods.", "result", RESULTS, &ATTEMPTS),
        ("scheduler_pending_pods", "gauge", "Pods that wait for a node.", "queue", QUEUES, &PENDING),
    ];
    for (name, kind, help, label, values, counts) in families {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        let profile = if label == "result" { "profile=\"default-scheduler\"," } else { "" };
        for (value, count) in values.iter().zip(counts) {
            let _ = writeln!(text, "{name}{{{profile}{label}=\"{value}\"}} {}", count.load(Ordering::Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_waiting_pods_are_told() {
        attempted(Attempt::Unschedulable);
        waits(&Waits { due: 1, pausing: 2, parked: 3 });
        let mut text = String::new();
        render(&mut text);
        for line in [
            "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"unschedulable\"} 1",
            "scheduler_pending_pods{queue=\"backoff\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
