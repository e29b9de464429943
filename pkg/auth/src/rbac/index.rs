// SPDX-License-Identifier: Apache-2.0
//! The index of roles and bindings: kept change by change, asked per request.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use knarr_types::Key;
use serde::Deserialize;

use super::rule::Rule;
use crate::follow::{Fold, Seen};
use crate::{Attributes, UserInfo};

/// The collections that the index is made of, in the group `rbac.authorization.k8s.io`.
pub(crate) const RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// Which role a binding gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A binding that names a role that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingRole {
    cluster: bool,
    name: Arc<str>,
}

impl fmt::Display for MissingRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = if self.cluster { "clusterrole" } else { "role" };
        write!(f, "{resource}.rbac.authorization.k8s.io {:?} not found", self.name)
    }
}

/// Whom a binding is for.
#[derive(Clone, Debug, Deserialize)]
struct Subject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: String,
}

/// The part of a binding that counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingBody {
    role_ref: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<Subject>>,
}

#[derive(Deserialize)]
struct RoleBody {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

/// A binding. The namespace is empty for those of the cluster.
#[derive(Debug)]
struct Binding {
    namespace: Arc<str>,
    name: Arc<str>,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The bindings of a namespace, or of the cluster, by whom they are for.
#[derive(Debug, Default)]
struct Bindings {
    users: HashMap<Box<str>, Vec<Arc<Binding>>>,
    groups: HashMap<Box<str>, Vec<Arc<Binding>>>,
}

/// The roles of a namespace, or of the cluster, by name.
type Roles = HashMap<Arc<str>, Arc<[Rule]>>;

/// All roles and bindings. Those of the cluster are in the namespace `""`.
#[derive(Debug, Default)]
pub struct Index {
    roles: HashMap<Arc<str>, Roles>,
    bindings: HashMap<Arc<str>, Bindings>,
}

impl Fold for Index {
    fn apply(&mut self, key: &Key, before: Option<Seen<'_>>, after: Option<Seen<'_>>) {
        let is_role = key.resource.resource.ends_with("roles");
        if let Some(old) = before {
            if is_role { self.remove_role(key) } else { self.unbind(key, old.json) }
        }
        if let Some(new) = after {
            if is_role { self.add_role(key, new.json) } else { self.bind(key, new.json) }
        }
    }
}

// What is stored was validated; a record that does not parse gives nobody anything.
impl Index {
    fn add_role(&mut self, key: &Key, json: &[u8]) {
        let body: Option<RoleBody> = serde_json::from_slice(json).ok();
        let rules = body.and_then(|b| b.rules).unwrap_or_default();
        let of_namespace = self.roles.entry(Arc::clone(&key.namespace)).or_default();
        of_namespace.insert(Arc::clone(&key.name), rules.into());
    }

    fn remove_role(&mut self, key: &Key) {
        if let Some(roles) = self.roles.get_mut(&key.namespace) {
            roles.remove(&key.name);
            if roles.is_empty() {
                self.roles.remove(&key.namespace);
            }
        }
    }

    fn bind(&mut self, key: &Key, json: &[u8]) {
        let Ok(body) = serde_json::from_slice::<BindingBody>(json) else { return };
        let (namespace, name) = (Arc::clone(&key.namespace), Arc::clone(&key.name));
        let subjects = body.subjects.unwrap_or_default();
        let binding = Arc::new(Binding { namespace, name, role: body.role_ref, subjects });
        let bindings = self.bindings.entry(Arc::clone(&binding.namespace)).or_default();
        for (is_group, who) in keys(&binding) {
            let of_key = bindings.side(is_group).entry(who.into()).or_default();
            of_key.push(Arc::clone(&binding));
        }
    }

    fn unbind(&mut self, key: &Key, json: &[u8]) {
        let Ok(body) = serde_json::from_slice::<BindingBody>(json) else { return };
        let Some(bindings) = self.bindings.get_mut(&key.namespace) else { return };
        let (namespace, name) = (Arc::clone(&key.namespace), Arc::clone(&key.name));
        let gone = Binding { namespace, name, role: body.role_ref, subjects: body.subjects.unwrap_or_default() };
        for (is_group, who) in keys(&gone) {
            let side = bindings.side(is_group);
            if let Some(of_key) = side.get_mut(who.as_str()) {
                of_key.retain(|binding| binding.name != gone.name);
                if of_key.is_empty() {
                    side.remove(who.as_str());
                }
            }
        }
        if bindings.users.is_empty() && bindings.groups.is_empty() {
            self.bindings.remove(&key.namespace);
        }
    }

