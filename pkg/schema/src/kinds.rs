// SPDX-License-Identifier: Apache-2.0
//! The kinds that the cluster knows: one row each, built in or made from a CRD.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use knarr_types::ResourceId;

use crate::builtin_types;
use crate::crd::Custom;
use crate::field_table::TypeRef;
use crate::protobuf::Message;
use crate::rules::{self, Rules};

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `boolean`, `date`, ...
    pub ty: Cow<'static, str>,
    /// `name` for the name, else mostly empty.
    pub format: Cow<'static, str>,
    /// Shown by default where it is 0, with `-o wide` above.
    pub priority: u32,
    /// For people.
    pub description: Cow<'static, str>,
    /// Where a CRD says the value is; empty for built-in kinds, whose cells are computed.
    pub json_path: Cow<'static, str>,
}

/// A path below an object: `status`, `scale`, `log`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// The last part of the path.
    pub name: Arc<str>,
    /// The group of what it takes and gives.
    pub group: Arc<str>,
    /// The version of what it takes and gives.
    pub version: Arc<str>,
    /// The kind of what it takes and gives.
    pub kind: Arc<str>,
    /// What may be done.
    pub verbs: Vec<Arc<str>>,
}

/// A kind in one of its served versions.
#[derive(Clone, Debug)]
pub struct Kind {
    /// `""` for the core group.
    pub group: Arc<str>,
    /// `v1`.
    pub version: Arc<str>,
    /// `Pod`.
    pub kind: Arc<str>,
    /// `PodList`.
    pub list_kind: Arc<str>,
    /// The plural in paths: `pods`.
    pub resource: Arc<str>,
    /// `pod`.
    pub singular: Arc<str>,
    /// `po`.
    pub short_names: Vec<Arc<str>>,
    /// `all`, `api-extensions`.
    pub categories: Vec<Arc<str>>,
    /// Its objects live in namespaces.
    pub namespaced: bool,
    /// What may be done with it.
    pub verbs: Vec<Arc<str>>,
    /// The paths below its objects.
    pub subresources: Vec<Subresource>,
    /// Its fields.
    pub ty: TypeRef,
    /// The columns of its table.
    pub columns: Vec<Column>,
    /// The fields that field selectors may name.
    pub selectable: Vec<Arc<str>>,
    /// Where its objects are stored, whatever version they are served in.
    pub storage: ResourceId,
    /// The `apiVersion` in which its objects are stored.
    pub storage_version: Arc<str>,
    /// What is special about it.
    pub rules: &'static Rules,
    /// What else it is where a CRD made it.
    pub custom: Option<Arc<Custom>>,
}

/// The columns of what is no resource of its own.
const SCALE_COLUMNS: &str = "Name:string@0 | Desired:integer@0 | Available:integer@0 | Age:string@0";

impl Kind {
    /// The `apiVersion` of its objects: `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whose name is in its messages: group and plural as served.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        ResourceId { group: self.group.clone(), resource: self.resource.clone() }
    }

    /// The kind of a request's body that is no resource itself: Scale, Eviction, DeleteOptions.
    /// Nothing can be done with it but to decode and to encode it.
    #[must_use]
    pub fn of_body(group: &str, version: &str, kind: &str) -> Option<Self> {
        let ty = builtin_types::of_kind(group, version, kind)?;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Some(Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            list_kind: "".into(),
            resource: "".into(),
            singular: "".into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: Vec::new(),
            subresources: Vec::new(),
            ty: TypeRef::Named(ty),
            columns: if kind == "Scale" { read_columns(SCALE_COLUMNS) } else { Vec::new() },
            selectable: Vec::new(),
            storage: ResourceId::new(group, ""),
            storage_version: api_version.into(),
            rules: rules::for_kind(group, kind),
            custom: None,
        })
    }

    /// How its objects are written in protobuf; custom resources are not.
    #[must_use]
    pub fn message(&self) -> Option<&'static Message> {
        match &self.ty {
            TypeRef::Named(named) => Some(named.message()),
            TypeRef::Inline(_) => None,
        }
    }

    /// Objects of it can be read: it is more than a question that is answered on creation.
    #[must_use]
    pub fn stored(&self) -> bool {
        self.has_verb("list") && self.has_verb("create")
    }

    /// That may be done with it.
    #[must_use]
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| &**v == verb)
    }

    /// The path of that name below its objects.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| &*s.name == name)
    }

    /// A delete that is done is answered with a Status: that of most kinds. Those with a grace answer with the object.
    #[must_use]
    pub fn deletes_with_status(&self) -> bool {
        let own = match &*self.group {
            "" => &[
                "Pod",
                "Service",
                "ServiceAccount",
                "PersistentVolume",
                "PersistentVolumeClaim",
                "ResourceQuota",
                "PodTemplate",
            ][..],
            "storage.k8s.io" => &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"],
            "resource.k8s.io" => &["ResourceClaim", "ResourceClaimTemplate", "DeviceClass", "ResourceSlice"],
            _ => &[],
        };
        !own.contains(&&*self.kind)
    }
}

