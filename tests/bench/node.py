#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a node costs and how fast it is: starts, pods, memory, processor, DNS, ingress beside nginx.

    tests/bench/node.py KNARR INIT     the release binary, and a static release build of knarr-init

Runs as root in a network namespace of its own. Wants dnsperf, wrk and nginx (Debian's dnsperf, wrk, nginx-light).
"""

import os
import re
import subprocess
import sys
import tempfile
import time

from apiclient import Cluster, cpu_seconds, memory_mib, percentile, until

SPACE = "knarr-bench"
ADDRESS = "10.98.0.1"
IMAGE = "knarr.dev/hello:bench"
IDLE_SECONDS = 30
# Questions a second of which the latency is measured: a core answers a multiple.
DNS_RATE = 20_000
# Work has come to rest, and what it used of memory is given back, within this time.
REST_SECONDS = 45
SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts")


def sh(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True).stdout


def enter_namespace():
    """Starts this script again inside a fresh network namespace with one address and a way out."""
    sh("ip", "netns", "del", SPACE, check=False)
    sh("ip", "netns", "add", SPACE)
    for command in ("link set lo up", "link add eth0 type veth peer name uplink", "link set uplink up", f"addr add {ADDRESS}/24 dev eth0", "link set eth0 up",
                    "route add default via 10.98.0.254"):
        sh("ip", "-n", SPACE, *command.split())
    try:
        subprocess.run(["nsenter", f"--net=/run/netns/{SPACE}", sys.executable, __file__, *sys.argv[1:], "--inside"], check=True)
    finally:
        sh("ip", "netns", "del", SPACE, check=False)


class Node:
    """The processes of a cluster of one node."""

    def __init__(self, knarr, folder):
        self.knarr, self.data, self.started = knarr, f"{folder}/data", []
        self.log = open(f"{folder}/log", "a")

    def spawn(self, *arguments):
        process = subprocess.Popen([self.knarr, *arguments], stdout=self.log, stderr=self.log)
        self.started.append(process)
        return process

    def cluster(self):
        def answering():
            if not os.path.exists(f"{self.data}/admin.kubeconfig"):
                return None
            cluster = Cluster(f"{self.data}/admin.kubeconfig")
            return cluster if cluster.call("GET", "/readyz") == "ok" else None
        return until("the server answers", answering)

    def down(self):
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            process.wait(timeout=20)
        self.started.clear()
        sh(self.knarr, "down", "--data-dir", self.data, "--delete-data", check=False)

    def processes(self, mode):
        """Ids of the processes `knarr MODE` that belong to this node."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{entry}/cmdline").read().split("\0")
            except OSError:
                continue
            if words[1:2] == [mode] and any(self.data in word for word in words):
                found.append(int(entry))
        return found


def node_ready(cluster):
    nodes = cluster.call("GET", "/api/v1/nodes")["items"]
    return any(c["type"] == "Ready" and c["status"] == "True" for n in nodes for c in n["status"].get("conditions", []))


def pod(name, **spec):
    return {"metadata": {"name": name, "labels": {"app": "bench"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "ports": [{"containerPort": 8080}]}], **spec}}


PODS = "/api/v1/namespaces/default/pods"


def create_and_watch(cluster, names):
    """Creates pods at once: for each the seconds from its binding, and from its creation, to Running."""
    revision = cluster.call("GET", PODS + "?limit=1")["metadata"]["resourceVersion"]
    events = cluster.watch(f"{PODS}?resourceVersion={revision}")
    created, bound, running = {}, {}, {}
    for name in names:
        created[name] = time.monotonic()
        cluster.call("POST", PODS, pod(name))
    for at, event in events:
        name = event["object"]["metadata"].get("name")
        if event["object"].get("spec", {}).get("nodeName"):
            bound.setdefault(name, at)
        if event["object"].get("status", {}).get("phase") == "Running":
            running.setdefault(name, at)
            if len(running) == len(names):
                break
    return [running[n] - bound[n] for n in names], max(running.values()) - min(created.values())


