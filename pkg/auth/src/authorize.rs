// SPDX-License-Identifier: Apache-2.0
//! May they: masters may do everything; then the rules about nodes are asked, then roles and bindings.
//! Whoever allows first wins; nobody forbids what another one allows.

use std::fmt::Write as _;

use knarr_store::Store;
use knarr_types::selector::{FieldSelector, FieldTerm};
use knarr_types::{ResourceId, go_quoted};

use crate::UserInfo;
use crate::follow::Followed;
use crate::node::{self, Graph, Refusal, SERVING_NODES, Target, Verdict};
use crate::rbac::{self, Index, MissingRole, RoleRef, Rule};
use crate::user::MASTERS;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, ...; for paths that are no resources the HTTP method in lower case.
    pub verb: &'a str,
    /// The group of the resource.
    pub group: &'a str,
    /// The plural; empty for paths that are no resources.
    pub resource: &'a str,
    /// `status`, `log`, ...; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for the cluster.
    pub namespace: &'a str,
    /// The object; empty for a collection.
    pub name: &'a str,
    /// The path, where it is no resource.
    pub path: &'a str,
    /// Which objects of a collection.
    pub fields: Fields<'a>,
}

/// A field selector that is read only when somebody asks about it.
#[derive(Clone, Copy, Debug)]
pub enum Fields<'a> {
    /// As a query has it.
    Text(&'a str),
    /// As a review has it.
    Terms(&'a [FieldTerm]),
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self::Terms(&[])
    }
}

impl Fields<'_> {
    /// Whether only objects are selected whose field has this value.
    #[must_use]
    pub fn require(&self, field: &str, value: &str) -> bool {
        let is_it = |term: &FieldTerm| term.field == field && term.value == value && !term.negated;
        match self {
            Self::Text("") => false,
            Self::Text(text) => FieldSelector::parse(text).is_ok_and(|selector| selector.terms().iter().any(is_it)),
            Self::Terms(terms) => terms.iter().any(is_it),
        }
    }
}

/// Whether they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// Paths that are open to everybody: what a node needs to join. Others that are public are so by a role.
const OPEN: [&str; 3] = ["/knarr/v1/ca", "/cacerts", "/knarr/v1/join"];

/// Decides who may do what, by the objects in the store.
pub struct Authorizer {
    index: Followed<Index>,
    graph: Followed<Graph>,
    node_rules: Vec<Rule>,
}

