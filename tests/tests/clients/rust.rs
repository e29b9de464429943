// SPDX-License-Identifier: Apache-2.0
//! The Rust crate kube: typed and dynamic objects, watchers, apply, scale, pods from inside, a controller's needs.

use std::future::Future;
use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use knarr_tests::cluster::{Cluster, LATER};
use kube::api::{
    Api, AttachParams, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch, PatchParams,
};
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, PartialObjectMeta};
use kube::runtime::wait::{await_condition, conditions, delete::delete_and_finalize};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Client, Config, Discovery, ResourceExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

#[test]
fn the_rust_client_works() {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let (host, file) = (cluster.host(0).clone(), cluster.kubectl.kubeconfig().to_owned());
    let walk = std::thread::spawn(move || {
        host.enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(file).unwrap(), &options).await.unwrap();
            let client = Client::try_from(config).unwrap();
            within("typed objects", typed_objects(&client)).await;
            within("watchers", watchers(&client)).await;
            within("apply and scale", applied_and_scaled(&client, &image)).await;
            within("pods", inside_pods(&client)).await;
            within("any kind", any_kind(&client)).await;
        });
    });
    walk.join().unwrap();
}

/// Each part must end in time, and well.
async fn within(what: &str, part: impl Future<Output = Result>) {
    let ended = tokio::time::timeout(LATER, part).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {LATER:?}")).unwrap_or_else(|e| panic!("{what}: {e:?}"));
}

/// The code and the reason of an answer that refuses.
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> (u16, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("should be refused: {other:?}"),
    }
}

fn config_map(name: &str, color: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"kept": "yes"}}, "data": {"color": color}}))
        .unwrap()
}

async fn typed_objects(client: &Client) -> Result {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let post = PostParams { field_manager: Some("rust".into()), ..PostParams::default() };
    let made = maps.create(&post, &config_map("typed", "blue")).await?;
    assert_eq!(made.managed_fields()[0].manager.as_deref(), Some("rust"));
    assert_eq!(refusal(maps.create(&post, &config_map("typed", "blue")).await), (409, "AlreadyExists".into()));
    assert_eq!(refusal(maps.create(&post, &config_map("Not_right", "")).await), (422, "Invalid".into()));
    assert_eq!(refusal(maps.get("none").await), (404, "NotFound".into()));
    assert!(maps.get_opt("none").await?.is_none());
    let merged = maps.patch("typed", &PatchParams::default(), &Patch::Merge(json!({"data": {"size": "5"}}))).await?;
    assert_eq!(merged.data.unwrap_or_default().len(), 2);
    let json_patch = serde_json::from_value(json!([{"op": "remove", "path": "/data/size"}]))?;
    maps.patch("typed", &PatchParams::default(), &Patch::Json::<()>(json_patch)).await?;
    let strategic = Patch::Strategic(json!({"metadata": {"labels": {"kept": null, "more": "yes"}}}));
    let patched = maps.patch("typed", &PatchParams::default(), &strategic).await?;
    assert!(patched.labels().contains_key("more") && !patched.labels().contains_key("kept"));
    assert_eq!(refusal(maps.replace("typed", &post, &made).await), (409, "Conflict".into()));
    let metadata = maps.list_metadata(&ListParams::default().labels("more")).await?;
    assert_eq!(metadata.items.iter().map(|item| item.name_any()).collect::<Vec<_>>(), ["typed"]);
    maps.delete("typed", &DeleteParams::background()).await?;
    for number in 0..5 {
        maps.create(&post, &config_map(&format!("page-{number}"), "")).await?;
    }
    let mut page = ListParams::default().labels("kept=yes").limit(2);
    let mut names = Vec::new();
    loop {
        let list = maps.list(&page).await?;
        names.extend(list.items.iter().map(|item| item.name_any()));
        let Some(next) = list.metadata.continue_.filter(|next| !next.is_empty()) else { break };
        page = page.continue_token(&next);
    }
    assert_eq!(names, ["page-0", "page-1", "page-2", "page-3", "page-4"]);
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kept=yes")).await?;
    Ok(())
}

