// SPDX-License-Identifier: Apache-2.0
//! Whether the server lives and can take requests, in the words of kube-apiserver, and its metrics.
//! <https://kubernetes.io/docs/reference/using-api/health-checks/>

use std::fmt::Write as _;

use knarr_store::Health;

use crate::app::App;
use crate::body::{self, Response};
use crate::query::Query;

/// Where checks are asked for.
const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];
const TEXT: &str = "text/plain; charset=utf-8";
/// The media type of Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// Something that can be in order or not.
struct Check {
    name: &'static str,
    /// What is wrong, if anything is.
    fault: Option<String>,
}

/// Answers `/livez`, `/readyz`, `/healthz`, each with `/<check>` below it, `/metrics` and `/metrics/slis`; `None` for
/// other paths.
#[must_use]
pub fn serve(app: &App, path: &str, query: &Query) -> Option<Response> {
    match path {
        "/metrics" => return Some(body::bytes(200, METRICS, app.metrics.render(app))),
        "/metrics/slis" => return Some(body::bytes(200, METRICS, indicators(app))),
        _ => {}
    }
    let path = path.strip_prefix('/').filter(|path| !path.ends_with('/'))?;
    let (endpoint, below) = path.split_once('/').unwrap_or((path, ""));
    let checks = checks(app, endpoint)?;
    if below.is_empty() {
        let excluded: Vec<_> = query.all("exclude").collect();
        return Some(answer(endpoint, &checks, query.get("verbose").is_some(), &excluded));
    }
    checks.iter().find(|c| c.name == below).map(one)
}

/// All that is checked at an endpoint.
fn checks(app: &App, endpoint: &str) -> Option<Vec<Check>> {
    let mut checks = match endpoint {
        "livez" | "healthz" | "readyz" => vec![ok("ping"), ok("log"), store(app, "etcd")],
        _ => return None,
    };
    if endpoint == "readyz" {
        checks.extend([store(app, "etcd-readiness"), ok("informer-sync")]);
    }
    checks.extend(STARTED.map(ok));
    if endpoint == "readyz" {
        checks.push(shutdown(app));
    }
    Some(checks)
}

/// What `/metrics/slis` says: whether each check is in order now.
fn indicators(app: &App) -> String {
    const NAME: &str = "kubernetes_healthcheck";
    let help = "[STABLE] This metric records the result of a single healthcheck.";
    let mut text = format!("# HELP {NAME} {help}\n# TYPE {NAME} gauge\n");
    for endpoint in ENDPOINTS {
        for Check { name, fault } in checks(app, endpoint).into_iter().flatten() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{NAME}{{name=\"{name}\",type=\"{endpoint}\"}} {}", u8::from(fault.is_none()));
        }
    }
    text
}

/// The paths that [`serve`] answers.
pub fn paths() -> impl Iterator<Item = String> {
    let below = |endpoint: &'static str| {
        let own: &[&str] = if endpoint == "readyz" { &["etcd-readiness", "informer-sync", "shutdown"] } else { &[] };
        let names = ["ping", "log", "etcd"].iter().chain(own).chain(&STARTED);
        let paths = names.map(move |name| format!("/{endpoint}/{name}"));
        std::iter::once(format!("/{endpoint}")).chain(paths).collect::<Vec<_>>()
    };
    ["/metrics", "/metrics/slis"].map(str::to_owned).into_iter().chain(ENDPOINTS.into_iter().flat_map(below))
}

/// What is done before the first request is answered, by the names that upstream's checks of it have.
const STARTED: [&str; 4] = [
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
];

/// What is in order where the server answers at all.
const fn ok(name: &'static str) -> Check {
    Check { name, fault: None }
}

/// Writes become durable: it has the names of upstream's checks of etcd, which clients ask for.
fn store(app: &App, name: &'static str) -> Check {
    let fault = match app.store.health() {
        Health::Ready => None,
        Health::NotReady(why) => Some(why.to_string()),
    };
    Check { name, fault }
}

/// The server is not about to end.
fn shutdown(app: &App) -> Check {
    let ending = app.stopping.is_cancelled();
    Check { name: "shutdown", fault: ending.then(|| "process is shutting down".into()) }
}

fn one(check: &Check) -> Response {
    match &check.fault {
        None => body::bytes(200, TEXT, "ok"),
        Some(fault) => text(500, format!("internal server error: {fault}\n")),
    }
}

fn answer(endpoint: &str, checks: &[Check], verbose: bool, excluded: &[&str]) -> Response {
    let (mut lines, mut failed) = (String::new(), false);
    // Writing to a string cannot fail.
    for Check { name, fault } in checks {
        let _ = match fault {
            _ if excluded.contains(name) => writeln!(lines, "[+]{name} excluded: ok"),
            None => writeln!(lines, "[+]{name} ok"),
            Some(fault) => {
                failed = true;
                tracing::warn!(check = name, fault, "{endpoint} failed");
                writeln!(lines, "[-]{name} failed: reason withheld")
            }
        };
    }
    let unknown: Vec<_> = excluded.iter().filter(|e| !checks.iter().any(|c| c.name == **e)).collect();
    if !unknown.is_empty() {
        let names: Vec<_> = unknown.iter().map(|n| format!("\"{n}\"")).collect();
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {}", names.join(","));
    }
    match (failed, verbose) {
        (true, _) => text(500, format!("{lines}{endpoint} check failed\n")),
        (false, true) => text(200, format!("{lines}{endpoint} check passed\n")),
        (false, false) => text(200, "ok".into()),
    }
}

fn text(code: u16, content: String) -> Response {
    body::unsniffed(body::bytes(code, TEXT, content))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn told(faulty: bool, verbose: bool, excluded: &[&str]) -> (u16, String) {
        let fault = faulty.then(|| "disk is gone".to_owned());
        let response = answer("readyz", &[ok("ping"), Check { name: "store", fault }], verbose, excluded);
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn answers_read_as_upstreams() {
        for (faulty, verbose, excluded, code, want) in [
            (false, false, &[][..], 200, "ok"),
            (false, true, &[], 200, "[+]ping ok\n[+]store ok\nreadyz check passed\n"),
            (true, false, &[], 500, "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n"),
            (true, true, &["store"], 200, "[+]ping ok\n[+]store excluded: ok\nreadyz check passed\n"),
            (
                false,
                true,
                &["x"],
                200,
                "[+]ping ok\n[+]store ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nreadyz check passed\n",
            ),
        ] {
            assert_eq!(told(faulty, verbose, excluded).await, (code, want.to_owned()));
        }
    }
}
