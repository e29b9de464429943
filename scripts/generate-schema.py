#!/usr/bin/env python3
"""Make pkg/schema/data from the facts about Kubernetes 1.36.

    scripts/generate-schema.py [FACTS [PROTOS...]]

FACTS is a folder with fields.tsv, resources.tsv, columns.tsv and selectable-fields.tsv, as read
from a kube-apiserver (default: ../shared/facts). What it writes is committed: building needs
neither the facts nor Python.

PROTOS are folders with the generated.proto files of Kubernetes 1.36 (the repositories api,
apimachinery, apiextensions-apiserver and kube-aggregator of github.com/kubernetes, branch
release-1.36). Without them the numbers of fields stay as they are in types.tsv.

go-fields.tsv beside this script adds what the published schema does not tell about upstream's own
structs, and clients see all the same: which fields are pointers or lack omitempty, and the names of
their types in error messages, and the structs that Go embeds around them.

types.tsv holds a line `@name TAB flags TAB group/version/kind...` for each type, then a line for
each of its fields: name, type, number, emission, default, list, patch, enum, Go type, embedded. The number is
that of the field in protobuf: `2.5` is field 5 of the message in field 2 (a struct that Go embeds),
`4w` is a list that has a message of its own around it; a field without one is not in protobuf.
The fields of a type stand in the order of upstream's structs, in which upstream writes JSON.
"""
import csv
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent.parent
OUT = HERE / "pkg/schema/data"
SCALARS = {"integer:int32": "int32", "integer:int64": "int64", "number:double": "number", "string:byte": "bytes"}
# Types of the tests' own that the facts were recorded beside.
LEFT_OUT = ("com.example.",)


def rows(path):
    """The rows of a file as dicts, its first line naming the columns."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def type_name(text):
    """The type in the form that the engine reads: prefixes for lists and maps, then a name."""
    for prefix in ("[]", "map[]"):
        if text.startswith(prefix):
            return prefix + type_name(text[len(prefix):])
    return SCALARS.get(text, text)


def emission(row, kinds):
    """When Go prints the field, as far as the published schema tells: A(lways), N(ull), E(mpty is
    left out), U(nset is left out: pointers)."""
    kind = type_name(row["type"])
    required = row["required"] == "yes"
    if required:
        collection = kind.startswith(("[]", "map[]"))
        time = kind.endswith((".Time", ".MicroTime"))
        return "N" if collection or time else "A"
    if row["default"] == "{}":
        return "A"
    if kind.startswith(("[]", "map[]")) or kind in ("string", "bytes"):
        return "E"
    return "U" if kinds.get(kind) == "object" else "E"


def wire_name(name):
    """What the names of a field in JSON and in protobuf have in common."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def messages(folders):
    """The messages of .proto files by the published name of their type: a list of (name, type, number)."""
    def published(name):
        name = name.replace("k8s.io.", "io.k8s.", 1)
        return name.replace("apiextensions_apiserver", "apiextensions-apiserver").replace("kube_aggregator", "kube-aggregator")

    found = {}
    for path in (path for folder in folders for path in sorted(pathlib.Path(folder).rglob("generated.proto"))):
        text = path.read_text(encoding="utf-8")
        package = published(re.search(r"^package (\S+);", text, re.M)[1])
        for name, body in re.findall(r"^message (\w+) \{\n(.*?)^\}", text, re.M | re.S):
            pattern = r"^ *(?:optional|repeated|map<\w+,) *(\S+?)>? (\w+) = (\d+);"
            found[f"{package}.{name}"] = [
                (field, published(kind[1:]) if kind.startswith(".") else f"{package}.{kind}", number)
                for kind, field, number in re.findall(pattern, body, re.M)]
    return found


def numbers_of(message, protos, known):
    """The number of each field by its wire name; `known` are the wire names that the JSON has."""
    numbers = {}
    for name, kind, number in protos.get(message, ()):
        inner = protos.get(kind, ())
        if wire_name(name) in known:
            wrapped = [field for field, _, _ in inner] == ["items"] and kind.rsplit(".", 1)[1] in ("ExtraValue", "Verbs")
            numbers[wire_name(name)] = number + ("w" if wrapped else "")
        else:
            embedded = numbers_of(kind, protos, known)
            numbers.update((field, f"{number}.{below}") for field, below in embedded.items())
    return numbers


