// SPDX-License-Identifier: Apache-2.0

//! What is special about each kind: its defaults, its strategy (what a write may touch), its
//! validation, its warnings and its selectable fields.
//!
//! The functions work on decoded trees, checked against [`crate::field_table`]: types are right, a
//! field may be absent. A create is `default`, [`crate::normalize()`], `metadata.uid` and
//! `creationTimestamp` set, [`metadata::prepare_create`], `prepare_create`, a name from generateName,
//! [`check_create`], `complete`, and for Services [`service::settle_families`]. An update is `default`,
//! [`crate::normalize()`], [`metadata::prepare_update`], `prepare_update`, [`check_update`]. Admission
//! stands where it does upstream: behind defaults, before the strategy.

mod addresses;
mod admission_policies;
mod amount;
mod api_service;
mod apps;
mod asn1;
pub(crate) mod at;
mod autoscaling;
mod certificate_request;
mod certificates;
mod conditions;
mod configuration;
mod container_restarts;
mod containers;
mod coordination;
mod cron;
mod cron_job;
mod devices;
mod disabled;
mod endpoints;
mod environment;
mod event;
pub(crate) mod fill;
pub mod flow_control;
mod go_diff;
pub(crate) mod go_names;
mod go_print;
pub(crate) mod go_values;
mod image_name;
mod ingress;
mod job;
mod job_indexes;
mod job_policies;
mod job_status;
mod judged;
pub(crate) mod judging;
mod key_pair;
pub mod metadata;
pub mod names;
mod namespace;
mod network_policy;
mod node;
mod overlapping_paths;
mod pem;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_annotations;
mod pod_defaults;
mod pod_resize;
mod pod_spec;
mod pod_status;
mod pod_warnings;
mod policy_expressions;
mod probes;
mod projected_volumes;
mod quota;
mod ratchet;
mod rbac;
mod resources;
mod scheduling;
mod scheduling_classes;
mod security;
mod selectors;
pub mod service;
mod service_changes;
mod service_ports;
mod service_validation;
mod stateful_set;
mod storage;
mod volume_mounts;
mod volume_sources;
mod volumes;
pub(crate) mod webhooks;
mod workload;

pub use pem::certificate_request as check_certificate_request;

use knarr_types::{ErrorList, Object};

use self::judging::Judging;
use crate::crd::definition;

/// What is special about a kind. Everything is optional; the generic engine does the rest.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Fills in what the client left out.
    pub default: fn(&mut Object),
    /// Makes a new object what a client may create: status dropped, generation 1.
    pub prepare_create: fn(&mut Object),
    /// Fills into a valid object what upstream's defaults make of it when it is read back.
    pub complete: fn(&mut Object),
    /// `(new, old, subresource)`: keeps what this write may not touch as `old` has it and raises the
    /// generation when the spec changed. The subresource is empty for the object itself.
    pub prepare_update: fn(&mut Object, &Object, &str),
    /// `(new, old, subresource, now)`: writes down when a change came about, after `prepare_update`.
    pub stamp: fn(&mut Object, &Object, &str, &str),
    /// Upstream stores a new object without what it defaults when it reads it, so that the first update of it is a
    /// change, whatever it asks for.
    pub changes_when_read: bool,
    /// Which names are allowed: `(name, it is a generateName prefix)` gives what is wrong.
    pub name: names::NameCheck,
    /// What is wrong with a new object, metadata aside.
    pub validate: fn(&Object) -> ErrorList,
    /// `(new, old, subresource)`: what is wrong with a change, metadata aside.
    pub validate_update: fn(&Object, &Object, &str) -> ErrorList,
    /// What a client should know about a new object, be it accepted or not.
    pub early_warnings: fn(&Object) -> Vec<String>,
    /// What a client should know about an object that is accepted.
    pub warnings: fn(&Object) -> Vec<String>,
    /// Changes are warned of as new objects are.
    pub warns_of_updates: bool,
    /// `(new, old)`: what a client should know about a change, where it is not what is said of a new object.
    pub update_warnings: Option<fn(&Object, &Object) -> Vec<String>>,
    /// What a client should know about a status that is accepted.
    pub status_warnings: fn(&Object) -> Vec<String>,
    /// What every answer about this kind warns of, reads among them.
    pub deprecation: Option<&'static str>,
    /// Selectable fields beyond metadata.name and metadata.namespace.
    pub fields: fn(&Object) -> Vec<(&'static str, String)>,
    /// A PUT to a name that does not exist creates it.
    pub allow_create_on_update: bool,
    /// An update needs no resourceVersion.
    pub allow_unconditional_update: bool,
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// `metadata.generation` counts empty lists and maps as changes of what is absent.
    pub counts_empties: bool,
    /// Its objects are made from templates: many come with the same spec. What the spec gets as defaults depends on
    /// nothing else.
    pub is_templated: bool,
    /// How the kind's own rules look at metadata.
    pub judging: Judging,
}

impl Rules {
    /// No rules: what a kind without a file of its own gets.
    pub const DEFAULT: Self = Self {
        default: |_| {},
        prepare_create: |_| {},
        complete: |_| {},
        prepare_update: |_, _, _| {},
        stamp: |_, _, _, _| {},
        name: names::dns_subdomain_name,
        validate: |_| ErrorList::new(),
        validate_update: |_, _, _| ErrorList::new(),
        early_warnings: |_| Vec::new(),
        warnings: |_| Vec::new(),
        warns_of_updates: true,
        update_warnings: None,
        status_warnings: |_| Vec::new(),
        deprecation: None,
        fields: |_| Vec::new(),
        changes_when_read: false,
        allow_create_on_update: false,
        allow_unconditional_update: true,
        has_generation: false,
        counts_empties: false,
        is_templated: false,
        judging: Judging::CHANGE,
    };
}