async fn watchers(client: &Client) -> Result {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    let post = PostParams::default();
    maps.create(&post, &config_map("there", "blue")).await?;
    for config in [watcher::Config::default().streaming_lists(), watcher::Config::default()] {
        let events = watcher(maps.clone(), config.labels("kept=yes"));
        pin_mut!(events);
        let mut seen = Vec::new();
        while let Some(event) = events.try_next().await? {
            seen.push(match event {
                Event::Init => "init".to_owned(),
                Event::InitApply(map) => format!("has {}", map.name_any()),
                Event::InitDone => {
                    maps.create(&post, &config_map("new", "blue")).await?;
                    maps.patch("new", &PatchParams::default(), &Patch::Merge(json!({"data": {"color": "red"}})))
                        .await?;
                    maps.delete("new", &DeleteParams::default()).await?;
                    "done".to_owned()
                }
                Event::Apply(map) => format!("{} is {}", map.name_any(), map.data.unwrap_or_default()["color"]),
                Event::Delete(map) => format!("{} goes", map.name_any()),
            });
            if seen.last().is_some_and(|last| last.ends_with("goes")) {
                break;
            }
        }
        assert_eq!(seen, ["init", "has there", "done", "new is blue", "new is red", "new goes"]);
    }
    // A cache as controllers have it, of metadata alone.
    let (store, writer) = reflector::store();
    let metadata = Api::<PartialObjectMeta<ConfigMap>>::default_namespaced(client.clone());
    let stream = watcher(metadata, watcher::Config::default().streaming_lists());
    let mut stream = stream.default_backoff().reflect(writer).applied_objects().boxed();
    tokio::spawn(async move { while stream.next().await.is_some() {} });
    store.wait_until_ready().await?;
    assert!(store.find(|map| map.name_any() == "there").is_some());
    maps.delete("there", &DeleteParams::default()).await?;
    Ok(())
}

async fn applied_and_scaled(client: &Client, image: &str) -> Result {
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    let script = "mkdir /www; hostname > /www/index.html; echo started; exec httpd -f -p 8080 -h /www";
    let mut manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "web", "image": image, "command": ["sh", "-c", script],
                    "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1}}],
            }},
        },
    });
    let one = PatchParams::apply("one");
    let applied = deployments.patch("web", &one, &Patch::Apply(&manifest)).await?;
    let again = deployments.patch("web", &one, &Patch::Apply(&manifest)).await?;
    assert_eq!(applied.metadata.generation, again.metadata.generation);
    manifest["spec"]["replicas"] = json!(2);
    let conflict = deployments.patch("web", &PatchParams::apply("two"), &Patch::Apply(&manifest)).await;
    assert_eq!(refusal(conflict), (409, "Conflict".into()));
    let forced = deployments.patch("web", &PatchParams::apply("two").force(), &Patch::Apply(&manifest)).await?;
    assert_eq!(forced.spec.and_then(|spec| spec.replicas), Some(2));
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch_scale("web", &PatchParams::default(), &scale).await?;
    assert_eq!(deployments.get_scale("web").await?.spec.and_then(|spec| spec.replicas), Some(1));
    let available = |object: Option<&Deployment>| {
        let status = object.and_then(|d| d.status.as_ref());
        status.is_some_and(|s| s.available_replicas == Some(1) && s.replicas == Some(1))
    };
    await_condition(deployments, "web", available).await?;
    Ok(())
}

