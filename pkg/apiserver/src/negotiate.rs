// SPDX-License-Identifier: Apache-2.0
//! In what form and encoding a client wants its answer.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources>

use knarr_schema::decode::internal_package;
use knarr_schema::table::IncludeObject;
use knarr_schema::{Kind, MediaType};
use knarr_types::{Reason, Status, StatusDetails};

use crate::query::Query;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Encoding {
    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch; there is none in YAML.
    #[must_use]
    pub const fn stream_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            other => other.media_type(),
        }
    }
}

/// All encodings, the one that is preferred first.
const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];
/// What can be asked for, as errors say it.
pub const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// What can be asked for of a watch.
pub const STREAM_TYPES: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// What of an object is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// All of it.
    #[default]
    Object,
    /// A row of a table.
    Table {
        /// What the row carries of the object.
        include: IncludeObject,
        /// For clients of `meta.k8s.io/v1beta1`.
        beta: bool,
    },
    /// Its metadata.
    Metadata {
        /// For clients of `meta.k8s.io/v1beta1`.
        beta: bool,
        /// That of a list was asked for.
        list: bool,
    },
}

impl Form {
    /// A small number that no other form has: for caches.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Object => 0,
            Self::Metadata { beta, .. } => 1 + beta as u64,
            Self::Table { include, beta } => {
                let include = match include {
                    IncludeObject::None => 0,
                    IncludeObject::Metadata => 1,
                    IncludeObject::Object => 2,
                };
                3 + include * 2 + beta as u64
            }
        }
    }
}

/// What is sent, and how it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What.
    pub form: Form,
    /// How.
    pub encoding: Encoding,
}

/// The most frequent ways to ask for an object as it is, in JSON.
fn is_default(accept: &str) -> bool {
    matches!(accept, "" | "*/*" | "application/json")
}

/// The best of what `accept` asks for that there is of objects of `kind`.
///
/// # Errors
/// 406 where nothing of it is, 400 where `includeObject` makes no sense.
pub fn answer(accept: &str, query: &Query, kind: &Kind) -> Result<Answer, Status> {
    answer_below(accept, query, kind, "")
}

/// The same for a view of an object: a subresource. Upstream draws no tables of some.
///
/// # Errors
/// As [`answer`].
pub fn answer_below(accept: &str, query: &Query, kind: &Kind, subresource: &str) -> Result<Answer, Status> {
    let mut answer = acceptable(accept, kind, subresource)?;
    if let Form::Table { include, .. } = &mut answer.form {
        *include = include_object(query)?;
    }
    Ok(answer)
}

/// The same before anything is done, when nobody has looked yet at what a table is to include.
///
/// # Errors
/// 406 where nothing is there of what `accept` asks for.
pub fn acceptable(accept: &str, kind: &Kind, subresource: &str) -> Result<Answer, Status> {
    if is_default(accept) {
        return Ok(Answer::default());
    }
    let has_table = has_table(&kind.resource, subresource) || kind.custom.is_some();
    let fits = |clause: &Clause<'_>, encoding| {
        let form = form(clause, encoding, kind).filter(|form| has_table || !matches!(form, Form::Table { .. }))?;
        Some(Answer { form, encoding })
    };
    first(accept, fits).ok_or_else(|| not_acceptable(MEDIA_TYPES))
}

/// Whether there is a table of that view of built-in objects.
fn has_table(resource: &str, subresource: &str) -> bool {
    match subresource {
        "finalize" | "ephemeralcontainers" | "resize" | "approval" => false,
        "status" => !matches!(resource, "apiservices" | "customresourcedefinitions" | "resourceclaims"),
        _ => true,
    }
}

/// Metadata are asked for by the name that fits: that of a list for a list, and that of one object for one.
/// Upstream sees it once it has what was asked for.
///
/// # Errors
/// 406 where the name does not fit.
pub fn fits(answer: Answer, kind: &Kind, of_list: bool) -> Result<(), Status> {
    let (asked, is, name) = match answer.form {
        Form::Metadata { list: false, .. } if of_list => ("PartialObjectMetadata", "is a list", &*kind.list_kind),
        Form::Metadata { list: true, .. } if !of_list => ("PartialObjectMetadataList", "is not a list", &*kind.kind),
        _ => return Ok(()),
    };
    let (package, name) = match (&kind.custom, of_list) {
        (None, _) => (internal_package(&kind.group), name),
        (Some(_), true) => ("unstructured", "UnstructuredList"),
        (Some(_), false) => ("unstructured", "Unstructured"),
    };
    let message = format!("you requested {asked}, but the requested object {is} (*{package}.{name})");
    Err(Status::new(406, Reason::NotAcceptable, message))
}

