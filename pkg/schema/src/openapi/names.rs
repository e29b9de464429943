// SPDX-License-Identifier: Apache-2.0
//! How operations and their tags are named.

/// `CoreV1` for the core group, `RbacAuthorizationV1` for `rbac.authorization.k8s.io/v1`.
pub(super) fn api_name(group: &str, version: &str) -> String {
    operation_name(short(group), true) + &operation_name(version, true)
}

/// `core_v1`, `rbacAuthorization_v1`; only the group's where the version is empty.
pub(super) fn tag(group: &str, version: &str) -> String {
    let group = operation_name(short(group), false);
    if version.is_empty() { group } else { format!("{group}_{}", operation_name(version, false)) }
}

fn short(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) }
}

/// Letters, digits and underscores; what follows another character begins with a capital.
pub(super) fn operation_name(text: &str, capital: bool) -> String {
    let mut name = String::with_capacity(text.len());
    let mut capital = capital;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if !(letter.is_alphabetic() || letter == '_' || (at != 0 && letter.is_numeric())) => capital = true,
            _ if capital => {
                name.extend(letter.to_uppercase());
                capital = false;
            }
            _ => name.push(letter),
        }
    }
    name
}

/// With a capital in front.
pub(super) fn title(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        for (group, version, want_api, want_tag) in [
            ("", "v1", "CoreV1", "core_v1"),
            ("apps", "v1", "AppsV1", "apps_v1"),
            ("rbac.authorization.k8s.io", "v1", "RbacAuthorizationV1", "rbacAuthorization_v1"),
            ("flowcontrol.apiserver.k8s.io", "v1", "FlowcontrolApiserverV1", "flowcontrolApiserver_v1"),
            ("beta-x.example.org", "v2beta1", "BetaXExampleOrgV2beta1", "betaXExampleOrg_v2beta1"),
            ("apps", "", "Apps", "apps"),
        ] {
            assert_eq!((api_name(group, version), tag(group, version)), (want_api.into(), want_tag.into()), "{group}");
        }
    }
}
