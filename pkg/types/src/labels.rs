// SPDX-License-Identifier: Apache-2.0
//! Labels, annotations, taints and finalizers that have a meaning of their own.
//! <https://kubernetes.io/docs/reference/labels-annotations-taints/>

/// Every namespace carries its own name under it.
pub const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// A node's host name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// A node's processor: `amd64`, `arm64`.
pub const ARCH: &str = "kubernetes.io/arch";
/// A node's operating system: `linux`.
pub const OS: &str = "kubernetes.io/os";
/// On EndpointSlices: the Service they belong to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On EndpointSlices: who keeps them.
pub const ENDPOINTSLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// On ReplicaSets and their pods: the hash of the template.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// On Deployments and ReplicaSets: the number of the rollout.
pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
/// The object as `kubectl apply` last sent it.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Taint of a node whose lease has run out.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a node that says it is not ready.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of a cordoned node.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Makes a delete wait until the dependents are gone.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Makes a delete leave the dependents behind.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// The namespace of the cluster's own heartbeats.
pub const NAMESPACE_NODE_LEASE: &str = "kube-node-lease";