/// The best of what `accept` asks for that there is of the answer to an action, or of a log: they have metadata, but no
/// table.
///
/// # Errors
/// 406 where there is nothing.
pub fn action_answer(accept: &str) -> Result<Answer, Status> {
    if is_default(accept) {
        return Ok(Answer::default());
    }
    let fits = |clause: &Clause<'_>, encoding| {
        let form = if clause.is_plain() { Some(Form::Object) } else { clause.transformed(encoding) };
        let form = form.filter(|form| clause.streams(encoding) && !matches!(form, Form::Table { .. }))?;
        Some(Answer { form, encoding })
    };
    first(accept, fits).ok_or_else(|| not_acceptable(MEDIA_TYPES))
}

/// What [`answer`] gives for a watch.
///
/// # Errors
/// As [`answer`], and 406 where it would be YAML.
pub fn stream_answer(accept: &str, query: &Query, kind: &Kind) -> Result<Answer, Status> {
    let answer = answer(accept, query, kind)?;
    if answer.encoding == Encoding::Yaml { Err(not_acceptable(STREAM_TYPES)) } else { Ok(answer) }
}

/// The encoding of what is no resource and has one form only: discovery, a Status. `None` where
/// nothing of what `accept` asks for is there.
#[must_use]
pub fn encoding(accept: &str) -> Option<Encoding> {
    if accept.is_empty() {
        return Some(Encoding::Json);
    }
    first(accept, |clause, encoding| (clause.is_plain() && clause.streams(encoding)).then_some(encoding))
}

/// Nothing of what a client accepts is there.
#[must_use]
pub fn not_acceptable(types: &str) -> Status {
    let message = format!("only the following media types are accepted: {types}");
    Status::new(406, Reason::NotAcceptable, message)
}

/// What of an object a clause asks for; `None` where the kind has it not in that encoding.
fn form(clause: &Clause<'_>, encoding: Encoding, kind: &Kind) -> Option<Form> {
    if !clause.streams(encoding) || !matches!(clause.parameter("sv"), None | Some("" | "v1")) {
        return None;
    }
    if clause.is_plain() {
        // Custom resources have no numbers for their fields.
        return (encoding != Encoding::Protobuf || kind.message().is_some()).then_some(Form::Object);
    }
    clause.transformed(encoding)
}

/// The first encoding that fits a clause, the best clause first.
fn first<T>(accept: &str, fits: impl Fn(&Clause<'_>, Encoding) -> Option<T>) -> Option<T> {
    let clauses = Clause::all(accept);
    let pairs = clauses.iter().flat_map(|clause| ENCODINGS.map(|encoding| (clause, encoding)));
    pairs.filter(|(clause, encoding)| clause.covers(*encoding)).find_map(|(clause, encoding)| fits(clause, encoding))
}

/// How the client wants to be told of all groups at once, if it does: a clause that asks for them counts before any that
/// does not.
pub fn aggregated_discovery(accept: &str) -> Option<Encoding> {
    let asked = [("g", "apidiscovery.k8s.io"), ("v", "v2"), ("as", "APIGroupDiscoveryList")];
    first(accept, |clause, encoding| {
        asked.iter().all(|(name, value)| clause.parameter(name) == Some(*value)).then_some(encoding)
    })
}

/// Of these media types the one that the client likes best; the first one where it does not say.
pub fn prefers<'t>(accept: &str, types: &[&'t str]) -> Option<&'t str> {
    let clauses = Clause::all(if accept.is_empty() { "*/*" } else { accept });
    let covers = |clause: &Clause<'_>, name: &str| {
        let (ty, subtype) = name.split_once('/').unwrap_or_default();
        (clause.ty == "*" || clause.ty == ty) && (clause.subtype == "*" || clause.subtype == subtype)
    };
    clauses.iter().find_map(|clause| types.iter().copied().find(|name| covers(clause, name)))
}