/// The kinds at one moment. Cheap to clone; [`Registry::with`] makes the next one.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: Arc<Vec<Arc<Kind>>>,
    /// Positions in `kinds`, sorted by plural, group and version: plurals differ soonest.
    by_resource: Arc<[usize]>,
    /// Positions in `kinds`, sorted by kind, group and version.
    by_kind: Arc<[usize]>,
}

static BUILTIN: LazyLock<Registry> = LazyLock::new(|| {
    Registry::new(include_str!("../data/kinds.tsv").lines().filter_map(read_kind).map(Arc::new).collect())
});

impl Registry {
    /// The kinds of Kubernetes itself.
    #[must_use]
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// Of these kinds. Groups and versions are published in this order; a later row of the same
    /// path is not reached.
    #[must_use]
    pub fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let sorted = |key: fn(&Kind) -> [&str; 3]| {
            let mut order: Vec<usize> = (0..kinds.len()).collect();
            order.sort_by(|a, b| key(&kinds[*a]).cmp(&key(&kinds[*b])));
            order.dedup_by(|later, first| key(&kinds[*later]) == key(&kinds[*first]));
            Arc::from(order)
        };
        let (by_resource, by_kind) = (sorted(resource_key), sorted(kind_key));
        Self { kinds: Arc::new(kinds), by_resource, by_kind }
    }

    /// The same with these kinds behind its own (those of CRDs).
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = Arc<Kind>>) -> Self {
        Self::new(self.kinds.iter().cloned().chain(more).collect())
    }

    /// The kind at that path.
    #[must_use]
    pub fn by_resource(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        self.find(&self.by_resource, resource_key, [resource, group, version])
    }

    /// The kind of that name.
    #[must_use]
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.find(&self.by_kind, kind_key, [kind, group, version])
    }

    /// The kind of that plural in the first version of the group that has it.
    #[must_use]
    pub fn by_plural(&self, group: &str, resource: &str) -> Option<&Arc<Kind>> {
        let before = |at: &usize| resource_key(&self.kinds[*at]) < [resource, group, ""];
        let first = &self.kinds[*self.by_resource.get(self.by_resource.partition_point(before))?];
        (*first.resource == *resource && *first.group == *group).then_some(first)
    }

    /// All of them, in the order in which they are published.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.iter()
    }

    /// Those of one group and version.
    pub(crate) fn of_version(&self, group: &str, version: &str) -> Vec<&Arc<Kind>> {
        self.iter().filter(|kind| &*kind.group == group && &*kind.version == version).collect()
    }

    fn find(&self, order: &[usize], key: fn(&Kind) -> [&str; 3], wanted: [&str; 3]) -> Option<&Arc<Kind>> {
        order.binary_search_by(|i| key(&self.kinds[*i]).cmp(&wanted)).ok().map(|at| &self.kinds[order[at]])
    }
}

fn resource_key(kind: &Kind) -> [&str; 3] {
    [&kind.resource, &kind.group, &kind.version]
}

fn kind_key(kind: &Kind) -> [&str; 3] {
    [&kind.kind, &kind.group, &kind.version]
}

