// SPDX-License-Identifier: Apache-2.0
//! A node's pods against an API, a runtime, images and a network that are all made up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_image::{Image, ImageConfig, PullOptions};
use knarr_network::services::HostPort;
use knarr_runtime::oci::stream::Session;
use knarr_runtime::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, Error, ExecConfig, Exit, PodRuntime, PodStats,
    PodStatus, Resources, Result, SandboxConfig, SandboxState,
};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::context::{ImageSource, PodNetwork, PodNetworks};
use crate::env::ServiceLink;
use crate::events::EventQueue;
use crate::layout::Layout;
use crate::objects::Objects;
use crate::pod::Moment;

/// What nobody should have to wait for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Pods in memory; a polite signal ends a container with 143.
#[derive(Default)]
struct Runtime {
    pods: Mutex<HashMap<PodUid, PodStatus>>,
    events: Mutex<Option<mpsc::UnboundedSender<RuntimeEvent>>>,
    configs: Mutex<Vec<ContainerConfig>>,
    updates: Mutex<Vec<(String, Resources)>>,
}

impl Runtime {
    fn set(&self, id: &ContainerId, state: ContainerState) {
        let mut pods = self.pods.lock();
        let Some(pod) = pods.get_mut(&id.pod) else { return };
        pod.containers.retain(|container| container.id != *id);
        let image = String::new();
        let (created_at_ns, annotations) = (0, Default::default());
        pod.containers.push(ContainerStatus { id: id.clone(), image, state, created_at_ns, annotations });
    }

    fn end(&self, id: &ContainerId, code: i32) -> Exit {
        let at = 1_800_000_000_000_000_000;
        let exit = Exit { code, signal: None, oom_killed: false, started_at_ns: at, finished_at_ns: at, message: None };
        self.set(id, ContainerState::Exited(exit.clone()));
        if let Some(events) = &*self.events.lock() {
            let _ = events.send(RuntimeEvent::Exited(id.clone(), exit.clone()));
        }
        exit
    }
}

#[async_trait]
impl PodRuntime for Runtime {
    async fn run_pod_sandbox(&self, config: &SandboxConfig) -> Result<PodStatus> {
        let status =
            PodStatus { config: config.clone(), state: SandboxState::Ready, shim_pid: 1, containers: Vec::new() };
        Ok(self.pods.lock().entry(config.uid.clone()).or_insert(status).clone())
    }

    async fn create_container(&self, id: &ContainerId, config: &ContainerConfig) -> Result<()> {
        self.configs.lock().push(config.clone());
        self.set(id, ContainerState::Created);
        Ok(())
    }

    async fn start_container(&self, id: &ContainerId) -> Result<i32> {
        self.set(id, ContainerState::Running { pid: 2, started_at_ns: 1_800_000_000_000_000_000 });
        Ok(2)
    }

    async fn stop_container(&self, id: &ContainerId, _: Option<i32>, _: Duration) -> Result<Exit> {
        Ok(self.end(id, 143))
    }

    async fn signal(&self, id: &ContainerId, signal: i32) -> Result<()> {
        self.end(id, 128 + signal);
        Ok(())
    }

    async fn remove_container(&self, _: &ContainerId) -> Result<()> {
        Ok(())
    }

    async fn status(&self, pod: &PodUid) -> Result<PodStatus> {
        self.pods.lock().get(pod).cloned().ok_or_else(|| Error::PodNotFound(pod.clone()))
    }

    async fn list(&self) -> Result<Vec<PodStatus>> {
        Ok(self.pods.lock().values().cloned().collect())
    }

    async fn exec(&self, id: &ContainerId, _: &ExecConfig) -> Result<Session> {
        Err(Error::NotRunning(id.clone()))
    }

    async fn attach(&self, id: &ContainerId, _stdin: bool) -> Result<Session> {
        Err(Error::NotRunning(id.clone()))
    }

    async fn update_pod(&self, pod: &PodUid, resources: &Resources) -> Result<()> {
        self.updates.lock().push((pod.as_str().to_owned(), resources.clone()));
        Ok(())
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.updates.lock().push((id.run(), resources.clone()));
        Ok(())
    }

    async fn stats(&self, _: &PodUid) -> Result<PodStats> {
        Ok(PodStats::default())
    }

    async fn written_bytes(&self, _: &PodUid) -> Result<Vec<(ContainerId, u64)>> {
        Ok(Vec::new())
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<()> {
        self.pods.lock().remove(pod);
        Ok(())
    }

    fn events(&self) -> mpsc::UnboundedReceiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.events.lock() = Some(sender);
        receiver
    }
}

/// Every image there is, and every network.
struct Plenty;

