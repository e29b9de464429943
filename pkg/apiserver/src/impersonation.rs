// SPDX-License-Identifier: Apache-2.0
//! Asking as somebody else: each part of the other user is allowed on its own.
//!
//! There are two ways to be allowed. The old one is the verb `impersonate` on every part; it is tried
//! first. The constrained ones are the verb `impersonate:MODE` on every part, and
//! `impersonate-on:MODE:VERB` on what is asked; the mode follows from who the other one is. Upstream begins
//! with the way that last succeeded, and a refusal names the first constrained one.
//! <https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use knarr_auth::{Attributes, Decision, UserInfo};
use knarr_types::Status;

use crate::app::App;
use crate::identity::{authorize, forbidden};
use crate::query;

const GROUP: &str = "authentication.k8s.io";
const ANONYMOUS: &str = "system:anonymous";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const USER: HeaderName = HeaderName::from_static("impersonate-user");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const GROUPS: HeaderName = HeaderName::from_static("impersonate-group");
/// From how many parts of a kind on, a permission for all of them is looked for first.
const MANY: usize = 4;

/// A way to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A service account as the node that its pod runs on.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    /// A service account.
    ServiceAccount,
    /// Anybody else.
    UserInfo,
    /// Anybody, as it was before there were modes.
    Legacy,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn verb(self) -> String {
        if self == Self::Legacy { "impersonate".into() } else { format!("impersonate:{}", self.name()) }
    }
}

/// The user as whom a request is to be answered: the one who asks, or the one in its headers if they may.
///
/// # Errors
/// 400 where the headers name no user, 403 where `user` may not.
pub fn impersonate(app: &App, user: UserInfo, headers: &HeaderMap, asked: &Attributes<'_>) -> Result<UserInfo, Status> {
    let Some(other) = of_headers(headers)? else { return Ok(user) };
    let Err(mut refusal) = check(app, &user, &other, Mode::Legacy, asked) else {
        return Ok(complete(other, Mode::Legacy));
    };
    for (at, mode) in modes(&user, &other).into_iter().enumerate() {
        match check(app, &user, &other, mode, asked) {
            Ok(()) => return Ok(complete(other, mode)),
            Err(first) if at == 0 => refusal = first,
            Err(_) => {}
        }
    }
    Err(refusal)
}

/// The user that the headers name, without what follows from it.
fn of_headers(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let texts = |name: &HeaderName| headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned);
    let name = texts(&USER).next().unwrap_or_default();
    let uid = texts(&UID).next().unwrap_or_default();
    let groups: Vec<String> = texts(&GROUPS).collect();
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (key, value) in headers {
        if let (Some(key), Ok(value)) = (key.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            extra.entry(query::decode_path(key).into_owned()).or_default().push(value.to_owned());
        }
    }
    let other = UserInfo { name, uid, groups, extra };
    if !other.name.is_empty() {
        return Ok(Some(other));
    }
    if other == UserInfo::default() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", shown(&other))))
}

