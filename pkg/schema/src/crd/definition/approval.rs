// SPDX-License-Identifier: Apache-2.0
//! The annotation that definitions of groups of the Kubernetes community need.
//! <https://github.com/kubernetes/enhancements/pull/1111>

use knarr_types::{Object, go_quoted};

/// Where the approval is, or why there is none.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What the annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// It names where the approval is.
    Approved,
    /// It says that there is none, and that this is meant.
    Bypassed,
    /// It is not there.
    Missing,
    /// It says neither.
    Invalid,
}

/// The approval of a definition, and what is said of it; nothing where its group needs none.
#[must_use]
pub fn approval(definition: &Object) -> Option<(Approval, String)> {
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let is_of = |domain: &&str| group.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !["k8s.io", "kubernetes.io"].iter().any(is_of) {
        return None;
    }
    let said = definition["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    Some(match said {
        "" => (Approval::Missing, format!("protected groups must have approval annotation {ANNOTATION:?}, {SEE}")),
        text if text.starts_with("unapproved") => (Approval::Bypassed, format!("not approved: {}", go_quoted(text))),
        text if is_url(text) => (Approval::Approved, format!("approved in {text}")),
        _ => {
            let wanted = "with either a URL or a reason starting with \"unapproved\"";
            let why = format!("protected groups must have approval annotation {ANNOTATION:?} {wanted}, {SEE}");
            (Approval::Invalid, why)
        }
    })
}

/// It has a scheme and a host.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(plain);
    is_scheme && !host.is_empty() && !host.contains(char::is_whitespace)
}
