#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many pods a second the scheduler binds: 10,000 pods wait, 1,000 nodes are empty, the scheduler starts.

    tests/bench/bind.py KNARR KBENCH     two release binaries: the product and the load generator
"""

import subprocess
import sys
import tempfile
import time

from apiclient import Cluster, until, memory_mib

NODES, PODS, PORT = 1000, 10_000, 26444


def start(knarr, data, *flags):
    log = open(f"{data}.log", "a")
    return subprocess.Popen([knarr, "server", "--data-dir", data, "--bind-address", "127.0.0.1", "--port", str(PORT),
                             "--disable-controllers", *flags], stderr=log, stdout=log)


def stop(server):
    server.terminate()
    server.wait(timeout=20)


def node(name):
    size = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"capacity": size, "allocatable": size,
                       "conditions": [{"type": "Ready", "status": "True", "reason": "Bench", "message": ""}]}}


def main():
    knarr, kbench = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        server = start(knarr, data, "--disable-scheduler")
        kubeconfig = f"{data}/admin.kubeconfig"
        cluster = until("the server answers", lambda: ready(kubeconfig))
        for i in range(NODES):
            cluster.call("POST", "/api/v1/nodes", node(f"node-{i}"))
            cluster.call("PATCH", f"/api/v1/nodes/node-{i}", {"spec": {"taints": None}}, "application/merge-patch+json")
        subprocess.run([kbench, kubeconfig, "fill", str(PODS)], check=True, stdout=subprocess.DEVNULL)
        stop(server)
        server = start(knarr, data)
        cluster = until("the server answers again", lambda: ready(kubeconfig))
        began = time.monotonic()
        partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        waiting = "/api/v1/pods?fieldSelector=spec.nodeName%3D&limit=1"
        until("every pod is bound", lambda: not cluster.call("GET", waiting, accept=partial)["items"], 300, 0.02)
        took = time.monotonic() - began
        print(f"bind: {PODS} pods on {NODES} nodes in {took:.2f} s: {PODS / took:.0f} pods/s; "
              f"memory {memory_mib(server.pid)[0]:.0f} MiB")
        stop(server)


def ready(kubeconfig):
    try:
        cluster = Cluster(kubeconfig)
    except FileNotFoundError:
        return None
    return cluster if cluster.call("GET", "/readyz") == "ok" else None


main()
