// SPDX-License-Identifier: Apache-2.0
//! What the documents say in words: of what every resource has, for those who explain a custom resource by its own
//! schema. Others are described by their names alone.

/// Of `apiVersion`.
pub(super) const API_VERSION: &str = "APIVersion defines by which version of its schema this object is written.";
/// Of `kind`.
pub(super) const KIND: &str = "Kind names the schema of this object, in CamelCase.";
/// Of `metadata`.
pub(super) const METADATA: &str = "Standard object's metadata.";

/// Of the fields of `metadata`.
const METADATA_FIELDS: [(&str, &str); 14] = [
    ("annotations", "Annotations are free texts by key, for tools; nothing is selected by them."),
    (
        "creationTimestamp",
        "CreationTimestamp is a timestamp of when the server took the object in. Clients do not set it.",
    ),
    (
        "deletionGracePeriodSeconds",
        "DeletionGracePeriodSeconds is how long the object may take to end once it is deleted.",
    ),
    ("deletionTimestamp", "DeletionTimestamp is a timestamp of when the object is to be gone, once it is deleted."),
    ("finalizers", "Finalizers are names that have to be taken away before a deleted object goes."),
    ("generateName", "GenerateName is the beginning of the name that the server makes where there is none."),
    ("generation", "Generation counts the changes of what is asked for."),
    ("labels", "Labels are short texts by key, by which objects are selected."),
    ("managedFields", "ManagedFields says who set which fields."),
    ("name", "Name is unique among the objects of the kind in the namespace. It cannot be changed."),
    ("namespace", "Namespace is where the name is unique. It cannot be changed."),
    ("ownerReferences", "OwnerReferences are the objects with which this one goes."),
    ("resourceVersion", "ResourceVersion changes with each write; a write that names another one is refused."),
    ("uid", "UID tells this object from all others, also from those of the same name before and after it."),
];

/// Of a field of `metadata`.
pub(super) fn of_metadata(field: &str) -> Option<&'static str> {
    let index = METADATA_FIELDS.binary_search_by_key(&field, |(name, _)| name).ok()?;
    Some(METADATA_FIELDS[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found() {
        assert!(METADATA_FIELDS.iter().all(|(name, text)| of_metadata(name) == Some(*text)));
        assert_eq!(of_metadata("selfLink"), None);
    }
}
