// SPDX-License-Identifier: Apache-2.0
//! What the server asks of the node through the tunnel: logs, exec, attach, port-forward, figures, the node's own view.
//!
//! Paths are those of upstream's kubelet. Exec and attach carry frames both ways, see [`knarr_types::stream`].

mod exec;
mod host_logs;
mod log_stream;
mod metrics;
mod own;
mod port_forward;
mod stats;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use knarr_runtime::ContainerId;

use crate::context::{Context, PodView};
use crate::pod::{Run, any_container};

/// The node's routes.
pub fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/stats/summary", get(stats::summary))
        .route("/metrics/resource", get(metrics::resource))
        .route("/pods", get(own::pods))
        .route("/configz", get(own::configuration))
        .route("/logs/", get(host_logs::root))
        .route("/logs/{*path}", get(host_logs::below))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(log_stream::logs))
        .route("/exec/{namespace}/{pod}/{container}", post(exec::exec))
        .route("/attach/{namespace}/{pod}/{container}", post(exec::attach))
        .route("/portForward/{namespace}/{pod}", post(port_forward::port_forward))
        .with_state(context)
}

/// A refusal: status and the words for the user.
#[derive(Debug)]
pub struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }

    fn internal(error: impl ToString) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

type Answer = Result<Response, Refusal>;
type Request<T> = (State<Arc<Context>>, Path<T>, RawQuery);

/// Query parameters in their order; a name may come several times.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(raw: Option<&str>) -> Self {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self(raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }

    /// `true`, `1`, or the bare name.
    fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | ""))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let bad = |text: &str| Refusal::bad(format!("{name}: {text:?} is not a number that fits"));
        self.get(name).filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| bad(text))).transpose()
    }
}

fn percent_decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(context: &Context, namespace: &str, pod: &str) -> Result<Arc<PodView>, Refusal> {
    context.find(namespace, pod).ok_or_else(|| Refusal::not_found(format!("pod \"{pod}\" is not on this node")))
}

/// The running run of a container.
fn running(view: &PodView, container: &str) -> Result<ContainerId, Refusal> {
    let pod = view.pod();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if any_container(&pod, container).is_none() {
        return Err(Refusal::bad(format!("container {container} is not valid for pod {name}")));
    }
    let is_running =
        view.memory.lock().containers.get(container).is_some_and(|container| matches!(container.run, Run::Running(..)));
    match view.latest(container) {
        Some(id) if is_running => Ok(id),
        _ => Err(Refusal::internal(format!("container not found (\"{container}\")"))),
    }
}

/// A body that is sent as its pieces come.
fn streaming(pieces: tokio::sync::mpsc::Receiver<bytes::Bytes>) -> Body {
    let stream = futures::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), pieces))
    });
    Body::from_stream(stream)
}

fn octets(body: Body) -> Response {
    ([(http::header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_repeat_and_are_decoded() {
        let query = Query::parse(Some("command=sh&command=-c&command=echo%20a%2Bb+c&stdin=true&tty=0&n=5&tail"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a+b c"]);
        assert!(query.flag("stdin") && query.flag("tail") && !query.flag("tty") && !query.flag("absent"));
        assert_eq!(query.number::<u64>("n").unwrap(), Some(5));
        assert!(query.number::<u64>("stdin").is_err());
    }
}
