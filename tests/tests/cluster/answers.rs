// SPDX-License-Identifier: Apache-2.0
//! What a server answers to requests that kubectl does not make by itself: a table of them, each with what must be in
//! the answer, in the order in which they are asked.

use std::time::Duration;

use knarr_tests::cluster::Bare;
use knarr_tests::wait::eventually;
use serde_json::{Value, json};

use crate::bad_input::credentials;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const DEFAULT: &str = "/api/v1/namespaces/default";
const APPS: &str = "/apis/apps/v1/namespaces/default";

/// The API by hand.
struct Api {
    bare: Bare,
    server: String,
    flags: Vec<String>,
}

/// The status code, the warnings and the body of an answer.
type Answer = (u64, Vec<String>, Value);

impl Api {
    fn start() -> Self {
        let bare = Bare::start(&[]);
        let (server, flags) = credentials(&bare.host, bare.folder.path());
        Self { bare, server, flags }
    }

    /// `POST /path`, with a body where there is one; a patch is named by its kind: `MERGE /path`, `APPLY /path`.
    fn ask(&self, request: &str, accept: &str, body: &Value) -> Answer {
        let (verb, path) = request.split_once(' ').unwrap();
        let (method, media) = match verb {
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            method => (method, "application/json"),
        };
        let mut curl = self.bare.host.command("curl");
        curl.args(["-s", "-i", "-m", "30", "-X", method, "-H", &format!("Accept: {accept}")]).args(&self.flags);
        if !body.is_null() {
            curl.args(["-H", &format!("Content-Type: {media}"), "--data-binary", &body.to_string()]);
        }
        let output = curl.arg(format!("{}{path}", self.server)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {output:?}"));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        let warnings = head.lines().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect();
        (code, warnings, serde_json::from_str(body).unwrap_or_else(|_| body.into()))
    }

    /// Asks, and looks for the code and for values at JSON pointers.
    fn check(&self, request: &str, accept: &str, body: &Value, code: u64, wants: &[(&str, Value)]) {
        let answer = self.ask(request, accept, body);
        assert_eq!(answer.0, code, "{request}: {}", answer.2);
        for (pointer, want) in wants {
            assert_eq!(answer.2.pointer(pointer).unwrap_or(&Value::Null), want, "{request} {pointer}: {}", answer.2);
        }
    }
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn workload() -> Value {
    json!({"selector": {"matchLabels": {"app": "x"}}, "template": template()})
}

fn scale(replicas: i64) -> Value {
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "w", "namespace": "default"},
        "spec": {"replicas": replicas}})
}

#[test]
fn requests_by_hand_are_answered_as_upstream_answers_them() {
    let api = Api::start();
    forms_of_answers(&api);
    scales(&api);
    jobs(&api);
    odd_requests(&api);
    own_objects(&api);
    custom_resources(&api);
    assert!(api.bare.kubectl.run(&["get", "--raw", "/readyz"]).contains("ok"));
}