    /// Whether some rule of the user allows what they want. Allocates nothing.
    #[must_use]
    pub fn allows(&self, user: &UserInfo, wanted: &Attributes<'_>) -> bool {
        let mut places = ["", wanted.namespace].into_iter().take(1 + usize::from(!wanted.namespace.is_empty()));
        places.any(|place| {
            self.bindings.get(place).is_some_and(|bindings| {
                bindings.of(user).any(|binding| self.role(binding).is_some_and(|r| r.iter().any(|r| r.allows(wanted))))
            })
        })
    }

    /// Why it is allowed, in upstream's words; `Err` with what else there is to say where it is not.
    ///
    /// # Errors
    /// The roles that the user's bindings name and that are not there.
    pub fn explain(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Result<String, Vec<MissingRole>> {
        let mut absent = BTreeSet::new();
        for binding in self.sorted(user, wanted.namespace) {
            match self.role(binding) {
                Some(rules) if rules.iter().any(|rule| rule.allows(wanted)) => {
                    return Ok(format!("RBAC: allowed by {}", described(binding, user)));
                }
                Some(_) => {}
                None => drop(absent.insert(binding.missing())),
            }
        }
        Err(absent.into_iter().collect())
    }

    /// All rules of a user in a namespace, those of the cluster first, and the roles that are not there.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<MissingRole>) {
        let (mut rules, mut absent) = (Vec::new(), BTreeSet::new());
        for binding in self.sorted(user, namespace) {
            match self.role(binding) {
                Some(of_role) => rules.extend(of_role.iter().cloned()),
                None => drop(absent.insert(binding.missing())),
            }
        }
        (rules, absent.into_iter().collect())
    }

    /// The rules of a role that a binding in `namespace` names.
    #[must_use]
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<&[Rule]> {
        let place = if role.kind == "ClusterRole" { "" } else { namespace };
        self.roles.get(place)?.get(role.name.as_str()).map(|rules| &**rules)
    }

    fn role(&self, binding: &Binding) -> Option<&[Rule]> {
        self.rules_of(&binding.role, &binding.namespace)
    }

    /// The bindings of a user, each once, those of the cluster first, then by name.
    fn sorted<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> Vec<&'a Arc<Binding>> {
        let places = ["", namespace].into_iter().take(1 + usize::from(!namespace.is_empty()));
        let mut all: Vec<_> =
            places.filter_map(|place| self.bindings.get(place)).flat_map(|bindings| bindings.of(user)).collect();
        all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        all.dedup_by(|a, b| Arc::ptr_eq(a, b));
        all
    }
}

impl Bindings {
    fn side(&mut self, is_group: bool) -> &mut HashMap<Box<str>, Vec<Arc<Binding>>> {
        if is_group { &mut self.groups } else { &mut self.users }
    }

    /// The bindings of a user and of their groups; one that names them twice comes twice.
    fn of<'a>(&'a self, user: &'a UserInfo) -> impl Iterator<Item = &'a Arc<Binding>> {
        let of_groups = user.groups.iter().filter_map(|group| self.groups.get(group.as_str())).flatten();
        self.users.get(user.name.as_str()).into_iter().flatten().chain(of_groups)
    }
}

impl Binding {
    fn missing(&self) -> MissingRole {
        MissingRole { cluster: self.role.kind == "ClusterRole", name: self.role.name.as_str().into() }
    }
}

/// Under what a binding is found: whether it is a group, and its name. Each once.
fn keys(binding: &Binding) -> BTreeSet<(bool, String)> {
    let key = |subject: &Subject| match subject.kind.as_str() {
        "User" => Some((false, subject.name.clone())),
        "Group" => Some((true, subject.name.clone())),
        "ServiceAccount" => Some((false, account(binding, subject))),
        _ => None,
    };
    binding.subjects.iter().filter_map(key).collect()
}

/// The user name of a service account; without a namespace it is of the binding's.
fn account(binding: &Binding, subject: &Subject) -> String {
    let namespace = if subject.namespace.is_empty() { &*binding.namespace } else { subject.namespace.as_str() };
    format!("system:serviceaccount:{namespace}:{}", subject.name)
}

/// A binding and its first subject that the user is, in upstream's words.
fn described(binding: &Binding, user: &UserInfo) -> String {
    let is_user = |subject: &&Subject| match subject.kind.as_str() {
        "User" => subject.name == user.name,
        "Group" => user.is_in(&subject.name),
        _ => account(binding, subject) == user.name,
    };
    let subject = binding.subjects.iter().find(is_user).map_or_else(String::new, |subject| {
        if subject.kind != "ServiceAccount" {
            return format!("{} {:?}", subject.kind, subject.name);
        }
        let namespace = if subject.namespace.is_empty() { &*binding.namespace } else { subject.namespace.as_str() };
        format!("ServiceAccount {:?}", format!("{}/{namespace}", subject.name))
    });
    let role = format!("{} {:?}", binding.role.kind, binding.role.name);
    if binding.namespace.is_empty() {
        return format!("ClusterRoleBinding {:?} of {role} to {subject}", binding.name);
    }
    format!("RoleBinding {:?} of {role} to {subject}", format!("{}/{}", binding.name, binding.namespace))
}

#[cfg(test)]
mod tests {
    use knarr_types::ResourceId;
    use knarr_types::tree::{Value, json};

