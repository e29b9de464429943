// SPDX-License-Identifier: Apache-2.0
//! The default roles and bindings, made or completed when the server starts.

use std::sync::Arc;

use futures::future::try_join_all;
use http::Method;
use knarr_auth::rbac::{DefaultObject, Reconciled, defaults, reconcile};
use knarr_types::Object;

use crate::app::App;
use crate::loopback::send;
use crate::server::ServerError;

/// Makes what is missing and completes what lacks something. Writes go out together: the store makes
/// them durable together.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub async fn run(app: &Arc<App>) -> Result<(), ServerError> {
    try_join_all(defaults().into_iter().map(|object| settle(app, object))).await.map(drop)
}

async fn settle(app: &Arc<App>, default: DefaultObject) -> Result<(), ServerError> {
    let collection = match default.namespace {
        "" => format!("/apis/rbac.authorization.k8s.io/v1/{}", default.resource),
        namespace => format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{}", default.resource),
    };
    let path = format!("{collection}/{}", default.name);
    let Some(there) = stored(app, &default) else {
        return checked(&path, send(app, Method::POST, &collection, &default.object).await);
    };
    match reconcile(&there, &default.object) {
        Reconciled::Keep => Ok(()),
        Reconciled::Update(wanted) => checked(&path, send(app, Method::PUT, &path, &wanted).await),
        Reconciled::Replace => {
            checked(&path, send(app, Method::DELETE, &path, &Object::Null).await)?;
            checked(&path, send(app, Method::POST, &collection, &default.object).await)
        }
    }
}

fn stored(app: &App, default: &DefaultObject) -> Option<Object> {
    let registry = app.registry.load();
    let kind = registry.by_resource("rbac.authorization.k8s.io", "v1", default.resource)?;
    app.object(kind, default.namespace, default.name)
}

/// A conflict is left to whoever wrote meanwhile.
fn checked(path: &str, (code, why): (u16, String)) -> Result<(), ServerError> {
    match code {
        200..300 | 409 => Ok(()),
        _ => Err(ServerError::Bootstrap { what: path.to_owned(), why }),
    }
}