/// The rules of a built-in kind.
#[must_use]
pub fn for_kind(group: &str, kind: &str) -> &'static Rules {
    static NONE: Rules = Rules::DEFAULT;
    static COMPONENT_STATUS: Rules =
        Rules { deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"), ..Rules::DEFAULT };
    match (group, kind) {
        ("", "ComponentStatus") => &COMPONENT_STATUS,
        ("", "ConfigMap") => &configuration::CONFIG_MAP,
        ("", "Endpoints") => &endpoints::ENDPOINTS,
        ("", "Event") => &event::EVENT,
        ("", "LimitRange") => &quota::LIMIT_RANGE,
        ("", "Namespace") => &namespace::NAMESPACE,
        ("", "Node") => &node::NODE,
        ("", "PersistentVolume") => &persistent_volume::PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => &persistent_volume_claim::PERSISTENT_VOLUME_CLAIM,
        ("", "Pod") => &pod::POD,
        ("", "PodTemplate") => &apps::POD_TEMPLATE,
        ("", "ReplicationController") => &apps::REPLICATION_CONTROLLER,
        ("", "ResourceQuota") => &quota::RESOURCE_QUOTA,
        ("", "Secret") => &configuration::SECRET,
        ("", "Service") => &service::SERVICE,
        ("", "ServiceAccount") => &configuration::SERVICE_ACCOUNT,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &admission_policies::MUTATING_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => &admission_policies::MUTATING_BINDING,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &webhooks::MUTATING_WEBHOOKS,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &admission_policies::VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => &admission_policies::VALIDATING_BINDING,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => &webhooks::VALIDATING_WEBHOOKS,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &definition::CUSTOM_RESOURCE_DEFINITION,
        ("apiregistration.k8s.io", "APIService") => &api_service::API_SERVICE,
        ("apps", "ControllerRevision") => &apps::CONTROLLER_REVISION,
        ("apps", "DaemonSet") => &stateful_set::DAEMON_SET,
        ("apps", "Deployment") => &apps::DEPLOYMENT,
        ("apps", "ReplicaSet") => &apps::REPLICA_SET,
        ("apps", "StatefulSet") => &stateful_set::STATEFUL_SET,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::HORIZONTAL_POD_AUTOSCALER,
        ("batch", "CronJob") => &cron_job::CRON_JOB,
        ("batch", "Job") => &job::JOB,
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificates::CERTIFICATE_SIGNING_REQUEST,
        ("coordination.k8s.io", "Lease") => &coordination::LEASE,
        ("discovery.k8s.io", "EndpointSlice") => &endpoints::ENDPOINT_SLICE,
        ("events.k8s.io", "Event") => &event::NEW_EVENT,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flow_control::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &flow_control::PRIORITY_LEVEL,
        ("networking.k8s.io", "IPAddress") => &network_policy::IP_ADDRESS,
        ("networking.k8s.io", "Ingress") => &ingress::INGRESS,
        ("networking.k8s.io", "IngressClass") => &ingress::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => &network_policy::NETWORK_POLICY,
        ("networking.k8s.io", "ServiceCIDR") => &network_policy::SERVICE_CIDR,
        ("node.k8s.io", "RuntimeClass") => &scheduling_classes::RUNTIME_CLASS,
        ("policy", "PodDisruptionBudget") => &scheduling_classes::POD_DISRUPTION_BUDGET,
        ("rbac.authorization.k8s.io", "ClusterRole") => &rbac::CLUSTER_ROLE,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => &rbac::CLUSTER_ROLE_BINDING,
        ("rbac.authorization.k8s.io", "Role") => &rbac::ROLE,
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::ROLE_BINDING,
        ("resource.k8s.io", "DeviceClass") => &devices::DEVICE_CLASS,
        ("resource.k8s.io", "ResourceClaim") => &devices::RESOURCE_CLAIM,
        ("resource.k8s.io", "ResourceClaimTemplate") => &devices::RESOURCE_CLAIM_TEMPLATE,
        ("resource.k8s.io", "ResourceSlice") => &devices::RESOURCE_SLICE,
        ("scheduling.k8s.io", "PriorityClass") => &scheduling_classes::PRIORITY_CLASS,
        ("storage.k8s.io", "CSIDriver") => &storage::CSI_DRIVER,
        ("storage.k8s.io", "CSINode") => &storage::CSI_NODE,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CSI_STORAGE_CAPACITY,
        ("storage.k8s.io", "StorageClass") => &storage::STORAGE_CLASS,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VOLUME_ATTRIBUTES_CLASS,
        _ => &NONE,
    }
}

/// All that is wrong with a new object, in upstream's order.
#[must_use]
pub fn check_create(rules: &Rules, namespaced: bool, object: &Object) -> ErrorList {
    let mut errors = rules.judging.of_new(object, namespaced, rules.name);
    errors.extend((rules.validate)(object));
    if errors.is_empty() {
        // Whatever the kind allows, the name must fit into a path.
        errors = metadata::validate_generic(object, namespaced, names::path_segment_name);
    }
    errors
}

/// All that is wrong with a change (`subresource` is empty for the object itself), in upstream's order.
#[must_use]
pub fn check_update(rules: &Rules, new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let mut errors = rules.judging.of_change(new, old, subresource);
    errors.extend((rules.validate_update)(new, old, subresource));
    ratchet::excused(errors, old)
}

#[cfg(test)]
mod tests;
