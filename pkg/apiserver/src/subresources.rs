// SPDX-License-Identifier: Apache-2.0
//! x
use crate::request::RequestContext;
use crate::{App, Response};
/// x
pub async fn handle(
    _app: &std::sync::Arc<App>,
    _context: &RequestContext,
    _request: http::Request<axum::body::Body>,
) -> Option<Result<Response, knarr_types::Status>> {
    None
}
