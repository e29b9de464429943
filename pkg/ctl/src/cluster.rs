// SPDX-License-Identifier: Apache-2.0
//! `cluster-info`, `version`, `kubeconfig`.

use serde_json::{Value, json};

use crate::error::CtlError;
use crate::output::print;
use crate::session::Session;
use crate::yaml;

/// This program's version, and that of the session's server.
pub(crate) async fn version(session: Option<&Session>, format: &str) -> Result<u8, CtlError> {
    if !["", "json", "yaml"].contains(&format) {
        return Err(CtlError::usage("--output must be 'yaml' or 'json'"));
    }
    let ours = client_version();
    let mut versions = json!({"clientVersion": ours});
    if let Some(session) = session {
        versions["serverVersion"] = json!(session.client.apiserver_version().await?);
    }
    let text = |which: &str| versions[which]["gitVersion"].as_str().unwrap_or_default().to_owned();
    let text = match (format, session) {
        ("json", _) => json_by_twos(&versions),
        ("yaml", _) => yaml::document(&versions),
        (_, None) => format!("Client Version: {}\n", text("clientVersion")),
        (_, Some(_)) => {
            format!("Client Version: {}\nServer Version: {}\n", text("clientVersion"), text("serverVersion"))
        }
    };
    print(&text)?;
    Ok(0)
}

/// What Go says of itself in kubectl's has no counterpart here.
fn client_version() -> Value {
    let mut numbers = env!("CARGO_PKG_VERSION").split('.');
    json!({
        "major": numbers.next(),
        "minor": numbers.next(),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, knarr_types::architecture()),
    })
}

/// As kubectl prints versions, and nothing else.
fn json_by_twos(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{text}\n")
}

/// Where the cluster answers, and whether it is well.
pub(crate) async fn info(session: &Session) -> Result<u8, CtlError> {
    let request = http::Request::get("/readyz").body(Vec::new()).map_err(|e| CtlError::usage(e.to_string()))?;
    session.client.request_text(request).await?;
    print(&format!("Kubernetes control plane is running at {}\n\n", session.server.trim_end_matches('/')))?;
    print("To further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.\n")?;
    Ok(0)
}

/// The kubeconfig that this session uses, as it is.
pub(crate) fn kubeconfig(session: &Session) -> Result<u8, CtlError> {
    let path = &session.kubeconfig;
    let text = std::fs::read_to_string(path).map_err(|e| CtlError::io(format!("cannot read {}", path.display()), e))?;
    print(&text)?;
    Ok(0)
}
