// SPDX-License-Identifier: Apache-2.0
//! Requests that the server sends to itself: through the API like everybody's.

use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Collected};
use knarr_auth::UserInfo;
use knarr_types::tree::Value;

use crate::app::App;
use crate::pipeline;

/// Who writes, as managed fields call it.
const MANAGER: &str = "kube-apiserver";

/// Sends a request, without a body where the object is null, as a server-side apply where it is a patch; gives the code and, for a failure, its message.
pub async fn send(app: &Arc<App>, method: Method, path: &str, object: &Value) -> (u16, String) {
    let mut request = Request::new(if object.is_null() { Body::empty() } else { Body::from(object.to_string()) });
    *request.method_mut() = method;
    let Ok(uri) = path.parse() else { return (400, format!("{path} is no path")) };
    *request.uri_mut() = uri;
    let media = if *request.method() == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(MANAGER));
    request.extensions_mut().insert(UserInfo::new("system:apiserver", &["system:masters"]));
    let response = pipeline::handle(Arc::clone(app), request).await;
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    (code, status["message"].as_str().unwrap_or_default().to_owned())
}
