// SPDX-License-Identifier: Apache-2.0
//! A span a request, for traces; the names of its fields are OpenTelemetry's.
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>

use http::{Method, StatusCode};
use tracing::field::Empty;
use tracing::{Span, debug_span};

use crate::request::RequestInfo;

/// The target of these spans. They are made only where somebody asks for it.
pub const TARGET: &str = "knarr_traces";

/// The span of a request, from its head to the head of its answer.
pub(crate) fn request(method: &Method, info: &RequestInfo) -> Span {
    debug_span!(
        target: TARGET,
        "request",
        otel.name = format!("{} {}", info.verb, if info.is_resource { &info.resource } else { &info.path }),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %method,
        http.response.status_code = Empty,
        url.path = &*info.path,
        k8s.verb = info.verb,
        k8s.group = &*info.group,
        k8s.resource = &*info.resource,
        k8s.subresource = &*info.subresource,
        k8s.namespace = &*info.namespace,
        k8s.name = &*info.name,
    )
}

/// Says how the request was answered.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