/// One of the things that a client accepts.
#[derive(Debug)]
struct Clause<'a> {
    ty: &'a str,
    subtype: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    /// The clauses of a header, the best first.
    fn all(accept: &'a str) -> Vec<Self> {
        let mut clauses: Vec<Self> = Vec::new();
        for clause in accept.split(',').filter_map(|text| Self::parse(text.trim())) {
            let at = clauses.iter().rposition(|before| !clause.is_before(before)).map_or(0, |at| at + 1);
            clauses.insert(at, clause);
        }
        clauses
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let media = parts.next()?;
        let (ty, subtype) = match media.split_once('/') {
            Some((_, subtype)) if subtype.contains('/') => return None,
            Some((ty, subtype)) => (ty.trim(), subtype.trim()),
            None if media.trim() == "*" => ("*", "*"),
            None => return None,
        };
        let mut clause = Self { ty, subtype, quality: 1.0, parameters: Vec::new() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')).filter(|(_, value)| !value.contains('=')) {
            match name.trim() {
                "q" => clause.quality = value.parse().unwrap_or_default(),
                name => clause.parameters.push((name, value.trim())),
            }
        }
        Some(clause)
    }

    /// Upstream's order is none in the strict sense: a name counts before a wildcard whatever their qualities, so it
    /// matters what is compared with what.
    fn is_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.ty != "*" && other.ty == "*")
            || (self.subtype != "*" && other.subtype == "*")
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Nothing else than the object itself is asked for.
    fn is_plain(&self) -> bool {
        ["as", "g", "v"].iter().all(|name| self.parameter(name).is_none_or(str::is_empty))
    }

    /// What is asked for in place of an object.
    fn transformed(&self, encoding: Encoding) -> Option<Form> {
        let beta = match (self.parameter("g"), self.parameter("v")) {
            (Some("meta.k8s.io"), Some("v1")) => false,
            (Some("meta.k8s.io"), Some("v1beta1")) => true,
            _ => return None,
        };
        match self.parameter("as")? {
            "Table" if encoding != Encoding::Protobuf => Some(Form::Table { include: IncludeObject::default(), beta }),
            "PartialObjectMetadata" => Some(Form::Metadata { beta, list: false }),
            "PartialObjectMetadataList" => Some(Form::Metadata { beta, list: true }),
            _ => None,
        }
    }

    /// The encoding has the stream that is asked for, if any is.
    fn streams(&self, encoding: Encoding) -> bool {
        match self.parameter("stream") {
            None | Some("") => true,
            Some(stream) => stream == "watch" && encoding != Encoding::Yaml,
        }
    }

    fn covers(&self, encoding: Encoding) -> bool {
        let (ty, subtype) = encoding.media_type().split_once('/').unwrap_or_default();
        match (self.ty, self.subtype) {
            ("*", "*") => true,
            (own, "*") => own == ty,
            (own, below) => own == ty && below == subtype,
        }
    }
}

fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    match query.filled("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', \
             'None', or empty"
        ))),
    }
}

/// How a request's body is written.
///
/// # Errors
/// 415 where it is neither JSON nor YAML nor protobuf.
pub fn body_media(content_type: &str) -> Result<MediaType, Status> {
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(MediaType::Json),
        "application/yaml" => Ok(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(MediaType::Protobuf),
        _ => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {MEDIA_TYPES}"
            );
            Err(Status::new(415, Reason::UnsupportedMediaType, message))
        }
    }
}

/// Whether the router lets a request on to its handler: it looks for the plain names of what there is,
/// without wildcards of a part and without qualities, before anything else does.
///
/// # Errors
/// 406 where none of `types` is accepted.
pub fn routed(accept: &str, types: &[&str]) -> Result<(), Status> {
    let plain = |clause: &str| clause.split(';').next().unwrap_or_default().trim().to_owned();
    let accepted = |name: String| name == "*/*" || types.contains(&name.as_str());
    let is_usual = is_default(accept) && types.contains(&"application/json");
    if is_usual || accept.is_empty() || accept.split(',').map(plain).any(accepted) {
        return Ok(());
    }
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", types.join(", "));
    Err(Status::new(406, Reason::NotAcceptable, message).with_details(StatusDetails::default()))
}