impl Authorizer {
    /// By the objects of `store`. Reads none before it is asked.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let roles = rbac::RESOURCES.map(|resource| ResourceId::new("rbac.authorization.k8s.io", resource));
        let tied = node::RESOURCES.map(|(group, resource)| ResourceId::new(group, resource));
        Self {
            index: Followed::new(store.clone(), roles.into()),
            graph: Followed::new(store.clone(), tied.into()),
            node_rules: rbac::default_rules("system:node"),
        }
    }

    /// Whether `user` may. Allocates nothing for masters, nor for others where no role has changed.
    #[must_use]
    pub fn decide(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Decision {
        let allowed = user.is_in(MASTERS)
            || (wanted.resource.is_empty() && OPEN.contains(&wanted.path))
            || self.node(user, wanted).is_ok()
            || self.index.read().allows(user, wanted);
        if allowed { Decision::Allow } else { Decision::Deny }
    }

    /// Whether `user` may, and why or why not as upstream says it; the reason may be empty.
    #[must_use]
    pub fn explain(&self, user: &UserInfo, wanted: &Attributes<'_>) -> (Decision, String) {
        if user.is_in(MASTERS) || (wanted.resource.is_empty() && OPEN.contains(&wanted.path)) {
            return (Decision::Allow, String::new());
        }
        let mut reasons = Vec::new();
        match self.node(user, wanted) {
            Ok(()) => return (Decision::Allow, String::new()),
            Err(Some(refusal)) => {
                let reason = match user.node_name() {
                    Some(node) => refusal.reason(node, wanted).to_string(),
                    None => format!("unknown node for user {:?}", user.name),
                };
                reasons.extend(Some(reason).filter(|r| !r.is_empty()));
            }
            Err(None) => {}
        }
        match self.index.read().explain(user, wanted) {
            Ok(reason) => (Decision::Allow, reason),
            Err(missing) => {
                reasons.extend(aggregate(&missing).map(|missing| format!("RBAC: {missing}")));
                (Decision::Deny, reasons.join("\n"))
            }
        }
    }

    /// Whether the rules about nodes allow it; what they say where they do not. `None` for others.
    fn node(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Result<(), Option<Refusal>> {
        let Some(rest) = user.node() else { return Err(None) };
        if rest.is_empty() {
            return Err(Some(Refusal::Silent));
        }
        match node::decide(rest, wanted) {
            Verdict::Allow => Ok(()),
            Verdict::Refuse(refusal) => Err(Some(refusal)),
            Verdict::ByRules if self.node_rules.iter().any(|rule| rule.allows(wanted)) => Ok(()),
            Verdict::ByRules => Err(Some(Refusal::Silent)),
            Verdict::IfRelated(target) => {
                let graph = self.graph.read();
                let served = target == Target::Secret
                    && user.is_in(SERVING_NODES)
                    && graph.is_served(wanted.namespace, wanted.name);
                let related = served || graph.reaches(rest, target, wanted.namespace, wanted.name);
                if related { Ok(()) } else { Err(Some(Refusal::Unrelated)) }
            }
        }
    }

    /// Why they may not, as upstream says it.
    #[must_use]
    pub fn refusal(&self, user: &UserInfo, wanted: &Attributes<'_>) -> String {
        let mut message = refused(user, wanted);
        let (_, reason) = self.explain(user, wanted);
        if !reason.is_empty() {
            // Writing to a string never fails.
            let _ = write!(message, ": {reason}");
        }
        message
    }

    /// All rules of a user in a namespace, and the complaint of whoever cannot tell all.
    #[must_use]
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Option<String>) {
        let (rules, missing) = self.index.read().rules_for(user, namespace);
        let node = user.node().map(|_| "node authorizer does not support user rule resolution".to_owned());
        let complaints: Vec<_> = node.into_iter().chain(aggregate(&missing)).collect();
        (rules, (!complaints.is_empty()).then(|| listed(&complaints)))
    }

    /// What `user` may not hand on, of these rules: upstream's message.
    ///
    /// # Errors
    /// The message, where they do not hold all of them.
    pub fn may_grant(&self, user: &UserInfo, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let (held, missing) = self.index.read().rules_for(user, namespace);
        let lacking = rbac::missing(&held, rules);
        if lacking.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = rbac::lines(lacking).into_iter().collect();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            rbac::quoted(&user.groups),
            lines.join("\n"),
        );
        if let Some(errors) = aggregate(&missing) {
            // Here upstream asks the storage, which names roles by their resource.
            let errors = errors.replace("role.rbac.", "roles.rbac.");
            // Writing to a string never fails.
            let _ = write!(message, "; resolution errors: [{errors}]");
        }
        Err(message)
    }

    /// The rules of the role that a binding in `namespace` names, if there is such a role.
    #[must_use]
    pub fn role(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        self.index.read().rules_of(role, namespace).map(<[Rule]>::to_vec)
    }
}

/// Several complaints as upstream lists them.
fn aggregate(missing: &[MissingRole]) -> Option<String> {
    let texts: Vec<_> = missing.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| listed(&texts))
}

fn listed(texts: &[String]) -> String {
    match texts {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Who cannot do what, in upstream's words.
fn refused(user: &UserInfo, wanted: &Attributes<'_>) -> String {
    let (name, verb) = (go_quoted(&user.name), wanted.verb);
    if wanted.resource.is_empty() {
        return format!("User {name} cannot {verb} path {}", go_quoted(wanted.path));
    }
    let below = if wanted.subresource.is_empty() { String::new() } else { format!("/{}", wanted.subresource) };
    let scope = match wanted.namespace {
        "" => " at the cluster scope".to_owned(),
        namespace => format!(" in the namespace {}", go_quoted(namespace)),
    };
    let resource = go_quoted(&format!("{}{below}", wanted.resource));
    format!("User {name} cannot {verb} resource {resource} in API group {}{scope}", go_quoted(wanted.group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstreams() {
        let user = UserInfo::new("jane", &[]);
        let pods = Attributes { verb: "list", resource: "pods", namespace: "n", ..Attributes::default() };
        let log = Attributes { subresource: "log", namespace: "", ..pods };
        let path = Attributes { verb: "get", path: "/metrics", ..Attributes::default() };
        for (wanted, want) in [
            (pods, r#"User "jane" cannot list resource "pods" in API group "" in the namespace "n""#),
            (log, r#"User "jane" cannot list resource "pods/log" in API group "" at the cluster scope"#),
            (path, r#"User "jane" cannot get path "/metrics""#),
        ] {
            assert_eq!(refused(&user, &wanted), want);
        }
    }

    #[test]
    fn a_selector_requires_a_value_only_where_it_says_equals() {
        for (text, want) in [("a=b", true), ("c=d,a=b", true), ("a!=b", false), ("a=c", false), ("", false)] {
            assert_eq!(Fields::Text(text).require("a", "b"), want, "{text}");
        }
    }
}