def delete_pods(cluster):
    for item in cluster.call("GET", PODS)["items"]:
        cluster.call("DELETE", f"{PODS}/{item['metadata']['name']}?gracePeriodSeconds=0")
    until("the pods are gone", lambda: not cluster.call("GET", PODS)["items"])


def tell_memory(node, when):
    whole, private = memory_mib(node.processes("up")[0])
    print(f"idle memory, knarr up {when}: {whole:.1f} MiB proportional, {private:.1f} MiB private")


def import_image(node, init, folder, cluster):
    sh(f"{SCRIPTS}/make-image.py", f"{folder}/image", init, IMAGE)
    sh(node.knarr, "ctl", "image", "import", f"{folder}/image", "--data-dir", f"{node.data}/agent")
    until("the account is there", lambda: cluster.call("GET", "/api/v1/namespaces/default/serviceaccounts/default"))


def measure_up(knarr, init, folder):
    node = Node(knarr, f"{folder}")
    began = time.monotonic()
    node.spawn("up", "--data-dir", node.data, "--node-name", "bench")
    try:
        cluster = node.cluster()
        until("the node is Ready", lambda: node_ready(cluster))
        print(f"knarr up, empty data dir, until the node is Ready: {time.monotonic() - began:.2f} s")
        time.sleep(REST_SECONDS)
        tell_memory(node, "after its start")
        import_image(node, init, folder, cluster)
        create_and_watch(cluster, [f"pod-{i}" for i in range(100)])
        delete_pods(cluster)
        time.sleep(120)
        tell_memory(node, "two minutes after 100 pods came and went")
    finally:
        node.down()


def measure_pods(cluster):
    single = []
    for i in range(20):
        single += create_and_watch(cluster, [f"one-{i}"])[0]
    print(f"pod start, from bind to Running at a watcher: p50 {percentile(single, 0.5) * 1000:.0f} ms, "
          f"max {max(single) * 1000:.0f} ms")
    delete_pods(cluster)
    _, took = create_and_watch(cluster, [f"many-{i}" for i in range(100)])
    print(f"100 pods at once, from the first create until all run: {took:.2f} s")
    delete_pods(cluster)


def measure_idle(node, cluster):
    create_and_watch(cluster, [f"idle-{i}" for i in range(10)])
    time.sleep(10)
    pids = {mode: node.processes(mode) for mode in ("server", "agent", "edge", "shim")}
    before = {pid: cpu_seconds(pid) for mode in pids for pid in pids[mode]}
    time.sleep(IDLE_SECONDS)
    used = sum(cpu_seconds(pid) - before[pid] for pid in before)
    for mode, found in pids.items():
        whole, private = zip(*(memory_mib(pid) for pid in found))
        print(f"idle memory, {mode} (of {len(found)}): {max(whole):.1f} MiB proportional, {max(private):.1f} MiB private")
    print(f"idle CPU of all of a node with 10 pods: {100 * used / IDLE_SECONDS:.2f} % of a core over {IDLE_SECONDS} s")


def pin(pid, core):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def measure_dns(node, folder):
    edge = node.processes("edge")[0]
    pin(edge, 0)
    names = f"{folder}/names"
    with open(names, "w") as file:
        file.write("kubernetes.default.svc.cluster.local A\nkubernetes.default.svc.cluster.local AAAA\n"
                   "missing.default.svc.cluster.local A\n")
    before = cpu_seconds(edge)
    text = sh("taskset", "-c", "1", "dnsperf", "-s", "10.43.0.10", "-d", names, "-l", "10", "-c", "20", "-q", "200")
    used = cpu_seconds(edge) - before
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", text).group(1))
    done = int(re.search(r"Queries completed:\s+(\d+)", text).group(1))
    latency = re.search(r"Average Latency \(s\):\s+(\S+) .*max (\S+)\)", text)
    print(f"DNS, edge on one core: {rate:.0f} answers/s, {done / used:.0f} a second of its processor time, "
          f"average {float(latency.group(1)) * 1000:.2f} ms, longest {float(latency.group(2)) * 1000:.2f} ms")
    text = sh("taskset", "-c", "1", "dnsperf", "-s", "10.43.0.10", "-d", names, "-l", "5", "-c", "20", "-Q", str(DNS_RATE), "-v")
    took = [float(line.split()[-1]) for line in text.splitlines() if line.startswith("> ")]
    print(f"DNS at {len(took) / 5:.0f} answers/s: p50 {percentile(took, 0.5) * 1000:.2f} ms, p99 {percentile(took, 0.99) * 1000:.2f} ms")