#[async_trait]
impl ImageSource for Plenty {
    async fn ensure(&self, name: &str, _: PullOptions) -> knarr_image::Result<Image> {
        let config = ImageConfig { cmd: vec!["run".to_owned()], ..ImageConfig::default() };
        let (id, names) = ("sha256:0".to_owned(), vec![name.to_owned()]);
        Ok(Image { id, digests: Vec::new(), names, config, layers: Vec::new(), size_bytes: 1 })
    }
}

#[async_trait]
impl PodNetworks for Plenty {
    async fn set_up(&self, _: &str, _: &[(String, String)]) -> std::result::Result<PodNetwork, String> {
        Ok(PodNetwork { netns: None, addresses: vec!["10.42.0.9".parse().unwrap()] })
    }

    async fn disconnect(&self, _: &str) -> std::result::Result<(), String> {
        Ok(())
    }

    async fn tear_down(&self, _: &str) -> std::result::Result<(), String> {
        Ok(())
    }

    fn host_ports(&self, _: &str, _: Vec<HostPort>) {}

    fn object_changed(&self, _: &Name) {}

    async fn service_links(&self, _: &str, _: bool) -> Vec<ServiceLink> {
        Vec::new()
    }
}

/// An API that tells of pods what the test says, and tells the test what is written.
struct Api {
    watch: Mutex<Option<mpsc::UnboundedSender<String>>>,
    writes: mpsc::UnboundedSender<(Method, Value)>,
    /// How long the tokens hold that are given out, by turns; without one there is none to be had.
    tokens: Mutex<Vec<i64>>,
}

impl Api {
    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if method == Method::GET && path == "/api/v1/pods" {
            let (sender, events) = mpsc::unbounded_channel::<String>();
            *self.watch.lock() = Some(sender);
            let stream = futures::stream::unfold(events, |mut events| async move {
                Some((Ok::<_, std::convert::Infallible>(events.recv().await?), events))
            });
            return Response::new(Body::from_stream(stream));
        }
        if path.ends_with("/token") {
            return self.token();
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let _ = self.writes.send((method, body));
        Response::new(Body::from(pod().to_string()))
    }

    /// A token of ten minutes, most of which may be over.
    fn token(&self) -> Response<Body> {
        let mut tokens = self.tokens.lock();
        let Some(left) = tokens.pop() else {
            return Response::builder().status(503).body(Body::empty()).unwrap();
        };
        let status = json!({"token": format!("holds {left} s"), "expirationTimestamp": Moment::now().after_seconds(left).time()});
        let spec = json!({"audiences": [], "expirationSeconds": 600});
        let answer = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec, "status": status});
        Response::new(Body::from(answer.to_string()))
    }

    /// Waits for the node's watch, then tells.
    async fn tell(&self, type_: &str, object: Value) {
        let line = format!("{}\n", json!({"type": type_, "object": object}));
        loop {
            if self.watch.lock().as_ref().is_some_and(|watch| watch.send(line.clone()).is_ok()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "5"},
        "spec": {
            "nodeName": "node",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]
        }
    })
}

struct Node {
    api: Arc<Api>,
    runtime: Arc<Runtime>,
    writes: mpsc::UnboundedReceiver<(Method, Value)>,
    context: Arc<Context>,
    agent: tokio::task::JoinHandle<()>,
}

