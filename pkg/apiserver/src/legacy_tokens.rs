// SPDX-License-Identifier: Apache-2.0
//! Secrets say on which day their token was last used, so that people find those that nobody needs.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#legacy-serviceaccount-token-tracking-controller>

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use knarr_auth::{LAST_USED, Objects as _};
use knarr_types::tree::{Value, json};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::app::App;
use crate::loopback::send;

/// How many secrets may wait for their label; the next use of another is as good.
const WAITING: usize = 64;

/// The secrets that wait for their label: namespace and name.
#[derive(Debug, Default)]
pub struct Used {
    waiting: Mutex<BTreeSet<(String, String)>>,
    news: Notify,
}

impl Used {
    /// A secret's token was used.
    pub fn add(&self, secret: (String, String)) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < WAITING && waiting.insert(secret) {
            self.news.notify_one();
        }
    }

    async fn next(&self) -> (String, String) {
        loop {
            let news = self.news.notified();
            if let Some(secret) = self.waiting.lock().pop_first() {
                return secret;
            }
            news.await;
        }
    }
}

/// Says since when uses are written down.
#[must_use]
pub fn tracking(now: Timestamp) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": day(now)},
    })
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// Labels the secrets whose tokens are used, until it is dropped.
pub async fn run(app: Arc<App>) {
    loop {
        let (namespace, name) = app.used_tokens.next().await;
        let today = day(Timestamp::now());
        let Some(mut secret) = app.core("secrets", &namespace, &name) else { continue };
        // Requests that came together ask for it together.
        if secret["metadata"]["labels"][LAST_USED] == today.as_str() {
            continue;
        }
        secret["metadata"]["labels"][LAST_USED] = today.into();
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        let (code, why) = send(&app, Method::PUT, &path, &secret).await;
        if code >= 400 && code != 404 && code != 409 {
            tracing::warn!(namespace, name, code, why, "the use of a token was not written down");
        }
    }
}
