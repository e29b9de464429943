// SPDX-License-Identifier: Apache-2.0
//! What the server counts, under the names that kube-apiserver has for it, as Prometheus reads it.
//!
//! A request finds its series by a hash of its labels and adds to it: nothing is allocated and nobody waits
//! but for the first request of its kind.

mod families;
mod parts;
mod process;
mod series;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use foldhash::quality::RandomState;
use parking_lot::RwLock;

use crate::app::App;
use crate::query::Query;
use crate::request::RequestInfo;
pub use parts::Parts;
pub use series::{Open, Series};
use text::Text;

/// Writes what another part of the process counts.
pub type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// What a request's series is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    /// In upstream's words: `LIST`, `POST`, `APPLY`, `CONNECT`.
    pub verb: &'static str,
    /// Nothing is kept.
    pub dry_run: bool,
    /// The group; empty for the core.
    pub group: &'a str,
    /// The version.
    pub version: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// The first part below the object.
    pub subresource: &'a str,
    /// `resource`, `namespace`, `cluster`, or empty.
    pub scope: &'static str,
}

impl<'a> Asked<'a> {
    /// What a request asks for; `applies` is whether its body is a configuration to apply.
    #[must_use]
    pub fn of(info: &'a RequestInfo, query: &Query, applies: bool) -> Self {
        let scope = match () {
            () if !info.is_resource => "",
            () if !info.name.is_empty() || info.verb == "create" => "resource",
            () if !info.namespace.is_empty() => "namespace",
            () => "cluster",
        };
        let below = info.below();
        let connects = matches!(below, "exec" | "attach" | "portforward" | "proxy");
        let verb = match upstream_verb(info.verb) {
            _ if connects => "CONNECT",
            "PATCH" if applies => "APPLY",
            verb => verb,
        };
        let (group, version) = (info.group.as_str(), info.version.as_str());
        let dry_run = query.get("dryRun").is_some();
        Self { verb, dry_run, group, version, resource: &info.resource, subresource: below, scope }
    }

    /// Whether it may go on for as long as the client likes.
    #[must_use]
    pub fn is_long(&self) -> bool {
        matches!(self.verb, "WATCH" | "CONNECT")
    }

    fn is_mutating(&self) -> bool {
        !matches!(self.verb, "GET" | "HEAD" | "LIST" | "WATCH" | "OTHER")
    }
}

fn upstream_verb(verb: &str) -> &'static str {
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

/// What is counted.
pub struct Metrics {
    hasher: RandomState,
    series: RwLock<HashMap<u64, Arc<Series>, RandomState>>,
    /// Requests that are worked on: those that read, and those that write.
    inflight: [AtomicI64; 2],
    sources: RwLock<Vec<Source>>,
    started: SystemTime,
    /// What is counted beside requests.
    pub parts: Parts,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            series: RwLock::default(),
            inflight: Default::default(),
            sources: RwLock::default(),
            started: SystemTime::now(),
            parts: Parts::default(),
        }
    }
}

/// A request that is worked on, while it is.
pub struct Begun<'a> {
    metrics: &'a Metrics,
    is_long: bool,
    /// Its answer counts by its length.
    reads: bool,
    inflight: Option<&'a AtomicI64>,
    series: Option<Arc<Series>>,
    /// What it asks for, where that has no series yet.
    unknown: Option<(RequestInfo, Query, bool)>,
}

