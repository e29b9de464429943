// SPDX-License-Identifier: Apache-2.0
//! Which objects of a collection a request is about: its selectors and its namespace.

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_store::{Record, Scope, Snapshot};
use knarr_types::Status;
use knarr_types::selector::{FieldSelector, LabelSelector};

use crate::query::Query;
use crate::read::namespace_of;
use crate::request::RequestContext;

/// The selectors of a request.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Where to look.
    pub scope: Scope,
    labels: LabelSelector,
    fields: FieldSelector,
    /// How the stored version calls a field of the request's.
    stored_name: fn(&str) -> &str,
}

/// The selectors of a request, read but not yet judged.
pub(crate) struct Selectors {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selectors {
    /// Reads the query's selectors.
    ///
    /// # Errors
    /// 400 where one is none.
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        let text = |name: &str| query.get(name).unwrap_or_default();
        let labels = LabelSelector::parse(text("labelSelector")).map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = FieldSelector::parse(text("fieldSelector")).map_err(|e| Status::bad_request(e.to_string()))?;
        Ok(Self { labels, fields })
    }

    /// What they select of the objects of `kind`.
    ///
    /// # Errors
    /// 400 where a field of it cannot be selected by.
    pub(crate) fn select(
        self,
        context: &RequestContext,
        kind: &Kind,
        snapshot: &Snapshot,
    ) -> Result<Selection, Status> {
        let Self { labels, fields } = self;
        for term in fields.terms() {
            if !kind.selectable.iter().any(|f| **f == *term.field) {
                return Err(not_selectable(kind, &term.field));
            }
        }
        let fields = match context.info.name.as_str() {
            name if context.info.verb == "watch" && !name.is_empty() => of_one(fields, name)?,
            _ => fields,
        };
        let scope = scope(&namespace_of(kind, context), &fields, snapshot);
        let stored_name = if &*kind.group == "events.k8s.io" { core_event_field } else { as_it_is };
        Ok(Selection { scope, labels, fields, stored_name })
    }
}

impl Selection {
    /// Whether it selects everything in its scope.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether a record is selected.
    #[must_use]
    pub fn contains(&self, record: &Record) -> bool {
        self.scope.contains(record)
            && (self.labels.is_everything() || self.labels.matches(&record.labels))
            && self.fields.terms().iter().all(|term| {
                let value = match term.field.as_str() {
                    "metadata.name" => &*record.key.name,
                    "metadata.namespace" => &*record.key.namespace,
                    other => record.field((self.stored_name)(other)).map_or("", |v| v),
                };
                (value == term.value) != term.negated
            })
    }
}

/// The selector of a watch whose path names one object, in the old form of watches.
fn of_one(fields: FieldSelector, name: &str) -> Result<FieldSelector, Status> {
    if fields.is_everything() {
        return FieldSelector::parse(&format!("metadata.name={name}")).map_err(|e| Status::bad_request(e.to_string()));
    }
    if fields.exactly("metadata.name") == Some(name) {
        return Ok(fields);
    }
    Err(Status::bad_request("fieldSelector metadata.name doesn't match requested name"))
}

fn as_it_is(name: &str) -> &str {
    name
}

/// Events of the newer group are stored as the core's, whose fields have other names.
fn core_event_field(name: &str) -> &str {
    match name {
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        other => other,
    }
}

/// The narrowest place where all that is selected must be.
fn scope(namespace: &str, fields: &FieldSelector, snapshot: &Snapshot) -> Scope {
    let namespace =
        if namespace.is_empty() { fields.exactly("metadata.namespace").unwrap_or_default() } else { namespace };
    if let (Some(name), false) = (fields.exactly("metadata.name"), namespace.is_empty()) {
        return Scope::Object { namespace: namespace.into(), name: name.into() };
    }
    let indexed = fields.terms().iter().find(|t| !t.negated && snapshot.is_indexed(&t.field));
    match indexed {
        // An index spans all namespaces; within one, walking that one is as good.
        Some(term) if namespace.is_empty() => {
            Scope::Index { field: term.field.as_str().into(), value: term.value.as_str().into() }
        }
        _ if namespace.is_empty() => Scope::All,
        _ => Scope::Namespace(Arc::from(namespace)),
    }
}

/// Kinds with selectable fields of their own have words of their own in upstream.
fn not_selectable(kind: &Kind, field: &str) -> Status {
    const NAMES: &str = "only \"metadata.name\", \"metadata.namespace\"";
    let own = kind.custom.is_some()
        || kind.selectable.iter().any(|field| !["metadata.name", "metadata.namespace"].contains(&&**field));
    Status::bad_request(match (own, &*kind.kind) {
        (true, "Job") => format!("field label {field:?} not supported for Job"),
        (true, "ResourceSlice") => {
            format!("field label not supported for {}, Kind={}: {field}", kind.api_version(), kind.kind)
        }
        (true, _) => format!("field label not supported: {field}"),
        (false, _) => format!("{field:?} is not a known field selector: {NAMES}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_names_an_object_selects_that_one() {
        let selected = |text: &str| of_one(FieldSelector::parse(text).unwrap(), "a").map_err(|status| status.code);
        assert_eq!(selected("").unwrap().exactly("metadata.name"), Some("a"));
        assert_eq!(selected("metadata.name=a,metadata.namespace=n").unwrap().terms().len(), 2);
        for other in ["metadata.name=b", "metadata.name!=a", "metadata.namespace=n"] {
            assert_eq!(selected(other).err(), Some(400), "{other}");
        }
    }
}