fn forms_of_answers(api: &Api) {
    let set = json!({"metadata": {"name": "d"}, "spec": workload()});
    let generation = "/metadata/annotations/deprecated.daemonset.template.generation";
    let sets = format!("{APPS}/daemonsets");
    api.check(&format!("POST {sets}"), "", &set, 201, &[(generation, json!("1"))]);
    api.check(&format!("GET {sets}/d"), METADATA, &Value::Null, 200, &[("/metadata/annotations", Value::Null)]);
    let table = [("/rows/0/object/metadata/name", json!("d")), ("/rows/0/object/metadata/annotations", Value::Null)];
    api.check(&format!("GET {sets}"), TABLE, &Value::Null, 200, &table);
    let whole = format!("GET {sets}?includeObject=Object");
    api.check(&whole, TABLE, &Value::Null, 200, &[(&format!("/rows/0/object{generation}"), json!("1"))]);

    api.check(
        &format!("POST {DEFAULT}/configmaps"),
        "",
        &json!({"metadata": {"name": "a"}, "data": {"x": "y"}}),
        201,
        &[],
    );
    let some = format!("DELETE {DEFAULT}/configmaps?fieldSelector=metadata.name=a");
    let table = [("/kind", json!("Table")), ("/rows/0/cells/0", json!("a")), ("/rows/0/cells/1", json!(1))];
    api.check(&some, TABLE, &Value::Null, 200, &table);

    let target = json!({"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"});
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 3}}});
    let autoscaler =
        json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [memory]}});
    let autoscalers =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    api.check(&format!("POST {}", autoscalers("v2")), "", &autoscaler, 201, &[]);
    let table =
        [("/rows/0/cells/2", json!("memory: <unknown>/3%")), ("/rows/0/object/metadata/annotations", Value::Null)];
    api.check(&format!("GET {}", autoscalers("v1")), TABLE, &Value::Null, 200, &table);

    let none = [("/kind", json!("Table")), ("/columnDefinitions/1/name", json!("Status")), ("/rows", json!([]))];
    api.check("GET /api/v1/componentstatuses", TABLE, &Value::Null, 200, &none);

    // A role gives the administrator all of it; that masters may do everything is said of no rule.
    let review = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let (_, _, rules) = api.ask(review, "", &json!({"spec": {"namespace": "default"}}));
    let rules = rules["status"]["nonResourceRules"].as_array().unwrap();
    assert_eq!(rules.iter().filter(|rule| rule["nonResourceURLs"] == json!(["*"])).count(), 1, "{rules:?}");

    let unnamed = json!({"target": {"name": "n"}});
    for (path, body, code, why) in [
        ("/api/v1", &json!({}), 404, "the server could not find the requested resource"),
        (DEFAULT, &json!({}), 500, "target.name: Required value"),
        (DEFAULT, &unnamed, 400, "Name parameter required."),
    ] {
        api.check(&format!("POST {path}/bindings"), "", body, code, &[("/message", json!(why))]);
    }
}