    use super::*;

    fn change(index: &mut Index, at: (&str, &str, &str), before: Option<&Value>, after: Option<&Value>) {
        let key = Key::new(ResourceId::new("rbac.authorization.k8s.io", at.0), at.1, at.2);
        let json = [before, after].map(|body| body.map(|b| b.to_string().into_bytes()));
        let [before, after] = json.each_ref().map(|j| j.as_ref().map(|json| Seen { json, fields: &[] }));
        index.apply(&key, before, after);
    }

    fn role(verb: &str) -> Value {
        json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    }

    fn binding(kind: &str, role: &str, subject: (&str, &str)) -> Value {
        json!({"roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": subject.0, "name": subject.1}]})
    }

    fn wanted<'a>(verb: &'a str, namespace: &'a str) -> Attributes<'a> {
        Attributes { verb, resource: "pods", namespace, ..Attributes::default() }
    }

    #[test]
    fn bindings_count_where_they_are_and_for_whom_they_are() {
        let mut index = Index::default();
        let mut put = |at, body: Value| change(&mut index, at, None, Some(&body));
        put(("roles", "n", "r"), role("get"));
        put(("clusterroles", "", "c"), role("list"));
        put(("rolebindings", "n", "b"), binding("Role", "r", ("User", "jane")));
        put(("rolebindings", "n", "c"), binding("ClusterRole", "c", ("ServiceAccount", "sa")));
        put(("clusterrolebindings", "", "b"), binding("ClusterRole", "c", ("Group", "devs")));
        let (jane, dev) = (UserInfo::new("jane", &[]), UserInfo::new("x", &["devs"]));
        let account = UserInfo::service_account("n", "sa");
        for (user, verb, namespace, want) in [
            (&jane, "get", "n", true),
            (&jane, "get", "m", false),
            (&jane, "list", "n", false),
            (&dev, "list", "", true),
            (&dev, "list", "m", true),
            (&dev, "get", "n", false),
            (&account, "list", "n", true),
            (&account, "list", "m", false),
        ] {
            let asked = wanted(verb, namespace);
            assert_eq!(index.allows(user, &asked), want, "{user:?} {verb} {namespace}");
            assert_eq!(index.explain(user, &asked).is_ok(), want, "{user:?} {verb} {namespace}");
        }
        let why = index.explain(&account, &wanted("list", "n")).unwrap();
        assert_eq!(why, r#"RBAC: allowed by RoleBinding "c/n" of ClusterRole "c" to ServiceAccount "sa/n""#);
    }

    #[test]
    fn a_change_takes_the_old_away() {
        let mut index = Index::default();
        let (get, list, bound) = (role("get"), role("list"), binding("Role", "r", ("User", "jane")));
        change(&mut index, ("roles", "n", "r"), None, Some(&get));
        change(&mut index, ("rolebindings", "n", "b"), None, Some(&bound));
        let jane = UserInfo::new("jane", &[]);
        change(&mut index, ("roles", "n", "r"), Some(&get), Some(&list));
        assert!(!index.allows(&jane, &wanted("get", "n")) && index.allows(&jane, &wanted("list", "n")));
        change(&mut index, ("roles", "n", "r"), Some(&list), None);
        let missing = index.explain(&jane, &wanted("list", "n")).unwrap_err();
        assert_eq!(missing[0].to_string(), "role.rbac.authorization.k8s.io \"r\" not found");
        change(&mut index, ("rolebindings", "n", "b"), Some(&bound), None);
        assert!(index.bindings.is_empty() && index.roles.is_empty());
    }
}
