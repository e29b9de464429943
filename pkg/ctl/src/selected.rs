// SPDX-License-Identifier: Apache-2.0
//! The objects that a selection means: by file, by name, or by type with selectors.

use kube::api::ListParams;

use crate::args::Selection;
use crate::error::CtlError;
use crate::manifest::{Target, read};
use crate::resources::{Named, Resource, named};
use crate::session::Session;

/// An object: what it is one of, its namespace, its name.
pub(crate) type Selected = (Resource, Option<String>, String);

/// Finds them. Whole types want `all` or a selector; of several types only those count whose objects can do `verb`.
///
/// # Errors
/// What kubectl refuses to take together, a file or type that is not known, or the server's answer.
pub(crate) async fn selected(
    session: &Session,
    selection: &Selection,
    all: bool,
    verb: &str,
) -> Result<Vec<Selected>, CtlError> {
    selection.check()?;
    let mut found = Vec::new();
    if !selection.files.is_empty() {
        for object in read(&selection.files, selection.recursive)? {
            let target = Target::of(session, object).await?;
            found.push((target.resource.clone(), target.namespace, target.name));
        }
        return Ok(found);
    }
    let resources = session.resources().await?;
    match named(&selection.what)? {
        Named::Objects(objects) => {
            for (type_, name) in objects {
                found.push((resources.find(type_)?.clone(), Some(session.namespace.clone()), name.to_owned()));
            }
        }
        Named::Types(_) if !all && selection.selector.is_empty() && selection.field_selector.is_empty() => {
            return Err(CtlError::usage("resource(s) were provided, but no name was specified"));
        }
        Named::Types(types) => {
            for resource in resources.find_all(types)?.into_iter().filter(|resource| resource.can(verb)) {
                let namespace = (!selection.all_namespaces).then_some(session.namespace.as_str());
                let list = ListParams::default().labels(&selection.selector).fields(&selection.field_selector);
                for object in session.api(resource, namespace).list_metadata(&list).await?.items {
                    let name = object.metadata.name.unwrap_or_default();
                    found.push((resource.clone(), object.metadata.namespace, name));
                }
            }
        }
    }
    Ok(found)
}
