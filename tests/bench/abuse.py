#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What rude clients cost: memory stays bounded, and others are served meanwhile.

    tests/bench/abuse.py KNARR [--small]     a release binary; --small is for tests: less of everything

Prints a line an abuse: how much memory the server took for it, and the slowest of the gets that a polite client made
meanwhile. Ends with 1 when a bound on memory is broken or somebody is not served; time decides nothing.
"""

import http.client
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time

from apiclient import Cluster, until

PORT = 26445
SMALL = "--small" in sys.argv
MIB = 1 << 20
FAULTS = []


def raw(cluster, head):
    """A TLS connection on which this has been sent."""
    plain = socket.create_connection((cluster.server.hostname, cluster.server.port), timeout=60)
    stream = cluster.context.wrap_socket(plain, server_hostname=cluster.server.hostname)
    stream.sendall(head)
    return stream


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n".encode()


def post(path, length):
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


def status_of(stream):
    """The status of the answer; 0 where the server closed without one."""
    answer = b""
    while b"\r\n" not in answer and (part := stream.recv(4096)):
        answer += part
    return int(answer.split(b" ")[1]) if answer else 0


def resident(pid):
    """Bytes of memory; 0 when the process is gone."""
    sizes = [int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS")]
    return sizes[0] * 1024 if sizes else 0


class Polite(threading.Thread):
    """Gets one object over and over, each time on a fresh connection, and watches the server's memory."""

    def __init__(self, kubeconfig, pid):
        super().__init__(daemon=True)
        self.kubeconfig, self.pid, self.over = kubeconfig, pid, threading.Event()
        self.slowest, self.peak, self.count, self.problem = 0.0, 0, 0, None

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                Cluster(self.kubeconfig).call("GET", "/api/v1/namespaces/default")
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                self.problem = repr(error)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.count += 1
            self.peak = max(self.peak, resident(self.pid))
            self.over.wait(0.01)


