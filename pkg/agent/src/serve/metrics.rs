// SPDX-License-Identifier: Apache-2.0
//! What the node and its pods use, in the text format of Prometheus; metrics-server reads it.
//! <https://kubernetes.io/docs/reference/instrumentation/node-metrics/>

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use knarr_runtime::{ContainerStats, PodStats};

use crate::context::{Context, PodView};
use crate::machine::Figures;
use crate::pod::{Moment, Run};

/// Usage of a core or of memory, and whose.
struct Sample {
    labels: String,
    cpu_ns: u64,
    memory_bytes: u64,
    started: Option<Moment>,
}

/// `GET /metrics/resource`
pub async fn resource(State(context): State<Arc<Context>>) -> Response {
    let views: Vec<_> = context.pods.read().values().cloned().collect();
    let (mut containers, mut pods) = (Vec::new(), Vec::new());
    for view in views {
        let Ok(stats) = context.runtime.stats(&view.uid).await else { continue };
        pods.push(sample(&of_pod(&view, None), &stats.total, None));
        containers.extend(of_containers(&view, &stats));
    }
    let figures = Figures::read(&context.layout.root);
    let node = Sample {
        labels: String::new(),
        cpu_ns: super::stats::cpu_nanoseconds(),
        memory_bytes: figures.memory_bytes.saturating_sub(figures.memory_available_bytes),
        started: None,
    };
    let text = text(&[("container", &containers), ("node", &[node]), ("pod", &pods)], Moment::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn of_containers(view: &PodView, stats: &PodStats) -> Vec<Sample> {
    let memory = view.memory.lock();
    let one = |(id, stats): &(knarr_runtime::ContainerId, ContainerStats)| {
        let started = memory.containers.get(&id.name).and_then(|container| match &container.run {
            Run::Running(_, since) => Some(*since),
            _ => None,
        });
        sample(&of_pod(view, Some(&id.name)), stats, started)
    };
    stats.containers.iter().map(one).collect()
}

fn of_pod(view: &PodView, container: Option<&str>) -> String {
    let pod = view.pod();
    let container = container.map_or_else(String::new, |name| format!("container=\"{name}\","));
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    format!("{{{container}namespace=\"{}\",pod=\"{}\"}}", namespace.unwrap_or_default(), name.unwrap_or_default())
}

fn sample(labels: &str, stats: &ContainerStats, started: Option<Moment>) -> Sample {
    Sample { labels: labels.to_owned(), cpu_ns: stats.cpu_ns, memory_bytes: stats.working_set_bytes, started }
}

/// All samples, by what they are of.
fn text(groups: &[(&str, &[Sample])], now: Moment) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, kind: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
            lines.iter().for_each(|line| text.push_str(line));
        }
    };
    for (of, samples) in groups {
        let name = format!("{of}_cpu_usage_seconds_total");
        let line = |sample: &Sample| {
            let seconds = std::time::Duration::from_nanos(sample.cpu_ns).as_secs_f64();
            format!("{name}{} {seconds} {}\n", sample.labels, now.0)
        };
        let help = format!("Cumulative cpu time consumed by the {of} in core-seconds");
        family(&name, &help, "counter", samples.iter().map(line).collect());
        let name = format!("{of}_memory_working_set_bytes");
        let line = |sample: &Sample| format!("{name}{} {} {}\n", sample.labels, sample.memory_bytes, now.0);
        let help = format!("Current working set of the {of} in bytes");
        family(&name, &help, "gauge", samples.iter().map(line).collect());
        let name = format!("{of}_start_time_seconds");
        let line = |sample: &Sample| Some(format!("{name}{} {}\n", sample.labels, sample.started?.0.div_euclid(1000)));
        let help = format!("Start time of the {of} since unix epoch in seconds");
        family(&name, &help, "gauge", samples.iter().filter_map(line).collect());
    }
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    family("resource_scrape_error", help, "gauge", vec!["resource_scrape_error 0\n".to_owned()]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_metrics_server_reads_them() {
        let stats = ContainerStats { cpu_ns: 1_500_000_000, working_set_bytes: 4096, ..ContainerStats::default() };
        let container = sample("{container=\"c\",namespace=\"n\",pod=\"p\"}", &stats, Some(Moment(5_000)));
        let text = text(&[("container", &[container]), ("pod", &[])], Moment(7_000));
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"n\",pod=\"p\"} 1.5 7000",
            "container_memory_working_set_bytes{container=\"c\",namespace=\"n\",pod=\"p\"} 4096 7000",
            "container_start_time_seconds{container=\"c\",namespace=\"n\",pod=\"p\"} 5",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("pod_cpu"), "no family without samples");
    }
}
