// SPDX-License-Identifier: Apache-2.0
//! Kubeconfigs: where a cluster is, whom to trust, who one is.
//! <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Identity;

/// A kubeconfig for one cluster and one client certificate. `server` is `https://HOST:PORT`,
/// `authority` a PEM certificate.
#[must_use]
pub fn with_certificate(server: &str, authority: &str, user: &str, identity: &Identity) -> String {
    let data = |pem: &str| STANDARD.encode(pem);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: knarr\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\nusers:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
         client-key-data: {}\ncontexts:\n- name: knarr\n  context:\n    cluster: knarr\n    user: {user}\n\
         current-context: knarr\n",
        data(authority),
        data(&identity.certificate),
        data(&identity.key)
    )
}
