// SPDX-License-Identifier: Apache-2.0
//! In what form and encoding a client wants its answer.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources>

use knarr_schema::table::IncludeObject;
use knarr_types::{Reason, Status};

use crate::query::Query;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Encoding {
    /// The media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

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
    },
}

impl Form {
    /// A small number that no other form has: for caches.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Object => 0,
            Self::Metadata { beta } => 1 + beta as u64,
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

/// The best of what `accept` asks for that there is.
///
/// # Errors
/// 406 where nothing of it is, 400 where `includeObject` makes no sense.
pub fn answer(accept: &str, query: &Query) -> Result<Answer, Status> {
    let accept = if accept.trim().is_empty() { "*/*" } else { accept };
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let encoding = match parts.next().unwrap_or_default() {
            "application/json" | "*/*" | "application/*" => Encoding::Json,
            "application/yaml" | "text/yaml" => Encoding::Yaml,
            _ => continue,
        };
        let parameters: Vec<_> = parts.filter_map(|p| p.split_once('=')).collect();
        let parameter = |name: &str| parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let beta = parameter("v") == Some("v1beta1");
        let form = match parameter("as") {
            None => Form::Object,
            Some(_)
                if parameter("g") != Some("meta.k8s.io")
                    || !["v1", "v1beta1"].contains(&parameter("v").unwrap_or_default()) =>
            {
                continue;
            }
            Some("Table") => Form::Table { include: include_object(query)?, beta },
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata { beta },
            Some(_) => continue,
        };
        return Ok(Answer { form, encoding });
    }
    let message = "only the following media types are accepted: application/json, application/yaml";
    Err(Status::new(406, Reason::NotAcceptable, message))
}

fn include_object(query: &Query) -> Result<IncludeObject, Status> {
    match query.filled("includeObject") {
        None | Some("Metadata") => Ok(IncludeObject::Metadata),
        Some("None") => Ok(IncludeObject::None),
        Some("Object") => Ok(IncludeObject::Object),
        Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

/// How a request's body is written.
///
/// # Errors
/// 415 where it is neither JSON nor YAML.
pub fn body_media(content_type: &str) -> Result<knarr_schema::MediaType, Status> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "*/*" => Ok(knarr_schema::MediaType::Json),
        "application/yaml" | "text/yaml" => Ok(knarr_schema::MediaType::Yaml),
        other => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml, got {other}"
            );
            Err(Status::new(415, Reason::UnsupportedMediaType, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_wins() {
        let check = |accept: &str| answer(accept, &Query::default()).map(|a| (a.form.number(), a.encoding));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(check("").unwrap(), (0, Encoding::Json));
        assert_eq!(check(&format!("{table},application/json")).unwrap(), (5, Encoding::Json));
        assert_eq!(check("application/vnd.kubernetes.protobuf,application/yaml").unwrap(), (0, Encoding::Yaml));
        assert_eq!(check("application/json;as=Other;v=v1;g=meta.k8s.io,application/json").unwrap().0, 0);
        assert_eq!(check("text/html").unwrap_err().code, 406);
    }
}
