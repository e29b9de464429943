# SPDX-License-Identifier: Apache-2.0
"""What programs do with the Python package kubernetes: python.py KUBECONFIG IMAGE."""

import sys
import threading
import time

import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import portforward, stream

KUBECONFIG, IMAGE = sys.argv[1:3]
NS = "python"
config.load_kube_config(KUBECONFIG)
core, apps, policy = client.CoreV1Api(), client.AppsV1Api(), client.PolicyV1Api()


def refused(status, call, *arguments, **options):
    """The answer to a call that must be refused with this status."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == status, f"{error.status} instead of {status}: {error.body}"
        return error.body
    raise AssertionError(f"{call.__name__} should be refused with {status}")


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"kept": "yes"}), data=data)


def objects_and_watches():
    start = core.list_namespaced_config_map(NS).metadata.resource_version
    made = core.create_namespaced_config_map(NS, config_map("one", a="1"))
    core.patch_namespaced_config_map("one", NS, {"data": {"b": "2"}})
    # A list as patch is a JSON patch.
    core.patch_namespaced_config_map("one", NS, [{"op": "remove", "path": "/data/a"}])
    refused(409, core.replace_namespaced_config_map, "one", NS, made)
    now = core.read_namespaced_config_map("one", NS)
    now.data = {"c": "3"}
    core.replace_namespaced_config_map("one", NS, now, field_manager="python")
    core.delete_namespaced_config_map("one", NS, body=client.V1DeleteOptions(propagation_policy="Background"))
    seen, watcher = [], watch.Watch()
    options = {"label_selector": "kept=yes", "resource_version": start, "timeout_seconds": 60}
    for event in watcher.stream(core.list_namespaced_config_map, NS, **options):
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            watcher.stop()
    steps = [{"a": "1"}, {"a": "1", "b": "2"}, {"b": "2"}, {"c": "3"}, {"c": "3"}]
    assert seen == list(zip(["ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED"], steps)), seen


def pages_and_refusals():
    for number in range(5):
        core.create_namespaced_config_map(NS, config_map(f"page-{number}"))
    names, token = [], None
    while token is None or token:
        page = core.list_namespaced_config_map(NS, label_selector="kept=yes", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    assert names == [f"page-{number}" for number in range(5)], names
    core.delete_collection_namespaced_config_map(NS, label_selector="kept=yes")
    assert not core.list_namespaced_config_map(NS, label_selector="kept=yes").items
    assert '"reason":"NotFound"' in refused(404, core.read_namespaced_config_map, "none", NS)
    assert "metadata.name" in refused(422, core.create_namespaced_config_map, NS, config_map("Wrong_name"))
    dry = core.create_namespaced_config_map(NS, config_map("dry"), dry_run="All")
    assert dry.metadata.uid
    refused(404, core.read_namespaced_config_map, "dry", NS)


def deployments():
    utils.create_from_yaml(client.ApiClient(), yaml_objects=list(yaml.safe_load_all(f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {NS}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, 'mkdir /www; echo "hello from $(hostname)" > /www/index.html; echo started; exec httpd -f -p 8080 -h /www']
        readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
""")))
    wait_ready(1)
    apps.patch_namespaced_deployment("web", NS, {"spec": {"template": {"spec": {"containers": [
        {"name": "web", "env": [{"name": "A", "value": "b"}]}]}}}})
    containers = apps.read_namespaced_deployment("web", NS).spec.template.spec.containers
    assert len(containers) == 1 and containers[0].image == IMAGE and containers[0].env[0].value == "b"
    apps.patch_namespaced_deployment_scale("web", NS, {"spec": {"replicas": 2}})
    assert apps.read_namespaced_deployment_scale("web", NS).spec.replicas == 2
    wait_ready(2)


def wait_ready(count):
    watcher = watch.Watch()
    for event in watcher.stream(apps.list_namespaced_deployment, NS, timeout_seconds=90):
        status, spec = event["object"].status, event["object"].spec
        current = status.observed_generation == event["object"].metadata.generation
        if current and status.available_replicas == status.updated_replicas == status.replicas == spec.replicas == count:
            return watcher.stop()
    raise AssertionError(f"the deployment has not {count} ready pods: {status}")


def first_pod():
    pods = core.list_namespaced_pod(NS, label_selector="app=web", field_selector="status.phase=Running").items
    return next(pod.metadata.name for pod in pods if not pod.metadata.deletion_timestamp)


