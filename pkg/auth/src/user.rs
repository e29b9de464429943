// SPDX-License-Identifier: Apache-2.0
//! Somebody whose identity is known.

use std::collections::BTreeMap;

use knarr_types::tree::{Value, json};

/// Everybody who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// They may do everything.
pub const MASTERS: &str = "system:masters";
/// Nodes.
pub const NODES: &str = "system:nodes";

/// A user as authentication sees them.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name.
    pub name: String,
    /// An id that outlives the name; often empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of these groups, and of `system:authenticated`.
    #[must_use]
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().copied().chain([AUTHENTICATED]).map(str::to_owned).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// A service account.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        let groups = groups.into_iter().chain([AUTHENTICATED.to_owned()]).collect();
        Self { name: format!("system:serviceaccount:{namespace}:{name}"), groups, ..Self::default() }
    }

    /// `UserInfo` of `authentication.k8s.io/v1`: what is empty is left out, but for the name.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = self.uid.clone().into();
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }

    /// Whether they are of that group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The name of the node that they are, if they are one.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.node().filter(|name| !name.is_empty())
    }

    /// What comes after `system:node:`, for members of the nodes' group.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.name.strip_prefix("system:node:").filter(|_| self.is_in(NODES))
    }
}
