// SPDX-License-Identifier: Apache-2.0
//! NamespaceLifecycle: nothing new in a namespace that is not there, or is ending.

use knarr_store::Precondition;
use knarr_types::{Cause, Key, ResourceId, Status, StatusDetails};

use crate::{Lookup, Operation, Request};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(crate) fn check(request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
    if request.operation != Operation::Create || request.namespace.is_empty() || !request.kind.namespaced {
        return Ok(());
    }
    let name = request.namespace;
    let Some(namespace) = lookup.get("", "namespaces", "", name) else {
        return Err(Status::not_found(&ResourceId::new("", "namespaces"), name));
    };
    let ending = !namespace["metadata"]["deletionTimestamp"].is_null() || namespace["status"]["phase"] == "Terminating";
    // Events may tell of the end, access reviews ask about it.
    if !ending || request.is("", "Event") || request.is("events.k8s.io", "Event") {
        return Ok(());
    }
    let message = format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = request.refusal(&message);
    let cause = Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".into(),
    };
    let details = status.details.take().map(|d| *d).unwrap_or_default();
    Err(status.with_details(StatusDetails { causes: vec![cause], ..details }))
}

pub(crate) fn check_delete(request: &Request<'_>) -> Result<(), Status> {
    let immortal =
        request.operation == Operation::Delete && request.is("", "Namespace") && IMMORTAL.contains(&request.name);
    if immortal {
        let why = "this namespace may not be deleted";
        return Err(request.refusal(why));
    }
    Ok(())
}

/// The namespace must be there when the object is.
pub(crate) fn conditions(request: &Request<'_>) -> Vec<Precondition> {
    if request.operation != Operation::Create || request.namespace.is_empty() || !request.kind.namespaced {
        return Vec::new();
    }
    vec![Precondition::Present(Key::new(ResourceId::new("", "namespaces"), "", request.namespace))]
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::json;

    use super::*;
    use crate::table::{Table, kind, request};

    #[test]
    fn nothing_new_comes_into_a_namespace_that_ends() {
        let user = UserInfo::anonymous();
        let table = Table(vec![
            ("/namespaces//live", json!({"metadata": {}})),
            ("/namespaces//ending", json!({"metadata": {"deletionTimestamp": "x"}})),
        ]);
        let code = |resource: &str, namespace: &str| {
            check(&request(&kind(resource), Operation::Create, namespace, &user), &table).err().map(|s| s.code)
        };
        assert_eq!(code("pods", "live"), None);
        assert_eq!(code("pods", "none"), Some(404));
        assert_eq!(code("pods", "ending"), Some(403));
        assert_eq!(code("events", "ending"), None);
    }
}
