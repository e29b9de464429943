// SPDX-License-Identifier: Apache-2.0
//! Admission of what is no write of an object: connections to pods, services and nodes, and the actions
//! below objects, whose bodies are kinds of their own.
//!
//! The plugins of this process look at objects; policies and webhooks are asked about these too.

use std::sync::Arc;

use knarr_admission::{Operation, Request};
use knarr_schema::Kind;
use knarr_types::tree::{Value, json};
use knarr_types::{Object, Status};

use crate::app::App;
use crate::query::Query;
use crate::request::RequestContext;
use crate::write::WriteOptions;
use crate::write::admit::{ask_to_allow, ask_to_change};

/// An action, before it is done.
pub struct Action<'a> {
    /// The server.
    pub app: &'a App,
    /// The request.
    pub context: &'a RequestContext,
    /// What is done.
    pub operation: Operation,
    /// What its body is: `Eviction`, `PodExecOptions`.
    pub body: &'a Kind,
}

impl Action<'_> {
    /// Lets policies and webhooks change or refuse the action; gives what the client should know.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn admit(&self, object: &mut Object) -> Result<Vec<String>, Status> {
        let mut warnings = self.change(object).await?;
        warnings.extend(self.allow(object).await?);
        Ok(warnings)
    }

    /// The first half of [`Action::admit`]: lets them change it.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn change(&self, object: &mut Object) -> Result<Vec<String>, Status> {
        let (kind, options, name) = (self.kind()?, self.options()?, self.name_of(object));
        let request = self.request(&kind, &options, &name);
        let mut warnings = Vec::new();
        ask_to_change(self.app, &request, &options, object, &mut warnings, |_| Ok(())).await?;
        Ok(warnings)
    }

    /// The second half, for what was found to be valid: asks whether it may be.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn allow(&self, object: &Object) -> Result<Vec<String>, Status> {
        let (kind, options, name) = (self.kind()?, self.options()?, self.name_of(object));
        let request = self.request(&kind, &options, &name);
        let mut warnings = Vec::new();
        ask_to_allow(self.app, &request, &options, Some(object), &mut warnings).await?;
        Ok(warnings)
    }

    /// The kind of the path.
    fn kind(&self) -> Result<Arc<Kind>, Status> {
        let info = &self.context.info;
        let registry = self.app.registry.load();
        let kind = registry.by_resource(&info.group, &info.version, &info.resource);
        kind.cloned().ok_or_else(|| Status::internal(format!("{} is not served", info.resource)))
    }

    fn name_of(&self, object: &Object) -> String {
        match self.context.info.name.as_str() {
            "" => object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            name => name.to_owned(),
        }
    }

    fn request<'r>(&'r self, kind: &'r Arc<Kind>, options: &Value, name: &'r str) -> Request<'r> {
        let info = &self.context.info;
        Request {
            kind,
            body: Some(self.body),
            operation: self.operation,
            namespace: if kind.namespaced { &info.namespace } else { "" },
            name,
            subresource: info.below(),
            user: &self.context.user,
            old: None,
            dry_run: !options["dryRun"].is_null(),
            deadline: self.context.deadline,
        }
    }

    /// Connections have no options beside themselves.
    fn options(&self) -> Result<Value, Status> {
        if self.operation == Operation::Connect {
            return Ok(Value::Null);
        }
        let sent = WriteOptions::of(&self.context.query, "create", false)?;
        let mut options = json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"});
        if !sent.manager.is_empty() {
            options["fieldManager"] = sent.manager.into();
        }
        if sent.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        Ok(options)
    }
}

/// Asks whether a connection may be opened; gives what the client should know.
///
/// # Errors
/// The refusals of policies and webhooks.
pub async fn connect(app: &App, context: &RequestContext) -> Result<Vec<String>, Status> {
    let info = &context.info;
    let name = match (&*info.resource, info.below()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", _) => "PodProxyOptions",
        ("services", _) => "ServiceProxyOptions",
        _ => "NodeProxyOptions",
    };
    let path = info.subresource.split_once('/').map_or("", |(_, path)| path);
    let mut object = options_of(name, &context.query, path);
    let body = options_kind(name)?;
    Action { app, context, operation: Operation::Connect, body: &body }.admit(&mut object).await
}

/// The options of connections are not published as kinds: nothing is known of their fields.
fn options_kind(name: &str) -> Result<Kind, Status> {
    let mut kind = Kind::of_body("", "v1", "Binding").ok_or_else(|| Status::internal("Binding is not known"))?;
    kind.kind = name.into();
    kind.ty = knarr_schema::field_table::TypeRef::of(knarr_schema::field_table::Type::Any);
    Ok(kind)
}

/// What a connection's query says, as the kind of its options has it. Pure.
fn options_of(name: &str, query: &Query, path: &str) -> Object {
    let mut object = json!({"kind": name, "apiVersion": "v1"});
    match name {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.is_true(flag) {
                    object[flag] = true.into();
                }
            }
            if let Some(container) = query.filled("container") {
                object["container"] = container.into();
            }
            let command: Vec<&str> = query.all("command").collect();
            if name == "PodExecOptions" {
                object["command"] = if command.is_empty() { Value::Null } else { json!(command) };
            }
        }
        "PodPortForwardOptions" => {
            let listed = query.all("ports").flat_map(|ports| ports.split(','));
            let ports: Vec<i64> = listed.filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                object["ports"] = json!(ports);
            }
        }
        _ => {
            let path = query.filled("path").filter(|_| path.is_empty()).unwrap_or(path);
            if !path.is_empty() {
                object["path"] = path.into();
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_shown_as_its_options() {
        for (name, query, path, want) in [
            (
                "PodExecOptions",
                "stdin=true&tty=false&command=sh&command=-c&container=c",
                "",
                json!({"stdin": true, "command": ["sh", "-c"], "container": "c"}),
            ),
            ("PodAttachOptions", "stdout=1", "", json!({"stdout": true})),
            ("PodPortForwardOptions", "ports=80&ports=443", "", json!({"ports": [80, 443]})),
            ("PodProxyOptions", "", "a/b", json!({"path": "a/b"})),
            ("NodeProxyOptions", "", "", json!({})),
        ] {
            let mut want = want;
            want["kind"] = name.into();
            want["apiVersion"] = "v1".into();
            assert_eq!(options_of(name, &Query::parse(query), path), want, "{name}");
        }
    }
}
