#!/usr/bin/env python3
"""Make pkg/schema/data/openapi-parameters.tsv, openapi-words.tsv and openapi-extras.tsv from a server's Swagger document.

    scripts/generate-openapi-words.py SWAGGER

SWAGGER is what a kube-apiserver 1.36 answers to `kubectl get --raw /openapi/v2`. What it writes is committed:
building needs neither the document nor Python.

openapi-parameters.tsv holds a line for each parameter that requests have: its name, with `@` and where it is said
otherwise than elsewhere (`container@log`), its type, and what it does.

openapi-words.tsv says what types and fields are: a line `@type TAB text`, then a line `field TAB text` for each of
its fields. The block `@*` has what most fields of a name say; types leave these out, and have a line without text
where a field says nothing. Line feeds are written `\\n`.

openapi-extras.tsv has what the documents say and types.tsv has no words for: a line with the type, the field (none for
the type as a whole), and JSON that belongs into its schema.
"""
import collections
import json
import pathlib
import sys

OUT = pathlib.Path(__file__).resolve().parent.parent / "pkg/schema/data"
PODS = "/api/v1/namespaces/{namespace}/pods/{name}/"
# What fields of a name say is taken out of the types where so many say the same.
SHARED = 3


def escaped(text):
    """In one line."""
    return text.replace("\n", "\\n")


def parameters(document):
    """Each parameter by its name and where it stands."""
    found = {}

    def take(given, place):
        for one in given:
            one = document["parameters"][one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one
            if one["in"] == "body" or one["name"] == "name":
                continue
            name = one["name"] if one["in"] == "query" else f"{{{one['name']}}}"
            said = one["type"], escaped(one["description"])
            if found.setdefault(name, said) != said:
                found[f"{name}@{place}"] = said

    paths = document["paths"]
    for path in ("/api/v1/namespaces/{namespace}/secrets", "/api/v1/namespaces/{namespace}/secrets/{name}"):
        for method, operation in paths[path].items():
            take(operation if method == "parameters" else operation.get("parameters", ()), method)
    for name in ("attach", "exec", "log", "portforward"):
        take(paths[PODS + name]["parameters"], name)
    for name in ("pods", "nodes", "services"):
        scope = "" if name == "nodes" else "namespaces/{namespace}/"
        take(paths[f"/api/v1/{scope}{name}/{{name}}/proxy/{{path}}"]["parameters"], name)
    return [(name, *said) for name, said in sorted(found.items())]


def words(document, own_groups):
    """What types and their fields say, by blocks."""
    types = {name: schema for name, schema in document["definitions"].items() if name.startswith(own_groups)}
    said = collections.defaultdict(collections.Counter)
    for schema in types.values():
        for name, field in schema.get("properties", {}).items():
            said[name][escaped(field.get("description", ""))] += 1
    most = {name: texts.most_common(1)[0] for name, texts in said.items()}
    most = {name: text for name, (text, count) in most.items() if count >= SHARED and text}
    yield from [("@*", ""), *sorted(most.items())]
    for name, schema in sorted(types.items()):
        yield "@" + name, escaped(schema.get("description", ""))
        for field, inner in sorted(schema.get("properties", {}).items()):
            text = escaped(inner.get("description", ""))
            if text != most.get(field, ""):
                yield field, text


def extra(schema):
    """The part of a schema that types.tsv does not have."""
    kept = {}
    for inner in ("items", "additionalProperties"):
        if schema.get(inner, {}).get("enum"):
            kept[inner] = {"enum": schema[inner]["enum"]}
    if "" in schema.get("enum", ()):
        kept["enum"] = schema["enum"]
    if "x-kubernetes-list-type" in schema and schema.get("type") != "array":
        kept["x-kubernetes-list-type"] = schema["x-kubernetes-list-type"]
    for name, values in (("x-kubernetes-map-type", ("granular",)), ("x-kubernetes-patch-strategy", ("replace",))):
        if schema.get(name) in values:
            kept[name] = schema[name]
    if "x-kubernetes-unions" in schema:
        kept["x-kubernetes-unions"] = schema["x-kubernetes-unions"]
    return kept


def extras(document):
    """What is left over of types and fields."""
    for name, schema in sorted(document["definitions"].items()):
        if not name.startswith("io.k8s."):
            continue
        for field, inner in (("", schema), *sorted(schema.get("properties", {}).items())):
            kept = extra(inner)
            if kept:
                yield name, field, json.dumps(kept, separators=(",", ":"), sort_keys=True)


def main():
    document = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    tables = {"openapi-parameters.tsv": parameters(document), "openapi-words.tsv": words(document, "io.k8s."),
              "openapi-extras.tsv": extras(document)}
    for name, rows in tables.items():
        text = "".join("\t".join(row).rstrip("\t") + "\n" for row in rows)
        (OUT / name).write_text(text, encoding="utf-8")
        print(f"{OUT / name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