NGINX = """
worker_processes 1; worker_cpu_affinity {mask}; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {body} }}
"""
BACKEND = "server {{ listen {address}:9000 reuseport; location / {{ return 200 'hello from the backend, a line of usual length\\n'; }} }}"
FRONT = """upstream backend {{ server {address}:9000; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen {address}:9001 reuseport; location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }} }}"""


def nginx(folder, name, body, mask):
    path = f"{folder}/{name}.conf"
    with open(path, "w") as file:
        file.write(NGINX.format(folder=folder, name=name, mask=mask, body=body.format(address=ADDRESS)))
    return subprocess.Popen(["nginx", "-c", path, "-p", folder], stderr=subprocess.DEVNULL)


def worker_of(master):
    return int(sh("pgrep", "-P", str(master.pid)).split()[0])


def objects_of_ingress():
    yield "/api/v1/namespaces/default/services", {"metadata": {"name": "backend"}, "spec": {"ports": [{"port": 9000}]}}
    yield "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
        "metadata": {"name": "backend-1", "labels": {"kubernetes.io/service-name": "backend"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": 9000, "protocol": "TCP"}]}
    backend = {"service": {"name": "backend", "port": {"number": 9000}}}
    yield "/apis/networking.k8s.io/v1/namespaces/default/ingresses", {
        "metadata": {"name": "bench"},
        "spec": {"ingressClassName": "knarr",
                 "rules": [{"host": "bench.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}


def wrk(url):
    text = sh("taskset", "-c", "1", "wrk", "-t1", "-c64", "-d8s", "-H", "Host: bench.test", url)
    errors = re.search(r"Non-2xx.*|Socket errors.*", text)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), errors.group(0) if errors else "no errors"


def measure_ingress(node, cluster, folder):
    for path, body in objects_of_ingress():
        cluster.call("POST", path, body)
    backend, front = nginx(folder, "backend", BACKEND, "10"), nginx(folder, "front", FRONT, "01")
    try:
        until("the ingress answers", lambda: "hello" in sh("curl", "-s", "-H", "Host: bench.test", f"http://{ADDRESS}/"))
        until("nginx answers", lambda: "hello" in sh("curl", "-s", f"http://{ADDRESS}:9001/"))
        edge = node.processes("edge")[0]
        pin(edge, 0)
        for name, pid, port in (("edge", edge, 80), ("nginx", worker_of(front), 9001)) * 2:
            before = cpu_seconds(pid)
            rate, errors = wrk(f"http://{ADDRESS}:{port}/")
            used = cpu_seconds(pid) - before
            print(f"ingress, {name} on one core: {rate:.0f} requests/s, {rate * 8 / used:.0f} a second of its processor time, {errors}")
    finally:
        backend.terminate()
        front.terminate()


def inside(knarr, init):
    with tempfile.TemporaryDirectory(prefix="knarr-bench-") as folder:
        measure_up(knarr, init, folder)
        node = Node(knarr, folder)
        try:
            node.spawn("server", "--data-dir", node.data, "--bind-address", ADDRESS, "--port", "6443")
            cluster = node.cluster()
            token = open(f"{node.data}/agent-token").read().strip()
            node.spawn("agent", "--server", f"https://{ADDRESS}:6443", "--token", token, "--node-name", "bench",
                       "--data-dir", f"{node.data}/agent", "--node-ip", ADDRESS)
            until("the node is Ready", lambda: node_ready(cluster))
            import_image(node, init, folder, cluster)
            measure_pods(cluster)
            measure_idle(node, cluster)
            measure_dns(node, folder)
            measure_ingress(node, cluster, folder)
        finally:
            node.down()


if sys.argv[-1] == "--inside":
    inside(*sys.argv[1:3])
else:
    enter_namespace()