def numbers(fields, folders):
    """The number in protobuf of each (type, field), in the order of upstream's structs."""
    if not folders:
        known, schema = {}, ""
        for line in (OUT / "types.tsv").read_text(encoding="utf-8").splitlines():
            columns = line.split("\t")
            if line.startswith("@"):
                schema = columns[0][1:]
            elif len(columns) > 2:
                known[schema, columns[0]] = columns[2]
        return known
    protos, by_type = messages(folders), {}
    for row in filter(lambda row: row["field"], fields):
        by_type.setdefault(row["schema"], []).append(row["field"])
    known = {}
    for schema, names in by_type.items():
        found = numbers_of(schema, protos, {wire_name(name) for name in names})
        order = [*found]
        names = sorted(names, key=lambda name: order.index(wire_name(name)) if wire_name(name) in found else -1)
        known.update(((schema, name), found.get(wire_name(name), "")) for name in names)
    return known


def types(facts, protos):
    """The text of types.tsv."""
    fields = [row for row in rows(facts / "fields.tsv") if not row["schema"].startswith(LEFT_OUT)]
    kinds = {row["schema"]: row["type"] for row in fields if not row["field"]}
    known = {(row["schema"], row["field"]): row for row in rows(HERE / "scripts/go-fields.tsv")}
    wire = numbers(fields, protos)
    place = {key: at for at, key in enumerate(wire)}
    # The lines of types stay where they are, those of their fields are put in order: first kind and apiVersion, where
    # they are those of a whole object, which protobuf has outside of it.
    first = {(row["schema"], name): at for row in fields for name, at in (("kind", -2), ("apiVersion", -1))
             if not wire.get((row["schema"], name))}
    starts = {row["schema"]: at for at, row in enumerate(fields) if not row["field"]}
    fields.sort(key=lambda row: (starts.get(row["schema"], 0), bool(row["field"]),
                                 first.get((row["schema"], row["field"]), place.get((row["schema"], row["field"]), 0))))
    lines = []
    for row in fields:
        if not row["field"]:
            flags = "atomic" if row["map-type"] == "atomic" else ""
            kind = "" if row["type"] == "object" else row["type"]
            lines.append(["@" + row["schema"], " ".join(filter(None, (kind, flags))), row["union/validations"] or ""])
            continue
        merge = row["list-type"] or row["map-type"]
        if row["list-map-keys"]:
            merge = f"map {row['list-map-keys']}"
        patch = " ".join(filter(None, (row["patch-strategy"], row["patch-merge-key"])))
        go = known.get((row["schema"], row["field"]), {})
        printed = go.get("emission") or emission(row, kinds)
        number = wire.get((row["schema"], row["field"]), "")
        lines.append([row["field"], type_name(row["type"]), number, printed + ("!" if row["required"] else ""),
                      row["default"], merge, patch, row["enum"] or "", go.get("Go type") or "", go.get("embedded") or ""])
    return "".join("\t".join(line).rstrip("\t") + "\n" for line in lines)


def kinds(facts):
    """The text of kinds.tsv: a resource a line, with its columns and selectable fields."""
    def key(row):
        return row["group"], row["version"], row["resource"]

    columns = {key(row): row["columns (name:type[:format]@priority)"] for row in rows(facts / "columns.tsv")}
    selectable = {key(row): row["fields"] for row in rows(facts / "selectable-fields.tsv")}
    published = {}
    for row in rows(facts / "fields.tsv"):
        if not row["field"]:
            for name in (row["union/validations"] or "").split():
                published.setdefault(name, row["schema"])
    lines = []
    for row in rows(facts / "resources.tsv"):
        if row["group"].startswith("example."):
            continue
        schema = published[f"{row['group']}/{row['version']}/{row['kind']}"]
        lines.append([row["group"], row["version"], row["resource"], row["kind"], row["scope"], row["short"],
                      row["categories"], row["verbs"], row["subresources(kind)"] or "", schema,
                      columns.get(key(row), ""), selectable.get(key(row), "")])
    return "".join("\t".join(line) + "\n" for line in lines)


def main():
    facts = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "shared/facts"
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in (("types.tsv", types(facts, sys.argv[2:])), ("kinds.tsv", kinds(facts))):
        (OUT / name).write_text(text, encoding="utf-8")
        print(f"{OUT / name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
