#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the default roles and bindings of Kubernetes as the table that knarr-auth reads.

    scripts/generate-roles.py bootstrap-rbac.json > pkg/auth/src/rbac/default-roles.tsv

The input is an object with the lists clusterroles, clusterrolebindings, roles and rolebindings as
`kubectl get -o json` gives their items on a cluster that has no others. Every object has the annotation
rbac.authorization.kubernetes.io/autoupdate=true and the label kubernetes.io/bootstrapping=rbac-defaults;
the table leaves both out and names further labels.
"""
import json
import sys

AUTOUPDATE = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
BOOTSTRAPPING = ("kubernetes.io/bootstrapping", "rbac-defaults")


def listed(values):
    return ",".join(value or '""' for value in values or []) or "-"


def labels(metadata):
    assert metadata.get("annotations") == AUTOUPDATE, metadata
    own = dict(metadata["labels"])
    assert own.pop(BOOTSTRAPPING[0]) == BOOTSTRAPPING[1], metadata
    return listed(f"{key}={value}" for key, value in sorted(own.items()))


def head(kind, item):
    metadata = item["metadata"]
    return [kind, metadata.get("namespace", "-"), metadata["name"], labels(metadata)]


def role(kind, item):
    yield head(kind, item)
    for selector in (item.get("aggregationRule") or {}).get("clusterRoleSelectors", []):
        yield ["", "aggregate", listed(f"{k}={v}" for k, v in selector["matchLabels"].items())]
    for rule in item.get("rules") or []:
        fields = ["verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"]
        yield ["", "rule", *(listed(rule.get(field)) for field in fields)]


def binding(kind, item):
    yield [*head(kind, item), item["roleRef"]["kind"], item["roleRef"]["name"]]
    for subject in item.get("subjects") or []:
        yield ["", "subject", subject["kind"], subject.get("namespace", "-"), subject["name"]]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        objects = json.load(file)
    print("# The default roles and bindings of Kubernetes 1.36; made by scripts/generate-roles.py.")
    for kind, key, rows in [
        ("ClusterRole", "clusterroles", role),
        ("ClusterRoleBinding", "clusterrolebindings", binding),
        ("Role", "roles", role),
        ("RoleBinding", "rolebindings", binding),
    ]:
        for item in objects[key]:
            for row in rows(kind, item):
                print("\t".join(row))


if __name__ == "__main__":
    main()
