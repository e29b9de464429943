// SPDX-License-Identifier: Apache-2.0
//! Logs to standard error, and traces over OTLP where an endpoint is named.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Sends what is left of the traces when it is dropped.
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // There is nobody left to tell.
            let _ = provider.shutdown();
        }
    }
}

/// Starts logging as `$KNARR_LOG` says (`info` when unset; `debug`, `knarr_store=trace`, ...), and
/// tracing to the OTLP endpoint (`http://HOST:4318/v1/traces`) if there is one.
pub fn start(otlp_endpoint: Option<&str>) -> anyhow::Result<Guard> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("KNARR_LOG")
        .from_env_lossy()
        // SlateDB tells of every table it writes.
        .add_directive("slatedb=warn".parse()?)
        .add_directive("object_store=warn".parse()?)
        // It tells of every call that fails, without a word about which; the callers tell theirs.
        .add_directive("kube_client=off".parse()?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_filter(filter);
    let provider = otlp_endpoint.map(exporter).transpose()?;
    let spans = Targets::new().with_target(knarr_apiserver::traces::TARGET, LevelFilter::DEBUG);
    let layer =
        |p: &SdkTracerProvider| tracing_opentelemetry::layer().with_tracer(p.tracer("knarr")).with_filter(spans);
    tracing_subscriber::registry().with(lines).with(provider.as_ref().map(layer)).init();
    Ok(Guard(provider))
}

fn exporter(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build()?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("knarr").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