/// What the routes of logs answer with.
pub const LOG_ROUTE: [&str; 4] =
    ["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What the routes of objects answer with.
pub const OBJECT_ROUTE: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What the routes of collections answer with.
pub const COLLECTION_ROUTE: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_schema::Registry;

    use super::*;

    fn kind(group: &str, kind: &str) -> Arc<Kind> {
        Arc::clone(Registry::builtin().by_kind(group, "v1", kind).unwrap())
    }

    #[test]
    fn the_best_form_that_there_is_wins() {
        let pod = kind("", "Pod");
        let check = |accept: &str| answer(accept, &Query::default(), &pod).map(|a| (a.form.number(), a.encoding));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        for (accept, want) in [
            ("", (0, Encoding::Json)),
            ("*/*", (0, Encoding::Json)),
            (&format!("{table},application/json"), (5, Encoding::Json)),
            ("application/vnd.kubernetes.protobuf,application/yaml", (0, Encoding::Protobuf)),
            ("application/json;as=Other;v=v1;g=meta.k8s.io,application/yaml", (0, Encoding::Yaml)),
            ("application/json;q=0.5, application/yaml;q=0.9", (0, Encoding::Yaml)),
            ("*/*, application/yaml", (0, Encoding::Yaml)),
            ("application/*, application/yaml;q=0.2", (0, Encoding::Yaml)),
            (metadata, (1, Encoding::Protobuf)),
            (&format!("{},*/*;q=0.1", table.replace("json", "vnd.kubernetes.protobuf")), (0, Encoding::Json)),
        ] {
            assert_eq!(check(accept).unwrap(), want, "{accept}");
        }
        for accept in ["text/html", "foo", "a/b/c", "application/json;stream=other", "application/yaml;stream=watch"] {
            assert_eq!(check(accept).unwrap_err().code, 406, "{accept}");
        }
        let yaml_watch = stream_answer("application/yaml", &Query::default(), &pod).unwrap_err();
        assert!(yaml_watch.message.ends_with(STREAM_TYPES));
    }

    #[test]
    fn custom_resources_are_protobuf_only_as_metadata() {
        let mut foo = Kind::clone(&kind("", "ConfigMap"));
        foo.ty = knarr_schema::field_table::TypeRef::of(knarr_schema::field_table::Type::Any);
        let check = |accept: &str| answer(accept, &Query::default(), &foo).map(|a| a.encoding).map_err(|e| e.code);
        assert_eq!(check("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(check("application/vnd.kubernetes.protobuf,application/json"), Ok(Encoding::Json));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(check(metadata), Ok(Encoding::Protobuf));
    }

    #[test]
    fn the_router_knows_only_plain_names() {
        for (accept, routed_on) in [
            ("", true),
            ("application/yaml;q=0", true),
            ("text/html, */*;q=0.1", true),
            ("application/*", false),
            ("text/html", false),
        ] {
            assert_eq!(routed(accept, &OBJECT_ROUTE).is_ok(), routed_on, "{accept}");
        }
        let keys = ["application/jwk-set+json"];
        for (accept, routed_on) in [("", true), ("*/*", true), (keys[0], true), ("application/json", false)] {
            assert_eq!(routed(accept, &keys).is_ok(), routed_on, "{accept}");
        }
    }

    #[test]
    fn all_groups_at_once_are_told_to_those_who_ask() {
        let asked = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        for (accept, want) in [
            (asked.to_owned(), Some(Encoding::Json)),
            (format!("application/json,{asked};q=0.1"), Some(Encoding::Json)),
            (asked.replace("json", "yaml"), Some(Encoding::Yaml)),
            (asked.replace("json", "vnd.kubernetes.protobuf"), Some(Encoding::Protobuf)),
            (asked.replace("v2", "v2beta1"), None),
            ("application/json".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(aggregated_discovery(&accept), want, "{accept}");
        }
    }

    #[test]
    fn the_form_of_a_document_is_the_one_that_is_liked_best() {
        let types = ["application/json", "application/x@v1"];
        for (accept, want) in [
            ("", Some(types[0])),
            ("*/*", Some(types[0])),
            ("application/*", Some(types[0])),
            ("application/x@v1", Some(types[1])),
            ("application/json;q=0.1,application/x@v1", Some(types[1])),
            ("text/html", None),
            ("text/html,*/*;q=0.1", Some(types[0])),
        ] {
            assert_eq!(prefers(accept, &types), want, "{accept}");
        }
    }

    #[test]
    fn some_views_have_no_table() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let pod = kind("", "Pod");
        for (subresource, drawn) in [("", true), ("status", true), ("resize", false), ("ephemeralcontainers", false)] {
            let answer = answer_below(table, &Query::default(), &pod, subresource);
            assert_eq!(answer.is_ok(), drawn, "{subresource}");
        }
        assert!(!has_table("resourceclaims", "status") && !has_table("namespaces", "finalize"));
    }

    #[test]
    fn actions_have_no_table() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(action_answer(table).unwrap_err().code, 406);
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        for accept in ["", "*/*", "application/json", &format!("{table},application/json"), metadata] {
            assert!(action_answer(accept).is_ok(), "{accept}");
        }
        let form = action_answer(&metadata.replace("json", "yaml")).unwrap();
        assert_eq!(form, Answer { form: Form::Metadata { beta: false, list: false }, encoding: Encoding::Yaml });
        assert_eq!(action_answer("application/json;as=;g=;v=").unwrap(), Answer::default());
        assert_eq!(action_answer("text/plain").unwrap_err().code, 406);
    }
}
