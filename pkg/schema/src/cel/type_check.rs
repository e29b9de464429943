// SPDX-License-Identifier: Apache-2.0
//! The expressions of a ValidatingAdmissionPolicy against the fields of the kinds that it names: what its status
//! warns of. <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking>

use std::sync::Arc;

use knarr_types::Object;
use knarr_types::tree::Value;

use super::conditions::{Scope, environment};
use super::program::Environment;
use super::shape::{Shape, escape};
use super::types::{Struct, Type};
use crate::crd::structural::StructuralSchema;
use crate::field_table::{self, TypeRef};
use crate::kinds::Kind;

/// How many kinds a rule has checked. Upstream's.
const KINDS_MAX: usize = 10;

/// A resource that a policy names by group, version and plural.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Empty for the core group, which says nothing of the group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `pods`.
    pub resource: String,
}

/// A kind with the type of its objects.
#[derive(Clone, Debug)]
pub struct Typed {
    /// Its group, version and name.
    pub kind: (String, String, String),
    /// What expressions know of it.
    pub ty: Type,
}

/// What `spec.paramKind` of a policy says of `params`.
#[derive(Clone, Debug)]
pub enum Params {
    /// There are none.
    None,
    /// They are of an unknown kind.
    Unknown,
    /// They are of this type.
    Known(Type),
}

/// Something wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it is: `spec.validations[0].expression`.
    pub field: String,
    /// What is wrong, kind by kind.
    pub text: String,
}

/// The resources that the rules of a policy name, rule by rule; what stands for any is left out.
#[must_use]
pub fn resources(policy: &Object) -> Vec<Vec<Named>> {
    let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array();
    rules.into_iter().flatten().map(of_rule).collect()
}

fn of_rule(rule: &Value) -> Vec<Named> {
    let texts = |field: &str| {
        let mut texts: Vec<&str> = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        texts.sort_unstable();
        texts
    };
    let (groups, versions) = (texts("apiGroups"), texts("apiVersions"));
    if groups.iter().chain(&versions).any(|text| text.contains('*')) {
        return Vec::new();
    }
    let mut resources = texts("resources");
    resources.retain(|resource| !resource.contains(['*', '/']));
    let mut named = Vec::new();
    for group in &groups {
        for version in &versions {
            for resource in &resources {
                let text = |text: &str| text.to_owned();
                named.push(Named { group: text(group), version: text(version), resource: text(resource) });
            }
        }
    }
    named
}

/// The kinds to check, sorted: those of each rule as `find` knows them, up to upstream's bound.
pub fn kinds(
    rules: &[Vec<Named>],
    mut find: impl FnMut(&Named) -> Vec<(String, String, String)>,
) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    'rules: for rule in rules {
        let mut count = 0;
        for kind in rule.iter().flat_map(&mut find) {
            found.push(kind);
            count += 1;
            if count == KINDS_MAX {
                break 'rules;
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// What is wrong with the validations of a policy, whose objects are of `kinds`.
#[must_use]
pub fn warnings(policy: &Object, kinds: &[Typed], params: &Params) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let validations = policy["spec"]["validations"].as_array();
    for (at, validation) in validations.into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(expression) = validation[field].as_str().filter(|text| !text.is_empty()) else { continue };
            let faults = kinds.iter().filter_map(|kind| {
                let why = environment_for(policy, kind, params).compile(expression).err()?;
                let (group, version, name) = &kind.kind;
                Some(format!("{group}/{version}, Kind={name}: {why}\n"))
            });
            let faults: Vec<String> = faults.collect();
            if !faults.is_empty() {
                let field = format!("spec.validations[{at}].{field}");
                warnings.push(Warning { field, text: faults.join("\n") });
            }
        }
    }
    warnings
}

/// What expressions can name, the variables of the policy among it.
fn environment_for(policy: &Object, kind: &Typed, params: &Params) -> Environment {
    let mut scope = Scope {
        params: !matches!(params, Params::None),
        authorizer: true,
        object: Some(kind.ty.clone()),
        params_type: if let Params::Known(ty) = params { Some(ty.clone()) } else { None },
        variables: Some(Vec::new()),
        ..Scope::default()
    };
    let make = |scope: &Scope| {
        let mut environment = environment(scope);
        // Upstream's check does not know it.
        environment.variables.retain(|(name, _)| name != "authorizer.requestResource");
        environment
    };
    for variable in policy["spec"]["variables"].as_array().into_iter().flatten() {
        let text = |field: &str| variable[field].as_str().unwrap_or_default();
        let program = make(&scope).compile(text("expression"));
        let gives = program.map_or(Type::Dyn, |program| program.output().as_variable());
        scope.variables.get_or_insert_default().push((text("name").to_owned(), gives));
    }
    make(&scope)
}

/// The type of the objects of a built-in kind; `name` is what messages call it.
#[must_use]
pub fn of_kind(kind: &Kind, name: &str) -> Option<Type> {
    of_ref(&kind.ty, name, &mut Vec::new())
}

/// The type of the objects of a kind by its published schema.
#[must_use]
pub fn of_schema(schema: &Value, name: &str) -> Option<Type> {
    let Type::Struct(of) = Shape::of_schema(&StructuralSchema::parse(schema), true, name)?.ty() else { return None };
    let mut fields = of.fields.clone()?;
    let metadata = TypeRef::named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")?;
    fields.insert("metadata".to_owned(), of_ref(&metadata, &format!("{name}.metadata"), &mut Vec::new())?);
    Some(Type::Struct(Arc::new(Struct { name: of.name.clone(), fields: Some(fields) })))
}