/// A user as Go prints one.
fn shown(user: &UserInfo) -> String {
    let list = |list: &[String]| list.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ");
    let groups = match user.groups.as_slice() {
        [] => "[]string(nil)".to_owned(),
        some => format!("[]string{{{}}}", list(some)),
    };
    let extra = if user.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let pairs = user.extra.iter().map(|(key, values)| format!("{key:?}:[]string{{{}}}", list(values)));
        format!("map[string][]string{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    };
    format!("&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.name, user.uid)
}

fn node_of(name: &str) -> Option<&str> {
    let is_name = |name: &&str| {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        name.len() <= 253
            && name.split('.').all(|label| {
                label.bytes().all(|b| letter(b) || b == b'-')
                    && label.bytes().next().is_some_and(letter)
                    && label.bytes().next_back().is_some_and(letter)
            })
    };
    name.strip_prefix("system:node:").filter(is_name)
}

fn account_of(name: &str) -> Option<(&str, &str)> {
    let account = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(account).filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains(':'))
}

/// The constrained ways that may lead to `other`, in the order in which they are tried.
fn modes(user: &UserInfo, other: &UserInfo) -> Vec<Mode> {
    let only_name = other.uid.is_empty() && other.groups.is_empty() && other.extra.is_empty();
    let own_node = user.extra.get("authentication.kubernetes.io/node-name").map(Vec::as_slice);
    let mut modes = Vec::new();
    match (node_of(&other.name), account_of(&other.name)) {
        (Some(node), _) if only_name => {
            let associated = account_of(&user.name).is_some() && own_node.is_some_and(|own| own == [node]);
            modes.extend(associated.then_some(Mode::AssociatedNode));
            modes.push(Mode::ArbitraryNode);
        }
        (None, Some(_)) if only_name => modes.push(Mode::ServiceAccount),
        (None, None) => modes.push(Mode::UserInfo),
        _ => {}
    }
    modes
}

fn check(app: &App, user: &UserInfo, other: &UserInfo, mode: Mode, asked: &Attributes<'_>) -> Result<(), Status> {
    if mode != Mode::Legacy {
        let verb = format!("impersonate-on:{}:{}", mode.name(), asked.verb);
        authorize(app, user, &Attributes { verb: &verb, ..*asked })?;
    }
    let verb = mode.verb();
    // Users and groups were of the core group before there were modes.
    let own_group = if mode == Mode::Legacy { "" } else { GROUP };
    let may = |group, resource, subresource, namespace, name| {
        let wanted = Attributes { verb: &verb, group, resource, subresource, namespace, name, ..Attributes::default() };
        authorize(app, user, &wanted)
    };
    match (node_of(&other.name).filter(|_| mode != Mode::Legacy), account_of(&other.name)) {
        (Some(_), _) if mode == Mode::AssociatedNode => may(own_group, "nodes", "", "", "*")?,
        (Some(node), _) => may(own_group, "nodes", "", "", node)?,
        (None, Some((namespace, name))) => may(own_group, "serviceaccounts", "", namespace, name)?,
        (None, None) => may(own_group, "users", "", "", &other.name)?,
    }
    if !other.uid.is_empty() {
        may(GROUP, "uids", "", "", &other.uid)?;
    }
    if mode != Mode::Legacy {
        check_sane(&verb, other)?;
    }
    let all_at_once = |group, resource, subresource| {
        let wanted = Attributes { verb: &verb, group, resource, subresource, name: "*", ..Attributes::default() };
        mode != Mode::Legacy && app.authorizer.decide(user, &wanted) == Decision::Allow
    };
    if other.groups.len() < MANY || !all_at_once(own_group, "groups", "") {
        other.groups.iter().try_for_each(|group| may(own_group, "groups", "", "", group))?;
    }
    let many = other.extra.values().map(Vec::len).sum::<usize>() >= MANY;
    if !many || !all_at_once(GROUP, "userextras", "*") {
        let mut all = other.extra.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
        all.try_for_each(|(key, value)| may(GROUP, "userextras", key, "", value))?;
    }
    Ok(())
}

/// What the constrained modes never allow.
fn check_sane(verb: &str, other: &UserInfo) -> Result<(), Status> {
    let refuse = |resource, name, why: &str| {
        let wanted = Attributes { verb, group: GROUP, resource, name, ..Attributes::default() };
        let message = format!("impersonating {why} is not allowed");
        Err(forbidden(&wanted, &message))
    };
    if other.groups.iter().any(String::is_empty) {
        return refuse("groups", "", "the empty string group");
    }
    if other.groups.iter().any(|group| group == knarr_auth::MASTERS) {
        return refuse("groups", knarr_auth::MASTERS, "the system:masters group");
    }
    if other.extra.keys().any(String::is_empty) {
        return refuse("userextras", "", "the empty string key in extra");
    }
    if other.extra.values().flatten().any(String::is_empty) {
        return refuse("userextras", "", "the empty string value in extra");
    }
    Ok(())
}

/// The other user with the groups that follow from who they are.
fn complete(mut other: UserInfo, mode: Mode) -> UserInfo {
    if other.groups.is_empty() {
        other.groups = match (node_of(&other.name).filter(|_| mode != Mode::Legacy), account_of(&other.name)) {
            (Some(_), _) => vec!["system:nodes".into()],
            (None, Some((namespace, name))) => {
                let account = UserInfo::service_account(namespace, name);
                account.groups.into_iter().filter(|group| group != AUTHENTICATED).collect()
            }
            (None, None) => Vec::new(),
        };
    }
    let everybody = if other.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
    if !other.is_in(everybody) && !other.is_in(UNAUTHENTICATED) {
        other.groups.push(everybody.into());
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_other_is_decides_on_the_modes() {
        let jane = UserInfo::new("jane", &[]);
        let mut agent = UserInfo::service_account("n", "agent");
        agent.extra.insert("authentication.kubernetes.io/node-name".into(), vec!["a".into()]);
        let named = |name: &str| UserInfo { name: name.into(), ..UserInfo::default() };
        let grouped = |name: &str| UserInfo { groups: vec!["g".into()], ..named(name) };
        for (user, other, want) in [
            (&jane, named("bob"), vec![Mode::UserInfo]),
            (&jane, grouped("bob"), vec![Mode::UserInfo]),
            (&jane, named("system:node:a"), vec![Mode::ArbitraryNode]),
            (&jane, grouped("system:node:a"), vec![]),
            (&agent, named("system:node:a"), vec![Mode::AssociatedNode, Mode::ArbitraryNode]),
            (&agent, named("system:node:b"), vec![Mode::ArbitraryNode]),
            (&jane, named("system:serviceaccount:n:a"), vec![Mode::ServiceAccount]),
            (&jane, named("system:serviceaccount:bad"), vec![Mode::UserInfo]),
        ] {
            assert_eq!(modes(user, &other), want, "{other:?}");
        }
    }

    #[test]
    fn groups_follow_from_the_name() {
        let groups = |name: &str, groups: &[&str], mode| {
            let groups = groups.iter().map(|g| (*g).to_owned()).collect();
            complete(UserInfo { name: name.into(), groups, ..UserInfo::default() }, mode).groups
        };
        assert_eq!(groups("bob", &[], Mode::Legacy), [AUTHENTICATED]);
        assert_eq!(groups("bob", &["g"], Mode::Legacy), ["g", AUTHENTICATED]);
        assert_eq!(groups("bob", &[UNAUTHENTICATED], Mode::Legacy), [UNAUTHENTICATED]);
        assert_eq!(groups(ANONYMOUS, &["g"], Mode::Legacy), ["g", UNAUTHENTICATED]);
        assert_eq!(groups("system:node:a", &[], Mode::ArbitraryNode), ["system:nodes", AUTHENTICATED]);
        assert_eq!(groups("system:node:a", &[], Mode::Legacy), [AUTHENTICATED]);
        let account = ["system:serviceaccounts", "system:serviceaccounts:n", AUTHENTICATED];
        assert_eq!(groups("system:serviceaccount:n:a", &[], Mode::Legacy), account);
    }
}