def inside_pods():
    pod = first_pod()
    assert core.read_namespaced_pod_log(pod, NS) == "started\n"
    watcher = watch.Watch()
    for line in watcher.stream(core.read_namespaced_pod_log, pod, NS, follow=True):
        assert line == "started", line
        watcher.stop()
    said = stream(core.connect_get_namespaced_pod_exec, pod, NS, command=["hostname"], stdout=True, stderr=True)
    assert said.strip() == pod, said
    shell = stream(core.connect_get_namespaced_pod_exec, pod, NS, command=["sh"], stdin=True, stdout=True,
                   stderr=True, tty=False, _preload_content=False)
    shell.write_stdin("echo in $((40 + 2)); echo beside >&2; exit 3\n")
    shell.run_forever(timeout=30)
    assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("in 42\n", "beside\n", 3)
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, NS, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(30)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while chunk := socket.recv(4096):
        answer += chunk
    assert f"hello from {pod}".encode() in answer, answer


def evictions():
    pods = [pod.metadata.name for pod in core.list_namespaced_pod(NS, label_selector="app=web").items
            if not pod.metadata.deletion_timestamp]
    eviction = lambda name: client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=NS))
    core.create_namespaced_pod_eviction(pods[0], NS, eviction(pods[0]))
    assert core.read_namespaced_pod(pods[0], NS).metadata.deletion_timestamp
    # A budget that nobody has counted yet allows nothing.
    spec = client.V1PodDisruptionBudgetSpec(min_available=2, selector=client.V1LabelSelector(match_labels={"app": "web"}))
    budget = client.V1PodDisruptionBudget(metadata=client.V1ObjectMeta(name="web"), spec=spec)
    policy.create_namespaced_pod_disruption_budget(NS, budget)
    assert "disruption budget" in refused(429, core.create_namespaced_pod_eviction, pods[1], NS, eviction(pods[1]))


def any_kind():
    api = dynamic.DynamicClient(client.ApiClient())
    definitions = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "default": 3}, "tags": {"type": "array", "items": {"type": "string"}}}}}}
    definitions.create(body={
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.python.test"},
        "spec": {"group": "python.test", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]}})
    for event in definitions.watch(name="boats.python.test", timeout=60):
        conditions = event["object"].status.conditions or []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            break
    boats = api.resources.get(api_version="python.test/v1", kind="Boat")
    boat = {"apiVersion": "python.test/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"tags": ["x"]}}
    assert boats.create(body=boat, namespace=NS).spec.size == 3
    boat["spec"] = {"size": 4}
    applied = boats.server_side_apply(body=boat, namespace=NS, field_manager="python", force_conflicts=True)
    assert applied.spec.size == 4 and applied.spec.tags == ["x"]
    custom = client.CustomObjectsApi()
    patched = custom.patch_namespaced_custom_object("python.test", "v1", NS, "boats", "b", {"spec": {"size": 5}})
    assert patched["spec"]["size"] == 5, patched
    assert [item.metadata.name for item in boats.get(namespace=NS).items] == ["b"]
    boats.delete(name="b", namespace=NS)
    definitions.delete(name="boats.python.test")
    nodes = api.resources.get(api_version="v1", kind="Node")
    assert nodes.get().items[0].status.nodeInfo.kubeletVersion.startswith("v1.36")


def one_leads():
    started, led = threading.Event(), []
    def lead(name):
        led.append(name)
        started.set()
    def run(name):
        lock = LeaseLock("leader", NS, name)
        leaderelection.LeaderElection(electionconfig.Config(
            lock, lease_duration=15, renew_deadline=10, retry_period=1, onstarted_leading=lambda: lead(name),
            onstopped_leading=lambda: None)).run()
    for name in ["first", "second"]:
        threading.Thread(target=run, args=[name], daemon=True).start()
    assert started.wait(30), "one of them leads"
    held = client.CoordinationV1Api().read_namespaced_lease("leader", NS).spec.holder_identity
    assert led == [held], (led, held)


def who_may():
    core.create_namespaced_service_account(NS, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    spec = client.V1TokenRequestSpec(audiences=None, expiration_seconds=600)
    request = client.AuthenticationV1TokenRequest(spec=spec)
    token = core.create_namespaced_service_account_token("robot", NS, request).status.token
    settings = client.Configuration.get_default_copy()
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(settings)
    assert "cannot list" in refused(403, client.CoreV1Api(robot).list_namespaced_secret, NS)
    me = client.AuthenticationV1Api(robot).create_self_subject_review(client.V1SelfSubjectReview())
    assert me.status.user_info.username == f"system:serviceaccount:{NS}:robot"
    attributes = client.V1ResourceAttributes(namespace=NS, verb="get", resource="pods")
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
    assert not client.AuthorizationV1Api(robot).create_self_subject_access_review(review).status.allowed


def main():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NS)))
    assert client.VersionApi().get_code().git_version.startswith("v1.36")
    assert "apps" in [group.name for group in client.ApisApi().get_api_versions().groups]
    for step in [objects_and_watches, pages_and_refusals, deployments, inside_pods, evictions, any_kind, one_leads, who_may]:
        start = time.monotonic()
        step()
        print(f"{step.__name__}: {time.monotonic() - start:.1f} s", flush=True)


main()