class Bench:
    def __init__(self, kubeconfig, pid):
        self.kubeconfig, self.pid, self.cluster = kubeconfig, pid, Cluster(kubeconfig)

    def measure(self, name, bound_mib, abuse):
        """Runs an abuse, which may give a text, beside a polite client. `bound_mib` is the most that memory may grow."""
        # What was freed before may not be counted as room for what comes.
        before = resident(self.pid)
        polite = Polite(self.kubeconfig, self.pid)
        polite.start()
        said = abuse()
        polite.over.set()
        polite.join()
        grown = (max(polite.peak, resident(self.pid)) - before) / MIB
        print(f"{name}: memory +{grown:.0f} MiB (bound {bound_mib}), slowest get of {polite.count}: "
              f"{polite.slowest * 1000:.0f} ms{'; ' + said if said else ''}", flush=True)
        if grown > bound_mib:
            FAULTS.append(f"{name}: memory grew by {grown:.0f} MiB, more than {bound_mib}")
        if polite.problem:
            FAULTS.append(f"{name}: a polite client was not served: {polite.problem}")

    def slow_heads(self, count):
        def abuse():
            streams = [raw(self.cluster, b"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nX-Slow: ") for _ in range(count)]
            for _ in range(5):
                for stream in streams:
                    stream.sendall(b"a")
            for stream in streams:
                stream.close()
        self.measure(f"{count} requests whose heads never end", count * 0.1 + 16, abuse)

    def slow_bodies(self, count):
        """Each says that a large body comes, sends a little, and must get its answer when its time is over."""
        def abuse():
            head = post("/api/v1/namespaces/default/configmaps?timeout=1s", 3 * MIB - 1)
            streams = [raw(self.cluster, head + b'{"data": {') for _ in range(count)]
            answers = [status_of(stream) for stream in streams]
            if set(answers) != {504}:
                FAULTS.append(f"slow bodies: answers {sorted(set(answers))} instead of 504")
            for stream in streams:
                stream.close()
        self.measure(f"{count} requests whose bodies never end", count * 0.1 + 16, abuse)

    def large_bodies(self, count):
        """The dearest 3 MiB: a list of zeros, which is no field of the kind."""
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"large"},"x":[' + b"0," * (3 * MIB // 2 - 100) + b"0]}"
        def one(answers):
            stream = raw(self.cluster, post("/api/v1/namespaces/default/configmaps?dryRun=All", len(body)) + body)
            answers.append(status_of(stream))
            stream.close()
        def abuse():
            answers = []
            threads = [threading.Thread(target=one, args=[answers]) for _ in range(count)]
            [thread.start() for thread in threads]
            [thread.join() for thread in threads]
            if len(answers) != count or not set(answers) <= {201, 429}:
                FAULTS.append(f"large bodies: answers {sorted(set(answers))} of {len(answers)}")
            return f"answers {sorted(set(answers))}"
        self.measure(f"{count} bodies of 3 MiB at once", 400, abuse)

    def idle_watches(self, count):
        def abuse():
            path = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0&timeoutSeconds=600"
            streams = [raw(self.cluster, get(path)) for _ in range(count)]
            for stream in streams:
                if status_of(stream) != 200:
                    FAULTS.append("an idle watch is refused")
                    break
            began = time.monotonic()
            self.cluster.call("POST", "/api/v1/namespaces/default/configmaps", config_map("seen", 1))
            for stream in streams:
                text = b""
                while b'"seen"' not in text:
                    part = stream.recv(65536)
                    if not part:
                        FAULTS.append("an idle watch ended before it saw the change")
                        break
                    text = text[-100:] + part
            took = time.monotonic() - began
            self.cluster.call("DELETE", "/api/v1/namespaces/default/configmaps/seen")
            for stream in streams:
                stream.close()
            return f"all saw a change after {took * 1000:.0f} ms, {(resident(self.pid) >> 10) // count} KiB of all memory each"
        self.measure(f"{count} idle watches, each on its own connection", count * 0.1 + 16, abuse)

    def watcher_that_never_reads(self, changes):
        """Each change is of 256 KiB; another watcher must see all of them."""
        def abuse():
            version = self.cluster.call("GET", "/api/v1/namespaces/default/configmaps?limit=1")["metadata"]["resourceVersion"]
            path = f"/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={version}&timeoutSeconds=600"
            lazy = [raw(self.cluster, get(path)) for _ in range(10)]
            seen, reader = [], Cluster(self.kubeconfig)
            def read():
                for _, event in reader.watch(path.split("&resource")[0].split("?")[0] + f"?resourceVersion={version}"):
                    seen.append(event["type"])
                    if len(seen) == changes:
                        return
            thread = threading.Thread(target=read, daemon=True)
            thread.start()
            for change in range(changes):
                method, path = ("PUT", "/stuffed") if change else ("POST", "")
                self.cluster.call(method, f"/api/v1/namespaces/default/configmaps{path}", config_map("stuffed", 256 * 1024, change))
            thread.join(60)
            if len(seen) != changes:
                FAULTS.append(f"beside watchers that never read another sees {len(seen)} of {changes} changes")
            self.cluster.call("DELETE", "/api/v1/namespaces/default/configmaps/stuffed")
            for stream in lazy:
                stream.close()
        self.measure(f"10 watchers that never read, {changes} changes of 256 KiB", 96, abuse)

    def fill(self, objects, size):
        for number in range(objects):
            self.cluster.call("POST", "/api/v1/namespaces/default/configmaps", config_map(f"page-{number}", size))

    def lists(self, count, megabytes):
        """All are asked for before any is read; then one of them is read whole."""
        def abuse():
            path = "/api/v1/namespaces/default/configmaps"
            streams = [raw(self.cluster, get(path)) for _ in range(count)]
            if any(status_of(stream) != 200 for stream in streams):
                FAULTS.append("a LIST is refused")
            length = 0
            streams[0].settimeout(60)
            while length < megabytes * MIB and (part := streams[0].recv(MIB)):
                length += len(part)
            if length < megabytes * MIB:
                FAULTS.append(f"a LIST ended after {length} bytes")
            for stream in streams:
                stream.close()
        self.measure(f"{count} LISTs of {megabytes} MiB at once, read late", 64, abuse)

    def hanging_webhook(self, count):
        """A webhook that takes connections and never answers, for secrets."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        hook = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "hangs"},
                "webhooks": [{"name": "hangs.abuse.test", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                              "timeoutSeconds": 2, "failurePolicy": "Fail",
                              "clientConfig": {"url": f"https://127.0.0.1:{listener.getsockname()[1]}/hang"},
                              "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}]}]}
        self.cluster.call("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", hook)
        body = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "slow-"}}).encode()
        def abuse():
            head = post("/api/v1/namespaces/default/secrets", len(body))
            streams = [raw(self.cluster, head + body) for _ in range(count)]
            self.fill_around(20)
            answers = {status_of(stream) for stream in streams}
            if answers != {500}:
                FAULTS.append(f"a hanging webhook: answers {sorted(answers)} instead of 500")
            for stream in streams:
                stream.close()
        self.measure(f"{count} creates through a webhook that hangs", count * 0.2 + 16, abuse)
        self.cluster.call("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hangs")
        listener.close()

    def fill_around(self, objects):
        """Writes that the webhook has nothing to do with go on."""
        for number in range(objects):
            self.cluster.call("POST", "/api/v1/namespaces/default/configmaps", config_map(f"around-{number}", 1))
        self.cluster.call("DELETE", "/api/v1/namespaces/default/configmaps?labelSelector=kind%3Daround")

    def nonsense(self, count):
        """Deep nesting, alias bombs, heads of a MiB, paths of 64 KiB: refused, one after the other."""
        level = lambda i: f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n"
        bomb = ("a0: &a0 [x]\n" + "".join(level(i) for i in range(1, 10))).encode()
        bodies = [("application/json", b"[" * (3 * MIB - 1)), ("application/json", b'{"a":' * (MIB // 2)),
                  ("application/yaml", bomb), ("application/yaml", b"[" * MIB), ("application/yaml", b"- " * MIB),
                  ("application/apply-patch+yaml", bomb), ("application/vnd.kubernetes.protobuf", b"k8s\0" + b"\x0a\xff\xff\xff\x7f" * 1000)]
        def abuse():
            for _ in range(count):
                for kind, body in bodies:
                    head = post("/api/v1/namespaces/default/configmaps", len(body)).replace(b"application/json", kind.encode(), 1)
                    status = status_of(raw(self.cluster, head + body))
                    if not 400 <= status < 500:
                        FAULTS.append(f"nonsense as {kind} is answered with {status}: {body[:30]!r}")
                for head in [get("/" + "a" * 70_000), b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * MIB + b"\r\n\r\n"]:
                    try:
                        status = status_of(raw(self.cluster, head))
                    except OSError:
                        status = 0
                    if status and not 400 <= status < 500:
                        FAULTS.append(f"too large a head is answered with {status}")
        self.measure(f"{count} rounds of nonsense", 200, abuse)


def config_map(name, size, salt=0):
    labels = {"kind": name.split("-")[0]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels},
            "data": {"a": f"{salt}-".ljust(size, "x")}}


def ready(kubeconfig):
    try:
        cluster = Cluster(kubeconfig)
    except FileNotFoundError:
        return None
    return cluster.call("GET", "/readyz") == "ok"


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, 65536), limit))
    with tempfile.TemporaryDirectory() as folder:
        data, kubeconfig = f"{folder}/data", f"{folder}/data/admin.kubeconfig"
        log = open(f"{folder}/log", "a")
        server = subprocess.Popen([sys.argv[1], "server", "--data-dir", data, "--bind-address", "127.0.0.1", "--port", str(PORT),
                                   "--disable-controllers", "--disable-scheduler"], stderr=log, stdout=log)
        try:
            until("the server answers", lambda: ready(kubeconfig))
            bench = Bench(kubeconfig, server.pid)
            bench.nonsense(1 if SMALL else 20)
            bench.slow_heads(100 if SMALL else 1000)
            bench.slow_bodies(100 if SMALL else 1000)
            bench.large_bodies(16 if SMALL else 64)
            bench.hanging_webhook(20 if SMALL else 200)
            bench.idle_watches(200 if SMALL else 10_000)
            bench.watcher_that_never_reads(200 if SMALL else 1000)
            # As many and as large as 10,000 pods.
            bench.fill(*((48, 256 * 1024) if SMALL else (10_000, 4_900)))
            bench.lists(100 if SMALL else 300, 12 if SMALL else 48)
            if server.poll() is not None or "panicked" in open(f"{folder}/log").read():
                FAULTS.append("the server broke: " + open(f"{folder}/log").read()[-2000:])
        finally:
            server.terminate()
            server.wait(timeout=30)
    for fault in FAULTS[:40]:
        print(f"FAULT {fault}")
    sys.exit(1 if FAULTS else 0)


main()
