// SPDX-License-Identifier: Apache-2.0
//! The versions that upstream knows, served or not: what all of them have (the options of deletes, the events of
//! watches) is published as a kind of each.

use super::schema::About;

/// The versions of the named groups.
const VERSIONS: [(&str, &[&str]); 25] = [
    ("admission.k8s.io", &["v1", "v1beta1"]),
    ("admissionregistration.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apiregistration.k8s.io", &["v1", "v1beta1"]),
    ("apps", &["v1", "v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("authorization.k8s.io", &["v1", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"]),
    ("imagepolicy.k8s.io", &["v1alpha1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2", "v1beta1"]),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];
/// The groups of [`VERSIONS`] that custom resources are not described beside.
const NOT_BESIDE_CUSTOM: [&str; 4] =
    ["admission.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "imagepolicy.k8s.io"];

/// Of which groups and versions kinds that all have are told to be, in that document.
pub(super) fn of_all_kinds(about: &About) -> Vec<(&str, &str)> {
    let core = std::iter::once(("", "v1"));
    if let About::Version(group, version) = about {
        return core.chain((!group.is_empty()).then_some((&**group, &**version))).collect();
    }
    let told = |group: &&str| *about == About::All || !NOT_BESIDE_CUSTOM.contains(group);
    let groups = VERSIONS.iter().filter(|(group, _)| told(group));
    core.chain(groups.flat_map(|(group, versions)| versions.iter().map(move |version| (*group, *version)))).collect()
}
