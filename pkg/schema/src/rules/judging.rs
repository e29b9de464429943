// SPDX-License-Identifier: Apache-2.0

//! How often upstream's validation of a kind looks at metadata, and how. Every kind's are judged once for all;
//! what its own validation asks besides is told a second and third time, and the causes show it.

use knarr_types::{ErrorList, Object};

use super::at::At;
use super::{metadata, names::NameCheck};

/// One look of a kind's own validation at the metadata of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As at those of a new object.
    Whole,
    /// At what has changed.
    Change,
}

/// How a kind's own validation judges metadata.
#[derive(Clone, Copy, Debug)]
pub struct Judging {
    /// It looks at those of a new object.
    pub create: bool,
    /// Its looks at those of a changed object.
    pub update: &'static [Look],
    /// Its looks where the status is written.
    pub status: &'static [Look],
    /// Finalizers without a domain must be ones that the cluster knows.
    pub known_finalizers: bool,
}

impl Judging {
    /// As most kinds have it: changes are judged as changes.
    pub const CHANGE: Self =
        Self { create: true, update: &[Look::Change], status: &[Look::Change], known_finalizers: true };
    /// A changed object is judged as a new one.
    pub const WHOLE: Self = Self { update: &[Look::Whole], ..Self::CHANGE };
    /// First as a new object, then the change.
    pub const WHOLE_THEN_CHANGE: Self = Self { update: &[Look::Whole, Look::Change], ..Self::CHANGE };
    /// First the change, then as a new object.
    pub const CHANGE_THEN_WHOLE: Self = Self { update: &[Look::Change, Look::Whole], ..Self::CHANGE };
    /// As a new object, and once more.
    pub const WHOLE_TWICE: Self = Self { update: &[Look::Whole, Look::Whole], ..Self::CHANGE };
    /// Not at all: what is judged for all kinds is enough.
    pub const NEVER: Self = Self { create: false, update: &[], status: &[], known_finalizers: false };

    /// The same where finalizers may have any name.
    #[must_use]
    pub const fn with_any_finalizers(self) -> Self {
        Self { known_finalizers: false, ..self }
    }

    /// What the kind's validation says of the metadata of a new object.
    #[must_use]
    pub fn of_new(&self, object: &Object, namespaced: bool, name: NameCheck) -> ErrorList {
        if !self.create {
            return ErrorList::new();
        }
        let mut errors = metadata::validate_generic(object, namespaced, name);
        errors.extend(self.finalizers(object));
        errors
    }

    /// What is said of changed metadata, for every kind and then by this one's validation.
    #[must_use]
    pub fn of_change(&self, new: &Object, old: &Object, subresource: &str) -> ErrorList {
        let mut errors = metadata::validate_contents(new);
        errors.extend(metadata::validate_update(new, old));
        for look in if subresource == "status" { self.status } else { self.update } {
            errors.extend(match look {
                Look::Whole => metadata::validate_contents(new),
                Look::Change => metadata::validate_update(new, old),
            });
            errors.extend(self.finalizers(new));
        }
        errors
    }

    fn finalizers(&self, object: &Object) -> ErrorList {
        if !self.known_finalizers {
            return ErrorList::new();
        }
        metadata::kube_finalizers(&At::root(object).get("metadata"))
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use crate::kinds::Registry;
    use crate::rules::names;

    /// Letters for what a list of faults holds: labels, wrong finalizers, finalizers without a domain, new ones.
    fn letters(errors: &knarr_types::ErrorList) -> String {
        let letter = |error: &knarr_types::FieldError| match error.path.to_string().as_str() {
            "metadata.labels" => "L",
            "metadata.finalizers" if error.detail.starts_with("no new") => "N",
            "metadata.finalizers" => "F",
            path if path.starts_with("metadata.finalizers[") => "k",
            _ => "",
        };
        errors.iter().map(letter).collect()
    }

    #[test]
    fn metadata_are_judged_as_often_as_upstream_does_and_in_its_order() {
        let registry = Registry::builtin();
        for (group, kind, subresource, want) in [
            ("", "ConfigMap", "", "LF NL NLk LFk"),
            ("", "Event", "", "LF NL"),
            ("batch", "Job", "", "LF NL LFk NLk"),
            ("", "LimitRange", "", "LF NL LFk"),
            ("", "Namespace", "", "LF NL LFk NLk"),
            ("", "PersistentVolume", "", "LF NL LFk LFk"),
            ("", "PersistentVolume", "status", "LF NL NLk"),
            ("", "Service", "", "LF NL NLk"),
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "", "LF NL LF"),
            ("apps", "Deployment", "", "LF NL NLk"),
            ("batch", "CronJob", "status", "LF NL"),
            ("certificates.k8s.io", "CertificateSigningRequest", "status", "LF NL LFk NLk"),
            ("coordination.k8s.io", "Lease", "", "LF NL NL"),
            ("node.k8s.io", "RuntimeClass", "", "LF NL LF NL"),
            ("policy", "PodDisruptionBudget", "", "LF NL"),
        ] {
            let kind = registry.by_kind(group, "v1", kind).unwrap();
            let old = json!({"kind": kind.kind, "metadata": {"name": "x", "deletionTimestamp": "t"}});
            let mut new = old.clone();
            new["metadata"]["labels"] = json!({"a b": "c"});
            new["metadata"]["finalizers"] = json!(["a b"]);
            let judging = &kind.rules.judging;
            assert_eq!(letters(&judging.of_change(&new, &old, subresource)), want.replace(' ', ""), "{}", kind.kind);
        }
    }

    #[test]
    fn a_budget_without_a_name_is_told_of_its_numbers_first() {
        let registry = Registry::builtin();
        let kind = registry.by_kind("policy", "v1", "PodDisruptionBudget").unwrap();
        let object = json!({"metadata": {}});
        assert!(kind.rules.judging.of_new(&object, true, names::dns_subdomain_name).is_empty());
    }
}
