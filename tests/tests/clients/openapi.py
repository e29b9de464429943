# SPDX-License-Identifier: Apache-2.0
"""Requests made up from the server's own OpenAPI v3: openapi.py KUBECONFIG SEED COUNT.

Each document is one that clients can be made from. Each of its operations gets about COUNT requests: bodies that follow the schema, mostly, and bodies, patches and
parameters that do not. No answer may be a server's failure, except those that are meant. The same seed makes the same
requests. The checks that need no schema come at the end: everything that was stored can still be listed in every form.
"""

import base64
import collections
import http.client
import json
import random
import ssl
import sys
import tempfile
import urllib.parse

import yaml

KUBECONFIG, SEED, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
DICE = random.Random(SEED)
# Few names, so that requests meet objects.
NAMES = ["a", "b", "default"]
STRINGS = ["a", "b", "a", "a-b", "", "A_b", "x" * 300, "\u0000", "\U0001f6a2 é", "a/b", "../a", "1", "100m", "1Gi", "-1", "1e400",
           "10%", "a=b", "a in (b)", "*", "0.0.0.0/0", "::1", "2026-01-01T00:00:00Z", "self.a == 'b'", "{.a[*].b}", "$(A)", "%2f%00"]
NUMBERS = [0, 1, 2, 3, 8080, -1, 65536, 2**31, 2**63 - 1, -2**63, 2**63, 10**30, 0.5, 1e308]
QUERIES = {
    "labelSelector": ["a=b", "a in (a,b),!c", "a in (", "=", "a!=b", ",", "a" * 70],
    "fieldSelector": ["metadata.name=a", "metadata.name!=a", "spec.x=1", "=", "metadata.namespace=a\\,b", "type=Normal"],
    "resourceVersion": ["", "0", "1", "5", "x", "-1", "18446744073709551616"],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "x"],
    "continue": ["", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "e30"],
    "limit": ["0", "1", "2", "-1", "x", "9223372036854775807"],
    "timeoutSeconds": ["1", "0", "-1", "x"],
    "dryRun": ["All", "x", ""],
    "fieldValidation": ["Strict", "Warn", "Ignore", "x"],
    "fieldManager": ["one", "two", "\u0000", "x" * 200],
    "propagationPolicy": ["Foreground", "Background", "Orphan", "x"],
    "gracePeriodSeconds": ["0", "1", "-1", "x"],
}
FORMS = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
         "application/apply-patch+yaml"]
