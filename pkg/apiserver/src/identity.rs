// SPDX-License-Identifier: Apache-2.0
//! Who asks, and whether they may: what a request shows becomes a user, and the authorizer's refusal an
//! answer.

use axum::body::Body;
use http::Request;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use knarr_auth::{Attributes, Decision, UserInfo};
use knarr_types::{ResourceId, Status};

use crate::app::{App, PeerCertificate};
use crate::request::RequestInfo;

/// Who asks: somebody in this process, a certificate, a token, or nobody.
///
/// # Errors
/// 401 where a token proves nothing.
pub fn authenticate(app: &App, request: &Request<Body>, info: &RequestInfo) -> Result<UserInfo, Status> {
    if let Some(user) = request.extensions().get::<UserInfo>() {
        return Ok(user.clone());
    }
    // A node that joins shows a secret that is no user's.
    if info.path == "/knarr/v1/join" {
        return Ok(UserInfo::anonymous());
    }
    if let Some(user) = request.extensions().get::<PeerCertificate>().and_then(|peer| peer.user(&app.authenticator)) {
        app.metrics.parts.user(&user.name);
        return Ok(user.clone());
    }
    if let Some(token) = bearer(request) {
        let audiences: Vec<_> = app.settings.audiences.iter().map(String::as_str).collect();
        let known = app.authenticator.token(token, &audiences, app, Timestamp::now());
        return known.map(|known| used(app, known)).map_err(|why| {
            app.metrics.parts.refused_user();
            tracing::debug!(%why, "a bearer token was refused");
            Status::unauthorized()
        });
    }
    Ok(UserInfo::anonymous())
}

/// Remembers that a secret's token was used.
fn used(app: &App, known: knarr_auth::Known) -> UserInfo {
    app.metrics.parts.user(&known.user.name);
    if let Some(secret) = known.used {
        app.used_tokens.add(secret);
    }
    known.user
}

/// The token that a request shows; the scheme's case does not matter.
fn bearer(request: &Request<Body>) -> Option<&str> {
    let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Whether `user` may.
///
/// # Errors
/// 403 with upstream's words.
pub fn authorize(app: &App, user: &UserInfo, wanted: &Attributes<'_>) -> Result<(), Status> {
    if app.authorizer.decide(user, wanted) == Decision::Allow {
        return Ok(());
    }
    Err(forbidden(wanted, &app.authorizer.refusal(user, wanted)))
}

/// The answer to somebody who may not.
#[must_use]
pub fn forbidden(wanted: &Attributes<'_>, message: &str) -> Status {
    Status::forbidden(&ResourceId::new(wanted.group, wanted.resource), wanted.name, message)
}
