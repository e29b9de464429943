#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes who may do what by the default roles of Kubernetes, for a test of knarr-auth.

    scripts/generate-role-access.py bootstrap-rbac.json resources.tsv > pkg/auth/src/rbac/default-access.tsv

The first input is that of generate-roles.py. The second lists what discovery publishes, a resource a line: group,
version, resource, kind, scope, short names, categories, verbs, and subresources as `name=kind:verbs`; there are no
custom kinds. Each line of the
output is: namespace and name of a role, an object's name or `-` for objects of any name, verbs, and the resources on
which the role allows just these. It comes from the rules by the words of their documentation alone.
"""
import json
import sys

VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def routes(path):
    found = set()
    with open(path, encoding="utf-8") as file:
        next(file)
        for line in file:
            cells = line.rstrip("\n").split("\t")
            group, resource, below = cells[0], cells[2], cells[8]
            found.add((group, resource, ""))
            found.update((group, resource, one.split("=")[0]) for one in below.split())
    return sorted(found)


def covers(rule, verb, route, name):
    group, resource, below = route
    listed = lambda field, wanted: any(one in ("*", wanted) for one in rule.get(field) or [])
    full = f"{resource}/{below}" if below else resource
    in_resources = listed("resources", full) or (below and f"*/{below}" in (rule.get("resources") or []))
    names = rule.get("resourceNames") or []
    return listed("verbs", verb) and listed("apiGroups", group) and in_resources and (not names or name in names)


def rules_of(role, roles):
    aggregation = role.get("aggregationRule")
    if not aggregation:
        return role.get("rules") or []
    rules = []
    for selector in aggregation["clusterRoleSelectors"]:
        for other in roles:
            labels = other["metadata"]["labels"]
            if other is not role and all(labels.get(k) == v for k, v in selector["matchLabels"].items()):
                rules += rules_of(other, roles)
    return rules


def shown(route):
    group, resource, below = route
    return resource + ("." + group if group else "") + ("/" + below if below else "")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        objects = json.load(file)
    all_routes = routes(sys.argv[2])
    print("# Who may do what by the default roles of Kubernetes 1.36; made by scripts/generate-role-access.py.")
    for role in objects["clusterroles"] + objects["roles"]:
        rules = rules_of(role, objects["clusterroles"])
        metadata = role["metadata"]
        for name in [""] + sorted({name for rule in rules for name in rule.get("resourceNames") or []}):
            allowed = {}
            for route in all_routes:
                of_route = [verb for verb in VERBS if any(covers(rule, verb, route, name) for rule in rules)]
                of_any = [verb for verb in VERBS if any(covers(rule, verb, route, "") for rule in rules)]
                if of_route and (not name or of_route != of_any):
                    allowed.setdefault(",".join(of_route), []).append(shown(route))
            for verbs, resources in sorted(allowed.items()):
                resources = ["*"] if len(resources) == len(all_routes) else resources
                print("\t".join([metadata.get("namespace", "-"), metadata["name"], name or "-", verbs, ",".join(resources)]))


if __name__ == "__main__":
    main()
