// SPDX-License-Identifier: Apache-2.0
//! What the status of a ValidatingAdmissionPolicy warns of: expressions that do not fit the kinds that it names.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking>
//!
//! Built-in kinds are known here; what others are is asked of discovery and of the published documents, once for
//! each generation of a policy.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::jiff::Timestamp;
use knarr_client::Client;
use knarr_client::cache::{Cache, ObjectRef};
use knarr_schema::Registry;
use knarr_schema::cel::type_check::{self, Named, Params, Typed};
use knarr_types::tree::{Value, json, to_value};
use kube::api::{Api, Patch, PatchParams};

use crate::controller::{ReconcileError, unless};

const MANAGER: &str = "validatingadmissionpolicy-status";

/// Group, version and kind.
type Names = (String, String, String);

/// What is kept of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyView {
    generation: i64,
    observed: i64,
}

impl PolicyView {
    /// Of this policy.
    #[must_use]
    pub fn of(policy: &ValidatingAdmissionPolicy) -> Self {
        let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
        Self { generation: policy.metadata.generation.unwrap_or_default(), observed: observed.unwrap_or_default() }
    }
}

/// Checks the expressions of each policy when it is new and when it changed.
pub struct Controller {
    pub(crate) client: Client,
    pub(crate) policies: Cache<PolicyView>,
}

impl Controller {
    /// Checks one policy.
    ///
    /// # Errors
    /// The API's; it is tried again.
    pub async fn reconcile(&self, key: ObjectRef) -> Result<(), ReconcileError> {
        if self.policies.get(&key).is_none_or(|policy| policy.generation <= policy.observed) {
            return Ok(());
        }
        let api = Api::<ValidatingAdmissionPolicy>::all(self.client.clone());
        let Some(policy) = api.get_opt(&key.name).await? else { return Ok(()) };
        let generation = policy.metadata.generation;
        let policy = to_value(&policy).map_err(kube::Error::SerdeError)?;
        let warnings = self.check(&policy).await;
        let mut checked = json!({});
        if !warnings.is_empty() {
            let shown = warnings.iter().map(|warning| json!({"fieldRef": warning.field, "warning": warning.text}));
            checked["expressionWarnings"] = shown.collect();
        }
        let applied = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": key.name},
            "status": {"observedGeneration": generation, "typeChecking": checked},
        });
        let params = PatchParams::apply(MANAGER).force();
        unless(api.patch_status(&key.name, &params, &Patch::Apply(applied)).await, &[404])
    }

    async fn check(&self, policy: &Value) -> Vec<type_check::Warning> {
        let registry = Registry::builtin();
        let rules = type_check::resources(policy);
        let mut served = BTreeMap::new();
        for named in rules.iter().flatten() {
            served.insert(named.clone(), self.kinds(&registry, named).await);
        }
        let kinds = type_check::kinds(&rules, |named| served.get(named).cloned().unwrap_or_default());
        let mut typed = Vec::new();
        for kind in kinds {
            if let Some(ty) = self.ty(&registry, &kind).await {
                typed.push(Typed { kind, ty });
            }
        }
        let params = match params_of(policy) {
            None => Params::None,
            Some(kind) => self.ty(&registry, &kind).await.map_or(Params::Unknown, Params::Known),
        };
        type_check::warnings(policy, &typed, &params)
    }

    /// The kinds of a resource; the version alone names those of all groups, as upstream has it.
    async fn kinds(&self, registry: &Registry, named: &Named) -> Vec<Names> {
        let is_named = |plural: &str, singular: &str| named.resource == plural || named.resource == singular;
        let builtin = registry.iter().filter(|kind| {
            let in_group = named.group.is_empty() || *kind.group == *named.group;
            in_group && *kind.version == *named.version && is_named(&kind.resource, &kind.singular)
        });
        let builtin: Vec<Names> =
            builtin.map(|kind| (kind.group.to_string(), kind.version.to_string(), kind.kind.to_string())).collect();
        if !builtin.is_empty() || named.group.is_empty() {
            return builtin;
        }
        let version = format!("{}/{}", named.group, named.version);
        // What is not served has no kind; a policy may be there before what it is about.
        let Ok(list) = self.client.list_api_group_resources(&version).await else { return Vec::new() };
        let found = list.resources.iter().filter(|resource| is_named(&resource.name, &resource.singular_name));
        found.map(|resource| (named.group.clone(), named.version.clone(), resource.kind.clone())).collect()
    }

    /// What expressions know of the objects of a kind.
    async fn ty(&self, registry: &Registry, (group, version, kind): &Names) -> Option<knarr_schema::cel::Type> {
        // Upstream makes the names of types unique by the clock.
        let name = format!("{kind}{}", Timestamp::now().subsec_nanosecond());
        if let Some(known) = registry.by_kind(group, version, kind) {
            return type_check::of_kind(known, &name);
        }
        let path = format!("/openapi/v3/apis/{group}/{version}");
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        let document: Value = self.client.request(request).await.ok()?;
        let wanted = json!({"group": group, "version": version, "kind": kind});
        let is_of_kind = |schema: &&Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&wanted))
        };
        let schemas = document["components"]["schemas"].as_object()?;
        type_check::of_schema(schemas.values().find(is_of_kind)?, &name)
    }
}

/// What `spec.paramKind` names.
fn params_of(policy: &Value) -> Option<Names> {
    let text = |field: &str| policy["spec"]["paramKind"][field].as_str();
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Some((group.to_owned(), version.to_owned(), kind.to_owned()))
}