DIRECTIVES = ["$patch", "$retainKeys", "$setElementOrder/{}", "$deleteFromPrimitiveList/{}"]
ACCEPTS = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf",
           "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
           "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "text/html", "*/*", "application/json;as=;v="]


def chance(part):
    return DICE.random() < part


class Server:
    """One connection, made again when the server or a broken request ends it."""

    def __init__(self, kubeconfig):
        config = yaml.safe_load(open(kubeconfig))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = urllib.parse.urlsplit(cluster["server"]).netloc
        self.context = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
            pair.flush()
            self.context.load_cert_chain(pair.name)
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        """The status and the body; a watch's body is left unread."""
        for again in (True, False):
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(self.address, context=self.context, timeout=60)
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                if answer.status == 200 and answer.headers.get("Transfer-Encoding") == "chunked" and "watch=" in path:
                    self.close()
                    return answer.status, b""
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError) as error:
                # A kept connection may have been closed meanwhile; a fresh one may not.
                self.close()
                if not again:
                    raise OSError(f"{method} {path} {headers} {body!r:.2000}") from error

    def close(self):
        self.connection.close()
        self.connection = None


class Maker:
    """Makes up values by the schemas of one document."""

    def __init__(self, document):
        self.schemas = document["components"].get("schemas", {})

    def resolve(self, schema):
        while True:
            if "$ref" in schema:
                schema = self.schemas[schema["$ref"].rsplit("/", 1)[1]]
            elif "allOf" in schema:
                schema = schema["allOf"][0]
            else:
                return schema

    def anything(self):
        return DICE.choice([None, True, "a", 1, -1, [], {}, [None], [{}], {"a": None}, {"": ""}, "x" * 300, 2**63, [[[]]]])

    def value(self, schema, depth=0, wrong=0.02):
        schema = self.resolve(schema)
        if chance(wrong):
            return self.anything()
        kind = schema.get("type")
        if "enum" in schema and not chance(0.1):
            return DICE.choice(schema["enum"])
        if kind == "object" or "properties" in schema:
            return self.object(schema, depth, wrong)
        if kind == "array":
            return [self.value(schema.get("items", {}), depth + 1, wrong) for _ in range(DICE.choice([0, 1, 1, 2]))]
        if kind == "boolean":
            return chance(0.5)
        if kind in ("integer", "number"):
            return DICE.choice(NUMBERS[:6] if chance(0.8) else NUMBERS)
        if kind == "string":
            if schema.get("format") == "date-time" and chance(0.8):
                return "2026-01-01T00:00:00Z"
            if schema.get("format") == "byte" and chance(0.8):
                return "YQ=="
            return DICE.choice(STRINGS[:4] if chance(0.8) else STRINGS)
        return DICE.choice([1, "a", "50%", self.anything()])

    def object(self, schema, depth, wrong):
        made, required = {}, schema.get("required", [])
        for name, field in schema.get("properties", {}).items():
            if name in required or chance(0.35 if depth < 2 else 0.8 / (depth + 1)):
                if depth < 9:
                    made[name] = self.value(field, depth + 1, wrong)
        if isinstance(schema.get("additionalProperties"), dict):
            for _ in range(DICE.choice([0, 0, 1, 2])):
                made[DICE.choice(STRINGS)] = self.value(schema["additionalProperties"], depth + 1, wrong)
        if chance(wrong):
            made[DICE.choice(["unknown", "$patch", "", "a.b/c"])] = self.anything()
        return made

    def body(self, schema, kind, name, mild):
        """An object of a kind; a mild one is likely to be taken."""
        made = self.value(schema, 0, 0.0 if mild else 0.03)
        if not isinstance(made, dict) or chance(0.02):
            return made
        group, version = kind.get("group"), kind.get("version")
        made["apiVersion"], made["kind"] = f"{group}/{version}" if group else version, kind.get("kind")
        metadata = {"name": name or DICE.choice(NAMES), "labels": {"a": DICE.choice("ab")}}
        if not mild and isinstance(made.get("metadata"), dict):
            metadata = {**made["metadata"], **metadata}
        made["metadata"] = {key: value for key, value in metadata.items() if not mild or key != "finalizers"}
        made.pop("status", None) if mild else None
        return made

    def patch(self, form, schema, kind, name):
        if form == "application/json-patch+json":
            return [self.operation(schema) for _ in range(DICE.choice([0, 1, 2, 3]))]
        made = self.body(schema, kind, name, chance(0.5))
        if form.startswith("application/strategic") and isinstance(made, dict):
            self.direct(made)
        return made

    def operation(self, schema):
        pointer, at = "", self.resolve(schema)
        while at.get("properties") and chance(0.8):
            step = DICE.choice(list(at["properties"]))
            pointer, at = f"{pointer}/{step}", self.resolve(at["properties"][step])
            if at.get("type") == "array":
                pointer, at = f"{pointer}/{DICE.choice(['0', '-', '1', '99999999999999999999', 'x'])}", self.resolve(at.get("items", {}))
        pointer = DICE.choice(["", "/", "a", "/~2", "/metadata/labels/~1"]) if chance(0.1) else pointer
        made = {"op": DICE.choice(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": pointer}
        if chance(0.8):
            made["value"] = self.value(at, 2)
        if chance(0.3):
            made["from"] = DICE.choice([pointer, "/metadata/name", "/metadata", "", "/x"])
        return made

    def direct(self, made):
        """Puts directives of strategic merges here and there."""
        for key, value in list(made.items()):
            if isinstance(value, dict):
                self.direct(value)
            if isinstance(value, list):
                for item in value:
                    self.direct(item) if isinstance(item, dict) else None
            if chance(0.1):
                made[DICE.choice(DIRECTIVES).format(key)] = DICE.choice(["delete", "replace", "merge", [], ["a"], [{"name": "a"}], {}])


def spoiled(text):
    """Bytes that are no longer what they were."""
    cut = DICE.randrange(len(text) + 1)
    return DICE.choice([text[:cut], text + b"}", text[:cut] + b"\xff" + text[cut:], b"", b"null", b"[" * 2000, b'{"a":' * 500,
                        b"k8s\x00" + text[:cut], b"k8s\x00\x0a\xff\xff\xff\xff\x0f", text.replace(b'"a"', b'"a":"a","a"')])


def query(item, operation):
    chosen = {}
    for parameter in item.get("parameters", []) + operation.get("parameters", []):
        if parameter["in"] == "query" and chance(0.15):
            name = parameter["name"]
            pool = QUERIES.get(name) or (["true", "false", "x"] if parameter["schema"]["type"] == "boolean" else STRINGS)
            chosen[name] = DICE.choice(pool)
    # A version that never comes is waited for: rarely, and nothing else waits.
    if chance(0.002):
        chosen["resourceVersion"] = "99999999"
    return "?" + urllib.parse.urlencode(chosen) if chosen else ""


def request(maker, path, item, method):
    operation = item[method]
    kind = operation.get("x-kubernetes-group-version-kind", {})
    name = DICE.choice(NAMES if chance(0.95) else ["A_b", "%00", "x" * 300, "..", "a%2fb"])
    where = path.replace("{namespace}", "default" if chance(0.95) else "none").replace("{name}", name)
    headers = {"Accept": DICE.choice(ACCEPTS if chance(0.3) else ACCEPTS[:1])}
    body = None
    if method == "patch":
        form = DICE.choice(FORMS)
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        body, headers["Content-Type"] = json.dumps(maker.patch(form, answer, kind, name)).encode(), form
        where += query(item, operation) or ("?fieldManager=one&force=true" if "apply" in form else "")
    else:
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", content.get("*/*", {})).get("schema")
        if schema is not None:
            made = maker.body(schema, kind, name if method == "put" else None, chance(0.6))
            body, headers["Content-Type"] = json.dumps(made).encode(), "application/json"
        where += query(item, operation)
    if body is not None and chance(0.05):
        body = spoiled(body)
        headers["Content-Type"] = DICE.choice([*FORMS, "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "x"])
    return where, body, headers


# Failures that kube-apiserver has, in its words: recorded, or from where they are made. 503 and 504 are of things that
# are not there, or would have to be waited for.
MEANT = {
    500: ["failed to create typed patch object (", "failed to convert new object (", "unknown patch type: ",
          "strconv.ParseUint: parsing ", "resourceVersion should not be set on objects to be created", "target.name: Required",
          "target.kind: Unsupported value", "resourceVersion: Invalid value", "does not contain declared merge key",
          "merging lists cannot yet be specified", "doesn't match $setElementOrder list", "expected a []interface {}, but",
          "expected a map[string]interface {}, but", "list element types are not identical",
          "no elements in any of the given slices", "failed to allocate requested HealthCheck NodePort", "failed calling webhook"],
    503: ["no endpoints available for service"],
    504: ["Too large resource version"],
}


def is_meant(status, text):
    return any(words.encode() in text.replace(b'\\"', b'"') for words in MEANT.get(status, []))


def references(value):
    """All that a document refers to."""
    if isinstance(value, dict):
        yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
        for inner in value.values():
            yield from references(inner)
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def unusable(document):
    """What would stop those who make clients from a document."""
    schemas = document["components"].get("schemas", {})
    missing = {to for to in references(document) if to.rsplit("/", 1)[1] not in schemas}
    yield from (f"{to} is referred to and not there" for to in sorted(missing))
    seen = collections.Counter()
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            operation, where = item[method], f"{method} {path}"
            seen[operation["operationId"]] += 1
            given = item.get("parameters", []) + operation.get("parameters", [])
            in_path = {one["name"] for one in given if one["in"] == "path" and one["required"]}
            if in_path != {part[1:-1] for part in path.split("/") if part.startswith("{")}:
                yield f"{where}: the path has other parameters than {in_path}"
            keys = [(one["name"], one["in"]) for one in given]
            if len(keys) != len(set(keys)) or not all(one["description"] and one["schema"]["type"] for one in given):
                yield f"{where}: parameters are there twice, or say nothing"
            if not operation["tags"] or not operation["description"] or "401" not in operation["responses"]:
                yield f"{where}: it says too little"
            if not all(answer.get("content") for code, answer in operation["responses"].items() if code != "401"):
                yield f"{where}: it answers with nothing"
    yield from (f"{name} is the name of several operations" for name, count in seen.items() if count > 1)


def try_document(server, document, faults, answers):
    """Rounds through all operations, so that what one makes the others meet; deletes are rarer."""
    maker = Maker(document)
    for _ in range(COUNT):
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                # What goes through to pods and nodes answers what those answer.
                passes_on = path.endswith(("/proxy", "/proxy/{path}", "/exec", "/attach", "/portforward"))
                # The old paths of watches never end.
                if method == "parameters" or passes_on or "/watch/" in path or (method == "delete" and chance(0.8)):
                    continue
                where, body, headers = request(maker, path, operations, method)
                status, text = server.ask(method.upper(), where, body, headers)
                answers[status] += 1
                if status >= 500 and not is_meant(status, text):
                    faults.append(f"{method.upper()} {where} {headers} {body!r:.2000}: {status} {text!r:.500}")


def try_lists(server, document, faults):
    for path, operations in document["paths"].items():
        get = operations.get("get", {})
        if get.get("x-kubernetes-action") == "list" and "{" not in path and not path.endswith("/componentstatuses"):
            for accept in ACCEPTS[:5]:
                status, text = server.ask("GET", path, None, {"Accept": accept})
                # One object's metadata is no form of a list.
                meant = status == (406 if "as=PartialObjectMetadata;" in accept else 200)
                if not meant and not (status == 406 and "protobuf" in accept):
                    faults.append(f"GET {path} as {accept}: {status} {text!r:.500}")


def main():
    server, faults, answers = Server(KUBECONFIG), [], collections.Counter()
    index = json.loads(server.ask("GET", "/openapi/v3")[1])["paths"]
    documents = [json.loads(server.ask("GET", entry["serverRelativeURL"])[1]) for entry in index.values()]
    for name, document in zip(index, documents):
        faults.extend(f"{name}: {fault}" for fault in unusable(document))
    for document in documents:
        if document.get("paths"):
            try_document(server, document, faults, answers)
    for document in documents:
        try_lists(server, document, faults)
    print(f"{len(documents)} documents, {answers.total()} requests: {sorted(answers.items())}")
    if faults:
        print(f"{len(faults)} failed\n" + "\n".join(faults[:40]))
        sys.exit(1)


main()
