# SPDX-License-Identifier: Apache-2.0
"""A few lines of Kubernetes client for the benchmarks: Python's standard library and an admin kubeconfig."""

import base64
import http.client
import json
import os
import re
import ssl
import tempfile
import time
import urllib.parse


class Cluster:
    """Connections to the server that a kubeconfig names."""

    def __init__(self, kubeconfig):
        text = open(kubeconfig, encoding="utf-8").read()
        data = {key: base64.b64decode(value) for key, value in re.findall(r"(\S+-data): \"?([A-Za-z0-9+/=]+)", text)}
        self.server = urllib.parse.urlparse(re.search(r"server: \"?(https://[^\s\"]+)", text).group(1))
        self.context = ssl.create_default_context(cadata=data["certificate-authority-data"].decode())
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(data["client-certificate-data"] + b"\n" + data["client-key-data"])
        self.context.load_cert_chain(file.name)
        os.unlink(file.name)
        self.connection, self.used = None, 0.0

    def connect(self):
        return http.client.HTTPSConnection(self.server.hostname, self.server.port, context=self.context, timeout=60)

    def call(self, method, path, body=None, kind="application/json", accept="application/json"):
        """One request on the kept connection: the decoded answer, or RuntimeError with the server's words."""
        if self.connection is None or time.monotonic() - self.used > 10:
            self.connection = self.connect()  # servers close what was idle for long
        self.used = time.monotonic()
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None,
                                    {"Content-Type": kind, "Accept": accept})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection = None
            raise
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300].decode()}")
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def watch(self, path):
        """The events of a watch, each as (seconds on the monotonic clock, event)."""
        connection = self.connect()
        connection.request("GET", path + ("&" if "?" in path else "?") + "watch=true&timeoutSeconds=600")
        answer = connection.getresponse()
        while line := answer.readline():
            yield time.monotonic(), json.loads(line)


def until(what, ready, seconds=60, pause=0.005):
    """Waits for a condition: the value it gives, or TimeoutError that says what was awaited."""
    deadline, problem = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            if value := ready():
                return value
        except (OSError, RuntimeError, http.client.HTTPException, AttributeError) as error:
            problem = error
        time.sleep(pause)
    raise TimeoutError(f"{what}: not after {seconds} s ({problem})")


def percentile(values, share):
    """The value below which this share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def memory_mib(pid):
    """(proportional, private) memory of a process in MiB: shared file pages count by their share, then not at all."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M))
    return int(fields["Pss"]) / 1024, (int(fields["Private_Dirty"]) + int(fields["Private_Clean"])) / 1024


def cpu_seconds(pid):
    """Processor time that a process has used."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