/// Reads a row of `data/kinds.tsv`.
fn read_kind(row: &'static str) -> Option<Kind> {
    let mut columns = row.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let (group, version, resource, kind, scope) = (next(), next(), next(), next(), next());
    let (short, categories, verbs, subresources) = (next(), next(), next(), next());
    let (schema, columns_text, selectable) = (next(), next(), next());
    let (storage_group, storage_version) = storage_of(group, version, resource);
    Some(Kind {
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        resource: resource.into(),
        singular: kind.to_lowercase().into(),
        short_names: split(short, ','),
        categories: split(categories, ','),
        namespaced: scope == "namespaced",
        verbs: split(verbs, ','),
        subresources: subresources.split(' ').filter_map(|text| read_subresource(text, group, version)).collect(),
        ty: TypeRef::named(schema)?,
        columns: read_columns(columns_text),
        selectable: split(selectable, ','),
        storage: ResourceId::new(storage_group, resource),
        storage_version: storage_version.into(),
        rules: rules::for_kind(group, kind),
        custom: None,
    })
}

/// The group and the `apiVersion` in which objects are kept, for those that are served in several.
fn storage_of<'a>(group: &'a str, version: &'a str, resource: &str) -> (&'a str, String) {
    match (group, resource) {
        ("events.k8s.io", "events") => ("", "v1".into()),
        ("autoscaling", "horizontalpodautoscalers") => (group, "autoscaling/v2".into()),
        ("", _) => (group, version.into()),
        _ => (group, format!("{group}/{version}")),
    }
}

fn split(text: &str, separator: char) -> Vec<Arc<str>> {
    text.split(separator).filter(|part| !part.is_empty()).map(Arc::from).collect()
}

/// `scale=autoscaling/v1.Scale:get,patch,update`; without a group it is the kind's own.
fn read_subresource(text: &str, group: &str, version: &str) -> Option<Subresource> {
    let (name, rest) = text.split_once('=')?;
    let (kind, verbs) = rest.split_once(':')?;
    let (group, version, kind) = match kind.split_once('/') {
        None => (group, version, kind),
        Some((group, rest)) => {
            let (version, kind) = rest.split_once('.')?;
            (group, version, kind)
        }
    };
    let verbs = split(verbs, ',');
    Some(Subresource { name: name.into(), group: group.into(), version: version.into(), kind: kind.into(), verbs })
}

/// `Name:string:name@0 | Age:string@0`.
fn read_columns(text: &'static str) -> Vec<Column> {
    text.split(" | ").filter_map(read_column).collect()
}

/// `Name:string:name@0`.
fn read_column(text: &'static str) -> Option<Column> {
    let (rest, priority) = text.rsplit_once('@')?;
    let mut parts = rest.split(':');
    let (name, ty, format) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    Some(Column {
        name: name.into(),
        ty: ty.into(),
        format: format.into(),
        priority: priority.parse().ok()?,
        description: "".into(),
        json_path: "".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_kind() {
        let registry = Registry::builtin();
        assert_eq!(registry.iter().count(), include_str!("../data/kinds.tsv").lines().count());
        for kind in registry.iter() {
            assert!(registry.by_resource(&kind.group, &kind.version, &kind.resource).is_some());
        }
    }

    #[test]
    fn bodies_that_are_no_resources_have_a_kind_too() {
        for (group, kind) in [("autoscaling", "Scale"), ("policy", "Eviction"), ("", "DeleteOptions")] {
            let kind = Kind::of_body(group, "v1", kind).unwrap();
            assert!(matches!(kind.ty.get(), crate::field_table::Type::Struct(_)));
        }
        assert!(Kind::of_body("", "v1", "Nope").is_none());
    }

    #[test]
    fn a_scale_is_of_another_group() {
        let registry = Registry::builtin();
        let scale = registry.by_resource("apps", "v1", "deployments").unwrap().subresource("scale").cloned().unwrap();
        assert_eq!((&*scale.group, &*scale.version, &*scale.kind), ("autoscaling", "v1", "Scale"));
    }
}
