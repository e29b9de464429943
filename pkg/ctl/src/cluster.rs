// SPDX-License-Identifier: Apache-2.0
//! `cluster-info`, `version`, `kubeconfig`.

use crate::error::CtlError;
use crate::output::print;
use crate::session::Session;

/// This program's version.
pub(crate) fn client_version() -> Result<u8, CtlError> {
    print(&format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}

/// This program's and the server's.
pub(crate) async fn version(session: &Session) -> Result<u8, CtlError> {
    client_version()?;
    let server = session.client.apiserver_version().await?;
    print(&format!("Server Version: {}\n", server.git_version))?;
    Ok(0)
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
