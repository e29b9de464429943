// SPDX-License-Identifier: Apache-2.0
//! Manifests from files, folders and standard input.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde_json::Value;

use crate::error::CtlError;
use crate::resources::Resource;
use crate::session::Session;

/// The objects in these files, in their order; lists are taken apart.
pub(crate) fn read(files: &[PathBuf], recursive: bool) -> Result<Vec<Value>, CtlError> {
    let mut objects = Vec::new();
    for file in files {
        for path in expand(file, recursive)? {
            let text = contents(&path)?;
            objects.extend(documents(&text, &path.display().to_string())?);
        }
    }
    if objects.is_empty() {
        return Err(CtlError::usage("no objects passed: the files have no manifests"));
    }
    Ok(objects)
}

/// A file itself; of a folder its manifests, by name.
fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, CtlError> {
    if path != Path::new("-") && !path.exists() {
        return Err(CtlError::usage(format!("the path {:?} does not exist", path.display().to_string())));
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |e| CtlError::io(path.display().to_string(), e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let is_manifest = entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() && recursive {
            found.extend(expand(&entry, true)?);
        } else if entry.is_file() && is_manifest {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn contents(path: &Path) -> Result<String, CtlError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|t| text = t)
    };
    read.map_err(|e| CtlError::io(format!("cannot read {}", path.display()), e))?;
    Ok(text)
}

/// The objects of a YAML or JSON text with any number of documents.
fn documents(text: &str, file: &str) -> Result<Vec<Value>, CtlError> {
    let mut objects = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|e| CtlError::usage(format!("{file}: {e}")))?;
        match value {
            Value::Null => {}
            Value::Object(mut list)
                if list.get("kind").and_then(Value::as_str).is_some_and(|k| k.ends_with("List"))
                    && list.contains_key("items") =>
            {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            Value::Object(_) => objects.push(value),
            other => return Err(CtlError::usage(format!("{file}: a manifest must be an object, not {other}"))),
        }
    }
    Ok(objects)
}

/// An object of a manifest with where it belongs.
pub(crate) struct Target<'a> {
    pub resource: &'a Resource,
    pub namespace: Option<String>,
    pub name: String,
    pub object: DynamicObject,
}

impl<'a> Target<'a> {
    /// Finds the resource of `object`; its namespace is its own, or the session's.
    pub async fn of(session: &'a Session, object: Value) -> Result<Self, CtlError> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() || kind.is_empty() {
            return Err(CtlError::usage("a manifest has no apiVersion or no kind"));
        }
        let resource = session.resources().await?.of(&api_version, &kind)?;
        let mut object: DynamicObject =
            serde_json::from_value(object).map_err(|e| CtlError::usage(format!("{kind}: {e}")))?;
        let namespace =
            resource.namespaced.then(|| object.metadata.namespace.clone().unwrap_or_else(|| session.namespace.clone()));
        object.metadata.namespace.clone_from(&namespace);
        let name = object.metadata.name.clone().unwrap_or_default();
        Ok(Self { resource, namespace, name, object })
    }

    /// `deployment.apps/web`.
    pub fn label(&self) -> String {
        format!("{}/{}", self.resource.qualified(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "a: 1\n---\n# nothing\n---\nkind: List\nitems:\n- b: 2\n- c: 3\n";
        let objects = documents(text, "f").unwrap();
        assert_eq!(objects.len(), 3);
        assert_eq!(documents("{\"a\": 1}", "f").unwrap().len(), 1);
    }

    #[test]
    fn faults_name_the_file() {
        assert!(documents("a: [", "web.yaml").unwrap_err().to_string().starts_with("web.yaml: "));
        assert!(documents("- a", "web.yaml").unwrap_err().to_string().contains("must be an object"));
    }
}
