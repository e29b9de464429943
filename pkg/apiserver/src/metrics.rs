// SPDX-License-Identifier: Apache-2.0
//! What the server counts, under the names that kube-apiserver has for it, as Prometheus reads it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use knarr_store::Stats;
use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of `apiserver_request_duration_seconds`, upstream's.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Clock ticks a second in `/proc/self/stat`: the kernel's ABI, whatever its own tick is.
const TICKS: f64 = 100.0;
/// The size of a page, where nobody chose a larger one.
const PAGE_BYTES: u64 = 4096;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    resource: String,
}

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter<u64, AtomicU64>>,
    durations: Family<Asked, Histogram, Buckets>,
    /// Resources that have series of their own.
    resources: RwLock<HashSet<Box<str>>>,
    started: SystemTime,
}

impl Default for Metrics {
    fn default() -> Self {
        let (requests, durations) = (Family::default(), Family::new_with_constructor(Buckets));
        let mut registry = Registry::default();
        registry.register("apiserver_request", "Requests by verb, resource and HTTP code", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Seconds until the response began, by verb and resource",
            durations.clone(),
        );
        Self { registry, requests, durations, resources: RwLock::default(), started: SystemTime::now() }
    }
}

impl Metrics {
    /// Counts a request. `verb` is that of the request's attributes, `resource` the plural, `code` the
    /// HTTP status, `elapsed` the time until the response began.
    pub fn observe(&self, verb: &'static str, resource: &str, code: u16, elapsed: Duration) {
        let verb = upstream_verb(verb);
        let resource = self.series(resource, code).to_owned();
        if verb != "WATCH" {
            let asked = Asked { verb, resource: resource.clone() };
            self.durations.get_or_create(&asked).observe(elapsed.as_secs_f64());
        }
        self.requests.get_or_create(&Answered { verb, resource, code }).inc();
    }

    /// Clients choose the paths: only a resource that was found once has a series of its own.
    fn series<'a>(&self, resource: &'a str, code: u16) -> &'a str {
        if resource.is_empty() || self.resources.read().contains(resource) {
            return resource;
        }
        if code >= 400 {
            return "";
        }
        self.resources.write().insert(resource.into());
        resource
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self, store: &Stats) -> String {
        let mut open = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut open, &self.registry);
        let mut all = plain(&open);
        process(&mut all, self.started);
        let gauges = [
            ("knarr_store_revision", "Visible revision of durable objects", store.revision.0),
            ("knarr_store_volatile_revision", "Visible revision of volatile objects", store.volatile_revision.0),
            ("knarr_store_view_bytes", "Memory of the present state", store.view_bytes as u64),
            ("knarr_store_ring_bytes", "Memory of commits kept for watches", store.ring_bytes as u64),
            ("knarr_store_queued_proposals", "Writes that wait for their turn", store.queued as u64),
        ];
        for (name, help, value) in gauges {
            let _ = writeln!(all, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
        }
        all
    }
}

fn upstream_verb(verb: &'static str) -> &'static str {
    match verb {
        "get" => "GET",
        "head" => "HEAD",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "OTHER",
    }
}

/// OpenMetrics text as the older format has it: counters are named with their suffix, there is no mark
/// of the end.
fn plain(open: &str) -> String {
    let counters: HashSet<&str> =
        open.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut all = String::with_capacity(open.len());
    for line in open.lines().filter(|l| *l != "# EOF") {
        let parts: Vec<_> = line.splitn(4, ' ').collect();
        match parts.as_slice() {
            ["#", what, name, rest] if counters.contains(name) => {
                let _ = writeln!(all, "# {what} {name}_total {rest}");
            }
            _ => {
                let _ = writeln!(all, "{line}");
            }
        }
    }
    all
}

/// What Prometheus' own clients tell of their process, as `/proc` has it now.
fn process(all: &mut String, started: SystemTime) {
    let mut gauge = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _ = writeln!(all, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name} {value}");
        }
    };
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let memory = read("statm");
    let pages = |at: usize| memory.split(' ').nth(at)?.trim().parse::<u64>().ok().map(|p| (p * PAGE_BYTES) as f64);
    let limits = read("limits");
    let most = limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    let open = std::fs::read_dir("/proc/self/fd").map(|d| d.count() as f64).ok();
    let since = started.duration_since(UNIX_EPOCH).map(|d| d.as_secs_f64()).ok();
    gauge("process_cpu_seconds_total", "counter", "User and system CPU time in seconds", cpu_seconds(&read("stat")));
    gauge("process_resident_memory_bytes", "gauge", "Resident memory", pages(1));
    gauge("process_virtual_memory_bytes", "gauge", "Virtual memory", pages(0));
    gauge("process_open_fds", "gauge", "Open file descriptors", open);
    gauge("process_max_fds", "gauge", "Limit of open file descriptors", most);
    gauge("process_start_time_seconds", "gauge", "Start of the process since 1970 in seconds", since);
}

/// The user and system time in a `/proc/self/stat`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    // The name in parentheses may hold anything: count from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<u64>().ok();
    Some((ticks(fields.next())? + ticks(fields.next())?) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        let zero = knarr_types::Revision(0);
        Stats { revision: zero, volatile_revision: zero, view_bytes: 0, ring_bytes: 0, queued: 0 }
    }

    #[test]
    fn requests_are_told_under_upstreams_names() {
        let metrics = Metrics::default();
        metrics.observe("list", "pods", 200, Duration::from_millis(30));
        metrics.observe("list", "pods", 403, Duration::from_millis(1));
        let text = metrics.render(&stats());
        for line in [
            "# TYPE apiserver_request_total counter",
            "apiserver_request_total{verb=\"LIST\",resource=\"pods\",code=\"200\"} 1",
            "apiserver_request_total{verb=\"LIST\",resource=\"pods\",code=\"403\"} 1",
            "# TYPE apiserver_request_duration_seconds histogram",
            "apiserver_request_duration_seconds_bucket{le=\"0.025\",verb=\"LIST\",resource=\"pods\"} 1",
            "apiserver_request_duration_seconds_count{verb=\"LIST\",resource=\"pods\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_resident_memory_bytes ") && !text.contains("# EOF"));
    }

    #[test]
    fn made_up_resources_get_no_series() {
        let metrics = Metrics::default();
        for n in 0..50 {
            metrics.observe("get", &format!("r{n}"), 404, Duration::ZERO);
        }
        assert!(!metrics.render(&stats()).contains("resource=\"r"));
    }

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 5 0 0 0 150 50 0 0 20";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }
}