impl Begun<'_> {
    /// Whether it may go on for as long as the client likes.
    #[must_use]
    pub const fn is_long(&self) -> bool {
        self.is_long
    }

    /// It was answered. `code` is the HTTP status, `elapsed` the time until the response began, `bytes` the length
    /// of its body where that is known.
    pub fn end(self, code: u16, elapsed: Duration, bytes: Option<u64>) {
        let elapsed = (!self.is_long).then_some(elapsed);
        let bytes = bytes.filter(|_| self.reads);
        match (&self.series, &self.unknown) {
            (Some(series), _) => series.observe(code, elapsed),
            (None, Some((info, query, applies))) => {
                self.metrics.observe(&Asked::of(info, query, *applies), code, elapsed);
            }
            (None, None) => {}
        }
        if let Some((series, bytes)) = self.series.as_ref().zip(bytes) {
            series.observe_size(bytes);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.inflight {
            gauge.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Metrics {
    /// A request is worked on until what this gives ends; `applies` is whether its body is a configuration to
    /// apply.
    pub fn begin(&self, info: &RequestInfo, query: &Query, applies: bool) -> Begun<'_> {
        let asked = Asked::of(info, query, applies);
        let inflight = (!asked.is_long()).then(|| &self.inflight[usize::from(asked.is_mutating())]);
        if let Some(gauge) = inflight {
            gauge.fetch_add(1, Ordering::Relaxed);
        }
        let series = self.known(&asked);
        let unknown = series.is_none().then(|| (info.clone(), query.clone(), applies));
        let reads = matches!(asked.verb, "GET" | "LIST");
        Begun { metrics: self, is_long: asked.is_long(), reads, inflight, series, unknown }
    }

    /// Counts a request that may be the first of its kind.
    fn observe(&self, asked: &Asked<'_>, code: u16, elapsed: Option<Duration>) {
        let series = match self.known(asked) {
            Some(series) => series,
            // Clients choose the paths: only a resource that was found once has a series of its own.
            None if code >= 400 => {
                let nowhere = Asked { group: "", version: "", resource: "", subresource: "", ..*asked };
                self.series(&nowhere)
            }
            None => self.series(asked),
        };
        series.observe(code, elapsed);
    }

    fn known(&self, asked: &Asked<'_>) -> Option<Arc<Series>> {
        self.series.read().get(&self.hasher.hash_one(asked)).cloned()
    }

    /// The series of such requests.
    pub fn series(&self, asked: &Asked<'_>) -> Arc<Series> {
        if let Some(series) = self.known(asked) {
            return series;
        }
        let mut all = self.series.write();
        Arc::clone(all.entry(self.hasher.hash_one(asked)).or_insert_with(|| Arc::new(Series::new(asked))))
    }

    /// Adds what another part of the process counts.
    pub fn add_source(&self, source: Source) {
        self.sources.write().push(source);
    }

    /// Everything, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self, app: &App) -> String {
        let mut text = Text::default();
        build(&mut text);
        self.requests(&mut text);
        self.parts.write(&mut text);
        objects(&mut text, app);
        let store = app.store.stats();
        let gauges = [
            ("knarr_store_revision", "Visible revision of durable objects.", store.revision.0),
            ("knarr_store_volatile_revision", "Visible revision of volatile objects.", store.volatile_revision.0),
            ("knarr_store_view_bytes", "Memory of the present state.", store.view_bytes as u64),
            ("knarr_store_ring_bytes", "Memory of commits kept for watches.", store.ring_bytes as u64),
            ("knarr_store_queued_proposals", "Writes that wait for their turn.", store.queued as u64),
        ];
        for (name, help, value) in gauges {
            text.family(name, "gauge", help);
            text.sample(name, "", value);
        }
        process::write(&mut text, self.started);
        let mut all = text.into_string();
        self.sources.read().iter().for_each(|source| source(&mut all));
        all
    }

    fn requests(&self, text: &mut Text) {
        let mut all: Vec<Arc<Series>> = self.series.read().values().cloned().collect();
        all.sort_by(|a, b| a.labels().cmp(b.labels()));
        text.family("apiserver_request_total", "counter", "Requests by what they asked for, and HTTP code.");
        all.iter().for_each(|series| series.write_codes(text));
        let help = "Seconds until the response began, by what was asked for.";
        text.family("apiserver_request_duration_seconds", "histogram", help);
        all.iter().for_each(|series| series.write_durations(text));
        let help = "Bytes of answers to reads, where their length is known when they begin.";
        text.family("apiserver_response_sizes", "histogram", help);
        all.iter().for_each(|series| series.write_sizes(text));
        text.family("apiserver_current_inflight_requests", "gauge", "Requests that are worked on.");
        for (gauge, kind) in self.inflight.iter().zip(["readOnly", "mutating"]) {
            let labels = format!("request_kind=\"{kind}\"");
            text.sample("apiserver_current_inflight_requests", &labels, gauge.load(Ordering::Relaxed));
        }
        text.family("apiserver_longrunning_requests", "gauge", "Watches and connections that are open.");
        all.iter().for_each(|series| series.write_open(text));
        text.family("apiserver_watch_events_total", "counter", "Events sent to watchers.");
        let mut events = BTreeMap::<&str, u64>::new();
        for (what, count) in all.iter().map(|series| series.events()).filter(|(_, count)| *count > 0) {
            *events.entry(what).or_default() += count;
        }
        for (what, count) in events {
            text.sample("apiserver_watch_events_total", what, count);
        }
    }
}

/// Which version this is.
fn build(text: &mut Text) {
    const LABELS: [(&str, &str); 9] = [
        ("build_date", "buildDate"),
        ("compiler", "compiler"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("git_version", "gitVersion"),
        ("go_version", "goVersion"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    let version = crate::documents::version();
    let label = |(label, field): (&str, &str)| format!("{label}={}", version[field]);
    text.family("kubernetes_build_info", "gauge", "The version that this server is.");
    text.sample("kubernetes_build_info", &LABELS.map(label).join(","), 1);
}

/// How many objects there are of each kind.
fn objects(text: &mut Text, app: &App) {
    let registry = app.registry.load();
    let kinds: std::collections::BTreeSet<_> =
        registry.iter().filter(|kind| kind.stored()).map(|kind| kind.storage.clone()).collect();
    let counts: Vec<_> = kinds.into_iter().map(|id| (app.store.snapshot(&id).len(), id)).collect();
    text.family("apiserver_resource_objects", "gauge", "Stored objects by group and resource.");
    for (count, id) in &counts {
        let labels = format!("group=\"{}\",resource=\"{}\"", id.group, id.resource);
        text.sample("apiserver_resource_objects", &labels, count);
    }
    text.family("apiserver_storage_objects", "gauge", "Stored objects by resource.");
    for (count, id) in &counts {
        let dot = if id.group.is_empty() { "" } else { "." };
        let labels = format!("resource=\"{}{dot}{}\"", id.resource, id.group);
        text.sample("apiserver_storage_objects", &labels, count);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn asked<'a>(verb: &'static str, resource: &'a str) -> Asked<'a> {
        Asked { verb, dry_run: false, group: "", version: "v1", resource, subresource: "", scope: "namespace" }
    }

    fn rendered(metrics: &Metrics) -> String {
        let mut text = Text::default();
        metrics.requests(&mut text);
        text.into_string()
    }

    #[test]
    fn requests_are_told_under_upstreams_names() {
        let metrics = Metrics::default();
        metrics.observe(&asked("LIST", "pods"), 200, Some(Duration::from_millis(30)));
        metrics.observe(&asked("LIST", "pods"), 403, Some(Duration::from_millis(1)));
        let watch = metrics.series(&asked("WATCH", "pods")).open();
        watch.sent(3);
        let info = RequestInfo::parse(&Method::POST, "/api/v1/namespaces/n/pods", &Query::default());
        let writing = metrics.begin(&info, &Query::default(), false);
        let read = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/n/pods", &Query::default());
        metrics.begin(&read, &Query::default(), false).end(200, Duration::from_millis(30), Some(5_000));
        let text = rendered(&metrics);
        let sized =
            "group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"namespace\",component=\"apiserver\"";
        let labels = "dry_run=\"\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"namespace\",\
                      component=\"apiserver\"";
        for line in [
            "# TYPE apiserver_request_total counter".to_owned(),
            format!("apiserver_request_total{{verb=\"LIST\",{labels},code=\"200\"}} 2"),
            format!("apiserver_response_sizes_bucket{{verb=\"LIST\",{sized},le=\"10000\"}} 1"),
            format!("apiserver_response_sizes_sum{{verb=\"LIST\",{sized}}} 5000"),
            format!("apiserver_request_total{{verb=\"LIST\",{labels},code=\"403\"}} 1"),
            "# TYPE apiserver_request_duration_seconds histogram".to_owned(),
            format!("apiserver_request_duration_seconds_bucket{{verb=\"LIST\",{labels},le=\"0.025\"}} 1"),
            format!("apiserver_request_duration_seconds_count{{verb=\"LIST\",{labels}}} 3"),
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1".to_owned(),
            "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"pods\"} 3".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("apiserver_longrunning_requests{verb=\"WATCH\"") && text.contains("} 1\n"));
        drop((watch, writing));
        let text = rendered(&metrics);
        assert!(text.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 0"));
        assert!(!text.contains("apiserver_longrunning_requests{"));
    }

    #[test]
    fn made_up_resources_get_no_series() {
        let metrics = Metrics::default();
        for n in 0..50 {
            metrics.observe(&asked("GET", &format!("r{n}")), 404, None);
        }
        assert!(!rendered(&metrics).contains("resource=\"r"));
    }

    #[test]
    fn verbs_and_scopes_are_upstreams() {
        for (method, uri, applies, want) in [
            (Method::GET, "/api/v1/namespaces/n/pods", false, ("LIST", "namespace")),
            (Method::GET, "/api/v1/pods?watch=1", false, ("WATCH", "cluster")),
            (Method::POST, "/api/v1/namespaces/n/pods", false, ("POST", "resource")),
            (Method::PATCH, "/api/v1/namespaces/n/pods/p", true, ("APPLY", "resource")),
            (Method::GET, "/api/v1/namespaces/n/pods/p/exec", false, ("CONNECT", "resource")),
            (Method::GET, "/healthz", false, ("GET", "")),
        ] {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let query = Query::parse(query);
            let info = RequestInfo::parse(&method, path, &query);
            let asked = Asked::of(&info, &query, applies);
            assert_eq!((asked.verb, asked.scope), want, "{method} {uri}");
        }
    }
}