impl Node {
    fn start(dir: &std::path::Path, runtime: Arc<Runtime>) -> Self {
        let (sender, writes) = mpsc::unbounded_channel();
        let api = Arc::new(Api { watch: Mutex::new(None), writes: sender, tokens: Mutex::default() });
        let served = Arc::clone(&api);
        let service = tower::service_fn(move |request| {
            let api = Arc::clone(&served);
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        let client = knarr_client::connect::in_process(service, ());
        let layout = Layout::open(dir).unwrap();
        let (changes, changed) = mpsc::unbounded_channel();
        let context = Arc::new(Context {
            node_name: "node".to_owned(),
            client: client.clone(),
            events: EventQueue::new().0,
            runtime: Arc::clone(&runtime) as _,
            images: Arc::new(Plenty),
            registries: Arc::default(),
            network: Arc::new(Plenty),
            objects: Objects::new(client, layout.root.join("objects"), changes),
            cluster: crate::join::Cluster::default(),
            resolver: crate::dns::Resolver::default(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            allocatable: [("cpu", "4"), ("memory", "4Gi")].map(|(name, of)| (name.into(), Quantity(of.into()))).into(),
            memory_bytes: 1 << 30,
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
            allocation: Default::default(),
            pods: RwLock::default(),
            layout,
        });
        let agent = tokio::spawn(run(Arc::clone(&context), changed));
        Self { api, runtime, writes, context, agent }
    }

    async fn first_list(&self, pods: &[Value]) {
        for pod in pods {
            self.api.tell("ADDED", pod.clone()).await;
        }
        let end = json!({"k8s.io/initial-events-end": "true"});
        let metadata = json!({"resourceVersion": "6", "annotations": end});
        self.api.tell("BOOKMARK", json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).await;
    }

    async fn written(&mut self, wanted: impl Fn(&Method, &Value) -> bool) -> Value {
        let wait = async {
            loop {
                let (method, body) = self.writes.recv().await.unwrap();
                if wanted(&method, &body) {
                    return body;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the node writes it")
    }

    /// As `kill -9` does it, as far as others can see.
    async fn kill(self) -> Arc<Runtime> {
        self.context.cancel.cancel();
        self.context.tasks.close();
        self.context.tasks.wait().await;
        self.agent.abort();
        self.runtime
    }
}

fn is_running(_: &Method, body: &Value) -> bool {
    body["status"]["phase"] == "Running" && body["status"]["containerStatuses"][0]["ready"] == true
}

#[tokio::test]
async fn a_pod_is_run_reported_stopped_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    node.first_list(&[pod()]).await;
    let status = node.written(is_running).await;
    assert_eq!(status["metadata"]["uid"], "u", "never another pod of the same name");
    assert_eq!(status["status"]["podIP"], "10.42.0.9");
    assert_eq!(status["status"]["hostIP"], "192.0.2.1");
    let config = node.runtime.configs.lock()[0].clone();
    assert!(config.args == ["run"] && config.env.contains(&"A=1".to_owned()), "{config:?}");
    assert!(dir.path().join("pods/u/volumes/v").is_dir());

    let mut deleted = pod();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleted["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    node.api.tell("MODIFIED", deleted.clone()).await;
    let last = node.written(|_, body| body["status"]["phase"] == "Failed").await;
    assert_eq!(last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 143);
    let delete = node.written(|method, _| *method == Method::DELETE).await;
    assert_eq!((&delete["gracePeriodSeconds"], &delete["preconditions"]["uid"]), (&json!(0), &json!("u")));
    assert!(node.runtime.pods.lock().is_empty());
    node.api.tell("DELETED", deleted).await;
    let runtime = node.kill().await;
    drop(runtime);
}

#[tokio::test]
async fn a_new_agent_adopts_what_runs_and_restarts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Node::start(dir.path(), Arc::default());
    first.first_list(&[pod()]).await;
    let status = first.written(is_running).await;
    let runtime = first.kill().await;
    let mut known = pod();
    known["status"] = status["status"].clone();
    known["status"]["podIPs"] = json!([{"ip": "10.42.0.9"}]);

    let mut second = Node::start(dir.path(), runtime);
    known["metadata"]["labels"] = json!({"changed": "yes"});
    second.first_list(&[known]).await;
    let mut node = second.context.find("n", "p");
    while node.as_ref().is_none_or(|view| view.pod().metadata.labels.is_none()) {
        tokio::task::yield_now().await;
        node = second.context.find("n", "p");
    }
    assert_eq!(second.runtime.configs.lock().len(), 1, "the container of before still runs");
    // An exit that the new agent sees is the first restart.
    second.runtime.end(&ContainerId::new(PodUid::new("u").unwrap(), "c", 0), 1);
    let again = second.written(|_, body| body["status"]["containerStatuses"][0]["restartCount"] == 1).await;
    let last = &again["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(1), &json!("Error")));
    second.kill().await;
}

#[tokio::test]
async fn an_ephemeral_container_joins_a_running_pod_and_sees_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    node.first_list(&[pod()]).await;
    node.written(is_running).await;
    let mut debugged = pod();
    debugged["spec"]["ephemeralContainers"] =
        json!([{"name": "debugger", "image": "tools", "targetContainerName": "c", "stdin": true, "tty": true}]);
    node.api.tell("MODIFIED", debugged).await;
    let runs = |_: &Method, body: &Value| {
        body["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_object()
            && is_running(&Method::PATCH, body)
    };
    node.written(runs).await;
    let config = node.runtime.configs.lock()[1].clone();
    assert_eq!(config.processes_of.as_deref(), Some("c-0"));
    assert!(config.tty && config.stdin && config.image == "tools", "{config:?}");
    // It ends, and nothing starts it again; the pod goes on.
    node.runtime.end(&ContainerId::new(PodUid::new("u").unwrap(), "debugger", 0), 3);
    let after =
        node.written(|_, body| body["status"]["ephemeralContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3);
    let after = after.await;
    assert_eq!((&after["status"]["phase"], node.runtime.configs.lock().len()), (&json!("Running"), 2));
    node.kill().await;
}

#[tokio::test]
async fn a_pod_starts_with_the_token_of_before_while_no_other_can_be_had() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("pods/u/volumes/v");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("token"), "before").unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    let mut pod = pod();
    let sources = json!([{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]);
    pod["spec"]["volumes"][0] = json!({"name": "v", "projected": {"sources": sources}});
    node.first_list(&[pod]).await;
    node.written(is_running).await;
    assert_eq!(std::fs::read_to_string(volume.join("token")).unwrap(), "before");
    let renew = node.context.find("n", "p").unwrap().volumes.lock().renew.unwrap();
    assert!(renew.since(Moment::now()) <= Duration::from_secs(60), "it is asked for again soon");
    node.kill().await;
}

#[tokio::test]
async fn a_token_is_renewed_while_its_pod_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    // The first has less left than a fifth of its life from the second second on.
    *node.api.tokens.lock() = vec![600, 125];
    let mut pod = pod();
    let sources = json!([{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]);
    pod["spec"]["volumes"][0] = json!({"name": "v", "projected": {"sources": sources}});
    node.first_list(&[pod]).await;
    node.written(is_running).await;
    let file = dir.path().join("pods/u/volumes/v/token");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "holds 125 s");
    let renewed = async {
        while std::fs::read_to_string(&file).unwrap() != "holds 600 s" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("another token takes its place");
    assert_eq!(node.runtime.configs.lock().len(), 1, "the container has gone on");
    let view = node.context.find("n", "p").unwrap();
    let next = async {
        while view.volumes.lock().renew.is_none_or(|renew| renew.since(Moment::now()) < Duration::from_secs(400)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("the next is due when most of its life is over");
    node.kill().await;
}

#[tokio::test]
async fn the_downward_api_follows_labels() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    let labelled = |value: &str| {
        let mut pod = pod();
        pod["metadata"]["labels"] = json!({"a": value});
        let items = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
        pod["spec"]["volumes"][0] = json!({"name": "v", "downwardAPI": {"items": items}});
        pod
    };
    node.first_list(&[labelled("before")]).await;
    node.written(is_running).await;
    let file = dir.path().join("pods/u/volumes/v/labels");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a=\"before\"");
    node.api.tell("MODIFIED", labelled("after")).await;
    let changed = async {
        while std::fs::read_to_string(&file).unwrap() != "a=\"after\"" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the file follows");
    node.kill().await;
}

#[tokio::test]
async fn without_a_server_pods_start_from_the_nodes_own_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Node::start(dir.path(), Arc::default());
    first.first_list(&[pod()]).await;
    first.written(is_running).await;
    first.kill().await;
    // The host was restarted: nothing runs. No list is ever answered.
    let mut second = Node::start(dir.path(), Arc::default());
    let status = second.written(is_running).await;
    assert_eq!(status["status"]["containerStatuses"][0]["restartCount"], 1);
    second.kill().await;
}

/// A pod of that name whose container asks for so much.
fn sized(name: &str, cpu: &str, generation: i64) -> Value {
    let mut pod = pod();
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(name);
    pod["metadata"]["generation"] = json!(generation);
    let amounts = json!({"cpu": cpu, "memory": "1Gi"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": amounts, "limits": amounts});
    pod
}

#[tokio::test]
async fn resources_are_given_as_far_as_the_node_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), Arc::default());
    node.first_list(&[sized("a", "1", 1), sized("b", "2", 1)]).await;
    node.written(is_running).await;
    node.written(is_running).await;
    let of = |uid: &'static str, reason: &'static str| {
        move |_: &Method, body: &Value| {
            let pending = |c: &Value| c["type"] == "PodResizePending" && c["reason"] == reason;
            let told = body["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(pending));
            body["metadata"]["uid"] == uid && (reason.is_empty() || told)
        }
    };
    node.api.tell("MODIFIED", sized("a", "3", 2)).await;
    let status = node.written(of("a", "Deferred")).await;
    assert_eq!(status["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], "1");
    assert_eq!(status["status"]["observedGeneration"], 2);
    node.api.tell("MODIFIED", sized("a", "5", 3)).await;
    node.written(of("a", "Infeasible")).await;
    node.api.tell("MODIFIED", sized("a", "3", 4)).await;
    node.written(of("a", "Deferred")).await;
    assert!(node.runtime.updates.lock().is_empty());
    // The other gives some back, and the one that has waited gets it.
    node.api.tell("MODIFIED", sized("b", "500m", 2)).await;
    let has = |uid: &'static str, cpu: &'static str| {
        move |_: &Method, body: &Value| {
            let container = &body["status"]["containerStatuses"][0];
            body["metadata"]["uid"] == uid && container["resources"]["limits"]["cpu"] == cpu
        }
    };
    let status = node.written(has("a", "3")).await;
    assert_eq!(status["status"]["containerStatuses"][0]["restartCount"], 0);
    let updates = node.runtime.updates.lock().clone();
    let quotas: Vec<_> = updates.iter().filter(|(run, _)| run == "c-0").filter_map(|(_, to)| to.cpu_quota_us).collect();
    assert!(quotas.contains(&50_000) && quotas.contains(&300_000), "{updates:?}");
    node.kill().await;
}