async fn inside_pods(client: &Client) -> Result {
    let pods = Api::<Pod>::default_namespaced(client.clone());
    let all = pods.list(&ListParams::default().labels("app=web")).await?;
    let pod = all.items.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap().name_any();
    await_condition(pods.clone(), &pod, conditions::is_pod_running()).await?;
    assert_eq!(pods.logs(&pod, &LogParams::default()).await?, "started\n");
    let follow = LogParams { follow: true, ..LogParams::default() };
    let first = pods.log_stream(&pod, &follow).await?.lines().try_next().await?;
    assert_eq!(first.as_deref(), Some("started"));

    let both = AttachParams::default().stdin(true).stderr(true);
    let mut shell = pods.exec(&pod, ["sh"], &both).await?;
    let (mut input, mut output) = (shell.stdin().unwrap(), shell.stdout().unwrap());
    let status = shell.take_status().unwrap();
    input.write_all(b"echo in $((40 + 2)); exit 3\n").await?;
    let mut said = String::new();
    output.read_to_string(&mut said).await?;
    assert_eq!(said, "in 42\n");
    let status = status.await.unwrap();
    assert_eq!((status.reason.as_deref(), status.status.as_deref()), (Some("NonZeroExitCode"), Some("Failure")));

    let mut forwarder = pods.portforward(&pod, &[8080]).await?;
    let mut port = forwarder.take_stream(8080).unwrap();
    port.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    port.read_to_string(&mut answer).await?;
    assert!(answer.contains("200 OK") && answer.contains(&pod), "{answer}");

    pods.evict(&pod, &EvictParams::default()).await?;
    let uid = all.items.iter().find(|p| p.name_any() == pod).unwrap().uid().unwrap();
    let gone = conditions::is_deleted(&uid);
    await_condition(pods, &pod, gone).await?;
    Ok(())
}

async fn any_kind(client: &Client) -> Result {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "boats.rust.test"},
        "spec": {
            "group": "rust.test", "scope": "Namespaced", "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}},
                    "status": {"type": "object", "properties": {"afloat": {"type": "boolean"}}}}}}}],
        },
    });
    definitions.patch("boats.rust.test", &PatchParams::apply("rust"), &Patch::Apply(&definition)).await?;
    await_condition(definitions.clone(), "boats.rust.test", conditions::is_crd_established()).await?;
    let kind = GroupVersionKind::gvk("rust.test", "v1", "Boat");
    for discovery in
        [Discovery::new(client.clone()).run().await?, Discovery::new(client.clone()).run_aggregated().await?]
    {
        assert!(discovery.has_group("apps"));
        let (resource, capabilities) = discovery.resolve_gvk(&kind).unwrap();
        assert_eq!(resource.plural, "boats");
        assert!(capabilities.subresources.iter().any(|(sub, _)| sub.plural.ends_with("status")));
    }
    let discovery = Discovery::new(client.clone()).filter(&["rust.test"]).run().await?;
    let (resource, _) = discovery.resolve_gvk(&kind).unwrap();
    let boats = Api::<DynamicObject>::default_namespaced_with(client.clone(), &resource);
    let boat = DynamicObject::new("b", &resource).data(json!({"spec": {}}));
    let made = boats.create(&PostParams::default(), &boat).await?;
    assert_eq!(made.data["spec"]["size"], 3);
    let version = made.resource_version().unwrap();
    let status = Patch::Merge(json!({"status": {"afloat": true}, "spec": {"size": 9}}));
    let patched = boats.patch_status("b", &PatchParams::default(), &status).await?;
    assert_eq!((&patched.data["spec"]["size"], &patched.data["status"]["afloat"]), (&json!(3), &json!(true)));
    let events = boats.watch(&WatchParams::default().timeout(20), &version).await?;
    pin_mut!(events);
    let Some(WatchEvent::Modified(seen)) = events.try_next().await? else { panic!("the change of its status is seen") };
    assert_eq!(seen.data["status"]["afloat"], true);
    delete_and_finalize(boats, "b", &DeleteParams::default()).await?;
    delete_and_finalize(definitions, "boats.rust.test", &DeleteParams::default()).await?;
    let gone = async {
        while Discovery::new(client.clone()).run().await?.has_group("rust.test") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, kube::Error>(())
    };
    gone.await?;
    Ok(())
}
