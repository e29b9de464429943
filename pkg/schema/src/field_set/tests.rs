// SPDX-License-Identifier: Apache-2.0
//! Sets of fields: their algebra, and FieldsV1 there and back.

use knarr_types::tree::json;
use proptest::prelude::*;

use super::*;

fn set() -> impl Strategy<Value = FieldSet<'static>> {
    let element = prop_oneof![
        "[a-c]".prop_map(|name| Element::Field(name.into())),
        "[a-b]".prop_map(|name| Element::Item(format!("k:{{\"name\":\"{name}\"}}").into())),
        (0..2).prop_map(|n| Element::value(&json!(n))),
    ];
    prop::collection::vec(prop::collection::vec(element, 1..4), 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        paths.iter().for_each(|path| set.insert(path));
        set
    })
}

#[test]
fn the_published_form_tells_members_from_what_is_below() {
    let published =
        json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:l": {"k:{\"name\":\"x\",\"port\":1}": {"f:c": {}}}});
    let set = FieldSet::parse(&published).unwrap();
    assert_eq!(set.to_value(), published);
    let paths: Vec<_> = set.paths().iter().map(|path| path_text(path)).collect();
    assert_eq!(paths, [".a", ".b", ".b.c", ".l[name=\"x\",port=1].c"]);
}

#[test]
fn other_keys_are_refused() {
    for bad in
        [json!({"a": {}}), json!({"x:a": {}}), json!({"k:[": {}}), json!({"k:1": {}}), json!({"i:x": {}}), json!(1)]
    {
        assert!(FieldSet::parse(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_tree_goes_as_a_whole() {
    let published = json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}});
    let mut set = FieldSet::parse(&published).unwrap();
    set.remove_tree(&[Element::Field("a".into())]);
    assert_eq!(set.to_value(), json!({"f:c": {}}));
}

proptest! {
    #[test]
    fn sets_obey_the_laws_of_sets(a in set(), b in set(), c in set()) {
        let union = a.clone().union(b.clone());
        prop_assert_eq!(&union, &b.clone().union(a.clone()));
        prop_assert_eq!(a.clone().union(a.clone()), a.clone());
        prop_assert_eq!(a.clone().union(b.clone()).union(c.clone()), a.clone().union(b.clone().union(c.clone())));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(a.intersection(&b)), a.clone());
        prop_assert_eq!(union.difference(&b), a.difference(&b));
        prop_assert!(a.difference(&a).is_empty());
        prop_assert_eq!(a.difference(&b.clone().union(c.clone())), a.difference(&b).difference(&c));
    }

    #[test]
    fn the_published_form_reads_back(a in set()) {
        let published = a.to_value();
        prop_assert_eq!(FieldSet::parse(&published).unwrap(), a);
    }

    #[test]
    fn paths_are_those_that_are_in_it(a in set(), b in set()) {
        for path in a.paths() {
            prop_assert!(a.contains(&path));
            prop_assert_eq!(a.difference(&b).contains(&path), !b.contains(&path));
        }
    }
}