fn scales(api: &Api) {
    let of = |path: &str| format!("{APPS}/deployments/w{path}");
    let mut spec = workload();
    spec["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    api.check(&format!("POST {APPS}/deployments"), "", &json!({"metadata": {"name": "w"}, "spec": spec}), 201, &[]);
    let table = [
        ("/rows/0/cells/0", json!("w")),
        ("/rows/0/cells/1", json!(1)),
        ("/rows/0/object/kind", json!("PartialObjectMetadata")),
    ];
    api.check(&format!("GET {}", of("/scale")), TABLE, &Value::Null, 200, &table);
    for (request, body, warned) in [
        (format!("PUT {}", of("/scale")), scale(2), 1),
        (format!("MERGE {}?fieldManager=y", of("/scale")), json!({"spec": {"replicas": 3}}), 1),
        (format!("MERGE {}", of("/scale")), json!({"spec": {"replicas": 3}}), 0),
    ] {
        let (code, warnings, answer) = api.ask(&request, "", &body);
        assert_eq!((code, warnings.len()), (200, warned), "{request}: {warnings:?} {answer}");
    }
    // Patches see who owns the replicas; what they say of owners that cannot be is not looked at.
    let test = json!([{"op": "test", "path": "/metadata/managedFields/0/manager", "value": "y"}]);
    api.check(&format!("JSON {}", of("/scale")), "", &test, 200, &[]);
    let odd = json!({"metadata": {"managedFields": [{}]}});
    api.check(&format!("MERGE {}", of("/scale")), "", &odd, 200, &[("/spec/replicas", json!(3))]);
    let (_, _, told) = api.ask(&format!("MERGE {}", of("/scale")), "", &json!({"spec": {"replicas": "x"}}));
    assert!(told["message"].as_str().unwrap().contains(r#"\"managedFields\":[{\"manager\":\"y\""#), "{told}");
}

/// What clients seldom ask, and upstream has an answer to.
fn odd_requests(api: &Api) {
    let maps = format!("{DEFAULT}/configmaps");
    let own_form = json!({"apiVersion": "__internal", "kind": "ConfigMap", "metadata": {"name": "odd"}, "data": {}});
    let (code, warnings, told) = api.ask(&format!("POST {maps}"), "", &own_form);
    let why = "the API version in the data (__internal) does not match the expected API version (v1)";
    assert_eq!((code, &told["message"], warnings.len()), (400, &json!(why), 2), "{warnings:?}");

    // What cannot be answered is not done.
    let odd = json!({"metadata": {"name": "odd"}});
    api.check(&format!("POST {maps}"), "application/json;as=Odd;v=v1;g=meta.k8s.io", &odd, 406, &[]);
    api.check(&format!("GET {maps}/odd"), "application/json;as=;v=;g=", &Value::Null, 404, &[]);
    api.check(&format!("POST {maps}?dryRun=All"), TABLE, &odd, 201, &[("/metadata", json!({}))]);

    let myself = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
    let metadata = [("/kind", json!("PartialObjectMetadata")), ("/status", Value::Null)];
    api.check(myself, METADATA, &json!({}), 201, &metadata);
    let no_list = "you requested PartialObjectMetadataList, but the requested object is not a list (*authentication.SelfSubjectReview)";
    let list = METADATA.replace("Metadata;", "MetadataList;");
    api.check(myself, &list, &json!({}), 406, &[("/message", json!(no_list))]);
    api.check(&format!("GET {DEFAULT}/pods/none/resize"), TABLE, &Value::Null, 406, &[]);
    for (accept, code) in [("*/*", 404), (METADATA, 404), (TABLE, 406), ("text/plain", 406), ("text/html", 406)] {
        api.check(&format!("GET {DEFAULT}/pods/none/log"), accept, &Value::Null, code, &[]);
    }

    let owned = json!({"metadata": {"name": "owned", "managedFields": []}, "data": {"a": "b"}});
    api.check(&format!("POST {maps}"), "", &owned, 201, &[]);
    let yaml = METADATA.replace("json", "yaml");
    let (_, _, text) = api.ask(&format!("DELETE {maps}/owned?dryRun=All"), &yaml, &Value::Null);
    assert!(text.as_str().is_some_and(|text| text.contains("status: Success")), "{text}");
    let nulls = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": null, "f:b": {}}}}]}});
    let left = [("/metadata/managedFields/0/fieldsV1", json!({"f:data": {"f:b": {}}}))];
    api.check(&format!("MERGE {maps}/owned"), "", &nulls, 200, &left);
}

/// What the server itself makes, under the names that upstream gives it.
fn own_objects(api: &Api) {
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt";
    for (path, want) in [
        ("/api/v1/namespaces/default/services/kubernetes", &["kube-apiserver"][..]),
        (ranges, &["kube-apiserver", "kubernetes-service-cidr-controller"]),
        (schemas, &["api-priority-and-fairness-config-consumer-v1", "api-priority-and-fairness-config-producer-v1"]),
    ] {
        eventually("its owners are there", Duration::from_secs(10), || {
            let (_, _, object) = api.ask(&format!("GET {path}"), "", &Value::Null);
            let entries = object["metadata"]["managedFields"].as_array().unwrap();
            let mut owners: Vec<_> = entries.iter().filter_map(|entry| entry["manager"].as_str()).collect();
            owners.sort_unstable();
            if owners == want { Ok(()) } else { Err(object.to_string()) }
        });
    }
}

fn jobs(api: &Api) {
    let mut pods = template();
    pods["spec"]["restartPolicy"] = json!("Never");
    let own = json!({"app": "x"});
    for (name, labels, shared) in [("a", Value::Null, true), ("b", json!({}), true), ("c", own.clone(), false)] {
        let job = json!({"metadata": {"name": name, "labels": labels}, "spec": {"template": pods}});
        let (code, _, made) = api.ask("POST /apis/batch/v1/namespaces/default/jobs", "", &job);
        let want = if shared { &made["spec"]["template"]["metadata"]["labels"] } else { &own };
        assert_eq!((code, &made["metadata"]["labels"]), (201, want), "{made}");
    }
}

fn custom_resources(api: &Api) {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let all = "/apis/answers.example.com/v1/namespaces/default/things";
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "a": {"type": "string"},
            "o": {"type": "object", "additionalProperties": true}}},
        "status": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "subresources":
        {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.n"}}});
    let definition = json!({"metadata": {"name": "things.answers.example.com"}, "spec": {"group": "answers.example.com",
        "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [version]}});
    api.check(&format!("POST {definitions}"), "", &definition, 201, &[]);
    let served = || api.ask(&format!("GET {all}"), "", &Value::Null);
    eventually("the kind is served", Duration::from_secs(10), || {
        let (code, _, answer) = served();
        if code == 200 { Ok(()) } else { Err(answer.to_string()) }
    });
    let thing = |name: &str, spec: Value| json!({"apiVersion": "answers.example.com/v1", "kind": "Thing", "metadata": {"name": name, "finalizers": ["example.com/x"]}, "spec": spec});
    api.check(
        &format!("POST {all}"),
        "",
        &thing("w", json!({"replicas": 1, "a": null})),
        201,
        &[("/spec/a", Value::Null)],
    );

    // What an apply says of nothing is judged, where other writes leave it out.
    let nothing = "Thing.answers.example.com \"n\" is invalid: spec.a: Invalid value: \"null\": spec.a in body must be of type string: \"null\"";
    let apply = format!("APPLY {all}/n?fieldManager=m");
    api.check(&apply, "", &thing("n", json!({"a": null})), 422, &[("/message", json!(nothing))]);

    // What additionalProperties lets in is applied and pruned, and counts as a change each time.
    for generation in [1, 2, 3] {
        let free = thing("free", json!({"o": {"a": {"b": 1}}}));
        let want = [("/metadata/generation", json!(generation)), ("/spec/o/a", json!({}))];
        let code = if generation == 1 { 201 } else { 200 };
        api.check(&format!("APPLY {all}/free?fieldManager=m"), "", &free, code, &want);
    }
    api.check(&format!("MERGE {all}/free"), "", &json!({"metadata": {"finalizers": null}}), 200, &[]);

    let owners = |path: &str| -> Vec<String> {
        let (_, _, answer) = api.ask(&format!("GET {all}/w"), "", &Value::Null);
        let entries = answer["metadata"]["managedFields"].as_array().unwrap();
        let has = |entry: &&Value| entry["fieldsV1"].pointer(path).is_some();
        entries.iter().filter(has).map(|entry| entry["subresource"].as_str().unwrap_or_default().to_owned()).collect()
    };
    api.check(&format!("PUT {all}/w/scale"), "", &scale(2), 200, &[]);
    assert_eq!(owners("/f:spec/f:replicas"), ["scale"]);
    let columns = [
        ("/columnDefinitions/0/format", json!("name")),
        ("/columnDefinitions/1/description", json!("Number of desired replicas")),
        ("/columnDefinitions/3/type", json!("date")),
        ("/rows/0/cells/1", json!(2)),
    ];
    api.check(&format!("GET {all}/w/scale"), TABLE, &Value::Null, 200, &columns);
    let nameless = json!({"metadata": {"name": "w", "namespace": "default"}, "spec": {"replicas": 3}});
    api.check(&format!("PUT {all}/w/scale"), "", &nameless, 200, &[("/spec/replicas", json!(3))]);
    assert!(owners("/f:spec/f:replicas").is_empty(), "nobody owns what came with no name");
    let no_version = "failed to convert new object (default/w; autoscaling/v1, Kind=Scale) to proper version: request to convert CR to an invalid group/version: autoscaling/v1";
    api.check(
        &format!("APPLY {all}/w/scale?fieldManager=m&force=true"),
        "",
        &scale(4),
        500,
        &[("/message", json!(no_version))],
    );

    let one = format!("DELETE {definitions}/things.answers.example.com");
    api.check(&one, "", &Value::Null, 200, &[]);
    let refused = "things.answers.example.com \"new\" is forbidden: create not allowed while custom resource definition is terminating";
    eventually("nothing more is made", Duration::from_secs(10), || {
        let (code, _, answer) =
            api.ask(&format!("APPLY {all}/new?fieldManager=m&dryRun=All"), "", &thing("new", json!({})));
        if (code, &answer["message"]) == (403, &json!(refused)) { Ok(()) } else { Err(answer.to_string()) }
    });
    api.check(&one, "", &Value::Null, 200, &[("/metadata/deletionGracePeriodSeconds", json!(0))]);
    api.check(&format!("MERGE {all}/w"), "", &json!({"metadata": {"finalizers": null}}), 200, &[]);
}
