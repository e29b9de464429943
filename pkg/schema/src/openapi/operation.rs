// SPDX-License-Identifier: Apache-2.0
//! What may be done at a path, and how the documents write it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use knarr_types::tree::{Map, Value, json};

use super::parameters::Parameter;
use super::schema::Dialect;

/// A path with what may be done there.
pub(super) struct Route {
    pub path: String,
    pub operations: Vec<Operation>,
}

/// What may be done at a path with a method.
pub(super) struct Operation {
    /// `get`.
    pub method: &'static str,
    /// `listCoreV1NamespacedPod`.
    pub id: String,
    /// `core_v1`.
    pub tag: Arc<str>,
    pub description: String,
    /// `x-kubernetes-action`, and the kind that it is done with.
    pub action: Option<(&'static str, Value)>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// Media types of the body.
    pub consumes: &'static [&'static str],
    /// Media types of the answer.
    pub produces: &'static [&'static str],
    /// The codes of answers that it succeeds with.
    pub codes: &'static [u16],
    /// The schema of the answer.
    pub answer: Value,
}

/// The body of a request.
pub(super) struct Body {
    pub schema: Value,
    pub required: bool,
}

/// The parameters that a Swagger document has once, by the names under which they are referred to.
#[derive(Default)]
pub(super) struct Shared(pub BTreeMap<String, Value>);

impl Route {
    /// As the document writes it: what all operations take is said once.
    pub fn write(&self, dialect: Dialect, shared: &mut Shared) -> Value {
        let common = self.common();
        let mut item = Map::new();
        for operation in &self.operations {
            item.insert(operation.method, operation.write(dialect, &common, shared));
        }
        if !common.is_empty() {
            item.insert("parameters", common.iter().map(|one| shared.parameter(one, dialect)).collect());
        }
        Value::Object(item)
    }

    fn common(&self) -> Vec<&Parameter> {
        let Some((first, others)) = self.operations.split_first() else { return Vec::new() };
        let everywhere =
            |one: &&Parameter| others.iter().all(|other| other.parameters.iter().any(|it| it.key() == one.key()));
        let mut common: Vec<_> = first.parameters.iter().filter(everywhere).collect();
        common.sort_by_key(|one| one.key());
        common
    }
}

impl Operation {
    fn write(&self, dialect: Dialect, common: &[&Parameter], shared: &mut Shared) -> Value {
        let mut operation = json!({
            "tags": [self.tag], "description": self.description, "operationId": self.id,
            "responses": self.responses(dialect),
        });
        let mut own: Vec<_> =
            self.parameters.iter().filter(|one| !common.iter().any(|it| it.key() == one.key())).collect();
        own.sort_by_key(|one| one.key());
        let mut parameters: Vec<Value> = own.into_iter().map(|one| shared.parameter(one, dialect)).collect();
        match dialect {
            Dialect::V2 => {
                // A body is sorted in as a parameter of that name; no other one is before it.
                parameters.splice(0..0, self.body.as_ref().map(|body| shared.body(body)));
                operation["schemes"] = json!(["https"]);
                operation["produces"] = json!(self.produces);
                if !self.consumes.is_empty() {
                    operation["consumes"] = json!(self.consumes);
                }
            }
            Dialect::V3 => {
                if let Some(body) = &self.body {
                    operation["requestBody"] = json!({ "content": content(self.consumes, &body.schema) });
                    if body.required {
                        operation["requestBody"]["required"] = true.into();
                    }
                }
            }
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some((action, kind)) = &self.action {
            operation["x-kubernetes-action"] = (*action).into();
            operation["x-kubernetes-group-version-kind"] = kind.clone();
        }
        operation
    }

    fn responses(&self, dialect: Dialect) -> Value {
        let mut responses = Map::new();
        for code in self.codes {
            let description = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            };
            let response = match dialect {
                Dialect::V2 => json!({ "description": description, "schema": self.answer }),
                Dialect::V3 => json!({ "description": description, "content": content(self.produces, &self.answer) }),
            };
            responses.insert(code.to_string(), response);
        }
        responses.insert("401", json!({ "description": "Unauthorized" }));
        Value::Object(responses)
    }
}

impl Shared {
    fn parameter(&mut self, parameter: &Parameter, dialect: Dialect) -> Value {
        if dialect == Dialect::V3 {
            return parameter.v3();
        }
        let text = parameter.v2();
        if parameter.is_shared() { self.refer(parameter.name, &text) } else { read(&text) }
    }

    /// What is no object of a kind is shared.
    fn body(&mut self, body: &Body) -> Value {
        let required = if body.required { ",\"required\":true" } else { "" };
        let text = format!(r#"{{"name":"body","in":"body"{required},"schema":{}}}"#, body.schema);
        let machinery = |to: &str| to.starts_with("#/definitions/io.k8s.apimachinery");
        if body.schema["$ref"].as_str().is_some_and(machinery) { self.refer("body", &text) } else { read(&text) }
    }

    fn refer(&mut self, name: &str, text: &str) -> Value {
        let digest = &fnv(text.as_bytes()).to_be_bytes()[..6];
        let name = format!("{name}-{}", base64::engine::general_purpose::URL_SAFE.encode(digest));
        let reference = json!({ "$ref": format!("#/parameters/{name}") });
        self.0.entry(name).or_insert_with(|| read(text));
        reference
    }
}

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types.iter().map(|media_type| (*media_type, json!({ "schema": schema }))).collect()
}

/// What was written as JSON right before.
fn read(text: &str) -> Value {
    text.parse().unwrap_or_default()
}

/// FNV-1 of 64 bits, by which upstream names shared parameters.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::parameters::named;
    use super::*;

    #[test]
    fn shared_parameters_have_upstreams_names() {
        let mut shared = Shared::default();
        for (name, place, want) in [
            ("pretty", "", "pretty-tJGM1-ng"),
            ("{namespace}", "", "namespace-vgWSWtn3"),
            ("continue", "", "continue-QfD61s0i"),
            ("fieldManager", "patch", "fieldManager-7c6nTn1T"),
        ] {
            let reference = shared.parameter(&named(name, place).unwrap(), Dialect::V2);
            assert_eq!(reference["$ref"], format!("#/parameters/{want}"));
            assert_eq!(shared.0[want]["name"], name.trim_matches(['{', '}']));
        }
        let options = json!({ "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions" });
        let body = shared.body(&Body { schema: options, required: false });
        assert_eq!(body["$ref"], "#/parameters/body-2Y1dVQaQ");
        assert_eq!(shared.parameter(&named("dryRun", "").unwrap(), Dialect::V2)["name"], "dryRun");
    }
}