/// The type of what the schema describes, and nothing where it says nothing of it. `inside` are the published types
/// that it is a part of: below itself a type has no fields.
fn of_ref(of: &TypeRef, name: &str, inside: &mut Vec<&'static str>) -> Option<Type> {
    let TypeRef::Named(named) = of else { return of_type(of.get(), name, inside) };
    let published = named.name();
    // Objects of which nothing more is published.
    let is_opaque = matches!(published.rsplit('.').next(), Some("RawExtension" | "FieldsV1"));
    if is_opaque || inside.contains(&published) {
        return Some(structure(name, std::iter::empty()));
    }
    inside.push(published);
    let found = of_type(named.get(), name, inside);
    inside.pop();
    found
}

fn of_type(of: &field_table::Type, name: &str, inside: &mut Vec<&'static str>) -> Option<Type> {
    Some(match of {
        // Amounts are published as text or a number, which has no type.
        field_table::Type::Any | field_table::Type::SchemaOr { .. } | field_table::Type::Quantity => return None,
        field_table::Type::Boolean => Type::Bool,
        field_table::Type::Integer { .. } => Type::Int,
        field_table::Type::Number => Type::Double,
        field_table::Type::String | field_table::Type::Duration => Type::String,
        field_table::Type::IntOrString => Type::Dyn,
        field_table::Type::Time | field_table::Type::MicroTime => Type::Timestamp,
        field_table::Type::Bytes => Type::Bytes,
        field_table::Type::List { item, .. } => Type::list(of_ref(item, &format!("{name}.@idx"), inside)?),
        field_table::Type::Map { value, .. } => {
            Type::map(Type::String, of_ref(value, &format!("{name}.@elem"), inside)?)
        }
        field_table::Type::Struct(of) => {
            let fields: Vec<_> = of
                .fields
                .iter()
                .filter_map(|field| {
                    let escaped = escape(&field.name)?;
                    let ty = of_ref(&field.ty, &format!("{name}.{escaped}"), inside)?;
                    Some((escaped, ty))
                })
                .collect();
            structure(name, fields.into_iter())
        }
    })
}

fn structure(name: &str, fields: impl Iterator<Item = (String, Type)>) -> Type {
    Type::Struct(Arc::new(Struct { name: name.to_owned(), fields: Some(fields.collect()) }))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;
    use crate::kinds::Registry;

    fn typed(group: &str, kind: &str) -> Typed {
        let registry = Registry::builtin();
        let found = registry.by_kind(group, "v1", kind).unwrap();
        let names = (group.to_owned(), "v1".to_owned(), kind.to_owned());
        Typed { kind: names, ty: of_kind(found, &format!("{kind}7")).unwrap() }
    }

    fn said(expression: &str, kinds: &[Typed]) -> Vec<String> {
        let policy = json!({"spec": {
            "variables": [{"name": "spec", "expression": "object.spec"}, {"name": "many", "expression": "object.spec.replicas"}],
            "validations": [{"expression": expression}],
        }});
        warnings(&policy, kinds, &Params::None).into_iter().map(|warning| warning.text).collect()
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_told_kind_by_kind() {
        let kinds = [typed("apps", "Deployment"), typed("apps", "ReplicaSet")];
        for good in [
            "object.spec.replicas > 1 && oldObject.metadata.labels['a'] == 'b'",
            "object.spec.template.spec.containers.all(c, c.image.startsWith('x'))",
            "variables.spec.anything == 1",
            "has(object.metadata.creationTimestamp) && object.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')",
            "authorizer.group('').resource('pods').check('get').allowed()",
            "object.spec.template.spec.containers[0].ports[0].containerPort == 1",
        ] {
            assert_eq!(said(good, &kinds), Vec::<String>::new(), "{good}");
        }
        assert_eq!(
            said("object.spec.strategy.type == 'x'", &kinds),
            ["apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'\n | \
              object.spec.strategy.type == 'x'\n | ...........^\n"]
        );
        let both = said("variables.many == 'x'", &kinds);
        assert_eq!(both[0].matches("found no matching overload for '_==_' applied to '(int, string)'").count(), 2);
        assert!(both[0].contains("\n\napps/v1, Kind=ReplicaSet: "), "{both:?}");
        assert!(said("object.spec == 1", &kinds)[0].contains("'(Deployment7.spec, int)'"));
        assert_eq!(said("params.x", &kinds).len(), 1);
    }

    #[test]
    fn published_schemas_have_types() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer"}, "any": {"x-kubernetes-int-or-string": true},
        }}}});
        let ty = of_schema(&schema, "Widget1").unwrap();
        let kinds = [Typed { kind: ("e.com".into(), "v1".into(), "Widget".into()), ty }];
        assert!(
            said("object.spec.size < 3 && object.metadata.labels.size() > 0 && object.kind == 'Widget'", &kinds)
                .is_empty()
        );
        assert!(said("object.spec.any == 'x' || object.spec.any == 2", &kinds).is_empty());
        assert!(said("object.spec.length < 3", &kinds)[0].contains("undefined field 'length'"));
    }

    #[test]
    fn rules_without_stars_name_kinds() {
        let rule = |groups: Value, resources: Value| json!({"apiGroups": groups, "apiVersions": ["v1"], "resources": resources});
        let policy = json!({"spec": {"matchConstraints": {"resourceRules": [
            rule(json!(["apps"]), json!(["replicasets", "deployments", "*", "deployments/scale"])),
            rule(json!(["*"]), json!(["pods"])),
        ]}}});
        let rules = resources(&policy);
        assert_eq!(rules[0].iter().map(|named| &*named.resource).collect::<Vec<_>>(), ["deployments", "replicasets"]);
        assert!(rules[1].is_empty());
        let all = kinds(&rules, |named| vec![(named.group.clone(), named.version.clone(), named.resource.clone())]);
        assert_eq!(all.len(), 2);
    }
}
