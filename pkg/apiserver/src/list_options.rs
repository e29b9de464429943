// SPDX-License-Identifier: Apache-2.0
//! What is wrong with the options of a list or a watch, as upstream validates them
//! (`k8s.io/apimachinery/pkg/apis/meta/internalversion/validation`).

use knarr_types::{ErrorList, FieldError, FieldPath, Status};

use crate::query::Query;

/// Refuses options of a list that contradict each other.
///
/// # Errors
/// 422 with all that is wrong.
pub fn check_list(query: &Query) -> Result<(), Status> {
    let mut errors = ErrorList::new();
    let path = FieldPath::new("resourceVersionMatch");
    let version = query.filled("resourceVersion");
    if let Some(matching) = query.filled("resourceVersionMatch") {
        let mut forbid = |why: &str| errors.push(FieldError::forbidden(&path, why));
        if version.is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.filled("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            errors.push(FieldError::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && version == Some("0") {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden(&path, why));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        let path = FieldPath::new("sendInitialEvents");
        errors.push(FieldError::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    refuse(&errors)
}

/// Refuses options of a watch that contradict each other.
///
/// # Errors
/// 422 with all that is wrong.
pub fn check_watch(query: &Query) -> Result<(), Status> {
    let mut errors = ErrorList::new();
    let path = FieldPath::new("resourceVersionMatch");
    let initial = query.get("sendInitialEvents").is_some();
    let matching = query.filled("resourceVersionMatch");
    // A watch of the old way, from anywhere, is one that begins with the objects as they are.
    let anywhere = matches!(query.filled("resourceVersion"), None | Some("0")) && matching.is_none() && !initial;
    let mut forbid = |why: &str| errors.push(FieldError::forbidden(&path, why));
    if initial && matching != Some("NotOlderThan") {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if matching.is_some() && !initial {
        forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if let Some(matching) = matching.filter(|matching| *matching != "NotOlderThan") {
        errors.push(FieldError::not_supported(&path, matching, &["NotOlderThan"]));
    }
    if (matching.is_some() || anywhere) && query.filled("continue").is_some() {
        errors.push(FieldError::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
    }
    refuse(&errors)
}

fn refuse(errors: &ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn causes(check: fn(&Query) -> Result<(), Status>, query: &str) -> usize {
        check(&Query::parse(query)).err().map_or(0, |status| status.details.map_or(0, |details| details.causes.len()))
    }

    #[test]
    fn options_of_lists_that_contradict_each_other_are_refused() {
        for (query, want) in [
            ("", 0),
            ("resourceVersion=5&resourceVersionMatch=Exact", 0),
            ("resourceVersionMatch=Exact", 1),
            ("resourceVersion=0&resourceVersionMatch=Exact", 1),
            ("resourceVersion=5&resourceVersionMatch=Newest", 1),
            ("resourceVersion=5&resourceVersionMatch=NotOlderThan&continue=x", 1),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 2),
        ] {
            assert_eq!(causes(check_list, query), want, "{query}");
        }
    }

    #[test]
    fn options_of_watches_that_contradict_each_other_are_refused() {
        for (query, want) in [
            ("resourceVersion=5", 0),
            ("resourceVersion=5&continue=x", 0),
            ("resourceVersion=0&continue=x", 1),
            ("continue=x", 1),
            ("sendInitialEvents=true&continue=x", 1),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 0),
            ("sendInitialEvents=true", 1),
            ("sendInitialEvents=true&resourceVersionMatch=Exact", 2),
            ("resourceVersionMatch=Exact", 2),
            ("resourceVersionMatch=NotOlderThan&continue=x", 2),
        ] {
            assert_eq!(causes(check_watch, query), want, "{query}");
        }
    }
}
