// SPDX-License-Identifier: Apache-2.0
//! Objects there and back, and bytes that protoc made of the published .proto files.

use knarr_types::tree::{Map, Value, json};
use proptest::prelude::*;

use super::message::{Codec, Or, SCHEMA};
use super::{Fault, ListFrame, Message, open, put_json, put_tree, read, seal, watch_frame};
use crate::builtin_types::{self, NamedType};
use crate::field_table::Type;
use crate::kinds::Registry;
use crate::normalize;

fn named(name: &str) -> &'static NamedType {
    builtin_types::find(name).unwrap()
}

/// What is read from bytes in hexadecimal, and again from what is written of that.
fn read_hex(name: &str, hex: &str) -> Value {
    let message = named(name).message();
    let object = read(message, &hex::decode(hex.replace(char::is_whitespace, "")).unwrap()).unwrap();
    let mut bytes = Vec::new();
    put_tree(message, &object, &mut bytes).unwrap();
    let normal = |mut object: Value| {
        normalize(&mut object, named(name).get());
        object
    };
    assert_eq!(normal(read(message, &bytes).unwrap()), normal(object.clone()), "{name}: there and back");
    let mut from_json = Vec::new();
    put_json(message, object.to_string().as_bytes(), &mut from_json).unwrap();
    assert_eq!(from_json, bytes, "{name}: a tree and its bytes are written alike");
    object
}

#[test]
fn a_pod_by_protoc_is_read_as_its_json() {
    let pod = read_hex(
        "io.k8s.api.core.v1.Pod",
        "0a610a037765621a016e38ffffffffffffffffff0142080880e2cfaa0610055a060a01611201625a090a05656d70747912008a012e0a016d12065570
         6461746522060880e2cfaa0632084669656c647356313a0f0a0d7b22663a73706563223a7b7d7d1282010a100a0176120b9a01080a030a016318a403
         124c0a0163120169320410001850420e0a0c0a0363707512050a03302e3552180a141212120a080110001a0468747470220448545450200a5a0d0a0b
         1a090a07080010903f1a007a0220008001001a06416c7761797320005200580072042001200292020b0a060a01651201781201631a00",
    );
    let want = json!({
        "metadata": {"name": "web", "namespace": "n", "generation": -1, "creationTimestamp": "2023-11-14T22:13:20Z",
            "labels": {"a": "b", "empty": ""},
            "managedFields": [{"manager": "m", "operation": "Update", "time": "2023-11-14T22:13:20Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]},
        "spec": {
            "volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}],
            "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
                "readinessProbe": {"tcpSocket": {"port": 8080}},
                "securityContext": {"runAsUser": 0}}],
            "terminationGracePeriodSeconds": 0, "restartPolicy": "Always",
            "ephemeralContainers": [{"name": "e", "image": "x", "targetContainerName": "c"}],
            "securityContext": {"supplementalGroups": [1, 2]}},
        "status": {},
    });
    assert_eq!(pod, want);
}

#[test]
fn a_schema_may_hold_a_schema_or_something_else() {
    let definition = read_hex(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        "12bc010a01671a070a027773220157220a4e616d657370616365643aa1010a027631100118012296010a93012a066f626a656374ea013a0a01611235
         2a05617272617942070a055b2278225d49000000000000f83fa201060a046e756c6ca201030a0131c2010a0a082a06737472696e67ea01150a016212
         10f2010d080112092a07696e7465676572ea01100a0163120b1a0172f201020800b00201ea01200a0164121bc2010a12032a017812032a017982020b
         0a016b1206120170120171",
    );
    let want = json!({
        "a": {"type": "array", "items": {"type": "string"}, "maximum": 1.5, "default": ["x"], "enum": [null, 1]},
        "b": {"additionalProperties": {"type": "integer"}},
        "c": {"additionalProperties": false, "x-kubernetes-preserve-unknown-fields": true, "$ref": "r"},
        "d": {"items": [{"type": "x"}, {"type": "y"}], "dependencies": {"k": ["p", "q"]}},
    });
    assert_eq!(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"], want);
}

#[test]
fn lists_with_a_message_of_their_own_and_embedded_structs_are_flat_in_json() {
    let review = read_hex(
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        "12280a0b12036765742a04706f64731a01752201672201682a100a0673636f70657312060a01610a01621a020800",
    );
    assert_eq!(review["spec"]["extra"], json!({"scopes": ["a", "b"]}));
    let policy = read_hex(
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        "0a030a0170123b122b1a290a016e12240a06435245415445121a0a0461707073120276311a0b6465706c6f796d656e747322012a22044661696c3a06
         0a0176120131",
    );
    let rule = json!({"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
        "resources": ["deployments"], "scope": "*"});
    assert_eq!(policy["spec"]["matchConstraints"]["resourceRules"], json!([rule]));
    assert_eq!(policy["spec"]["variables"], json!([{"name": "v", "expression": "1"}]));
    let lease = read_hex("io.k8s.api.coordination.v1.Lease", "0a030a016c12120a01681028220b0880e2cfaa0610959aef3a");
    assert_eq!(lease["spec"]["renewTime"], "2023-11-14T22:13:20.123456Z", "micro-times lose their nanoseconds");
}

#[test]
fn what_is_written_is_what_go_writes() {
    // As recorded from kube-apiserver 1.36, with a shorter message.
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "only",
        "reason": "NotAcceptable", "code": 406});
    let message = named("io.k8s.apimachinery.pkg.apis.meta.v1.Status").message();
    let document = seal("v1", "Status", |out| put_tree(message, &status, out).unwrap());
    let want = b"k8s\0\n\x0c\n\x02v1\x12\x06Status\x12)\n\x06\n\0\x12\0\x1a\0\x12\x07Failure\x1a\x04only\"\rNotAcceptable0\x96\x03\x1a\0\"\0";
    assert_eq!(document.escape_ascii().to_string(), want.escape_ascii().to_string());
}

#[test]
fn lists_of_numbers_may_be_packed() {
    let context = read_hex("io.k8s.api.core.v1.PodSecurityContext", "2203050607");
    assert_eq!(context["supplementalGroups"], json!([5, 6, 7]));
}

#[test]
fn what_is_no_message_is_refused() {
    let message = named("io.k8s.api.core.v1.Pod").message();
    for (hex, want) in [
        ("0a05", Fault::Eof),
        ("0a", Fault::Eof),
        ("0affffffffffffffffff01", Fault::Length),
        ("0affffffffffffffffffff01", Fault::Overflow),
        ("0f", Fault::WrongType { field: "ObjectMeta".into(), wire: 7 }),
        ("a70600", Fault::IllegalWire(7)),
        ("a306a4060c", Fault::EndGroup { message: "Pod".into() }),
        ("a306a306", Fault::Eof),
    ] {
        assert_eq!(read(message, &hex::decode(hex).unwrap()), Err(want), "{hex}");
    }
    for (hex, want) in [
        ("0800", "proto: wrong wireType = 0 for field ObjectMeta"),
        ("00", "proto: Pod: illegal tag 0 (wire type 0)"),
        ("0a0200", "unexpected EOF"),
        ("0a0100", "proto: ObjectMeta: illegal tag 0 (wire type 0)"),
        ("0a035a0104", "proto: unexpected end of group"),
        ("0a0342020805", "unexpected EOF"),
        ("0a0442020805", "nothing"),
        ("0a0442020a00", "proto: wrong wireType = 2 for field Seconds"),
        ("12021005", "proto: wrong wireType = 0 for field Containers"),
        ("12040a020800", "proto: wrong wireType = 0 for field Name"),
        ("12060a0412020800", "proto: wrong wireType = 0 for field HostPath"),
        ("12040a021000", "proto: wrong wireType = 0 for field VolumeSource"),
        ("12050a03120100", "proto: VolumeSource: illegal tag 0 (wire type 0)"),
        ("0a068a01033a0104", "proto: FieldsV1: wiretype end group for non-group"),
    ] {
        let told = read(message, &hex::decode(hex).unwrap());
        assert_eq!(told.map_or_else(|fault| fault.to_string(), |_| "nothing".into()), want, "{hex}");
    }
    let deep = (0..4000).fold(Vec::new(), |inner, _| {
        let mut outer = Vec::new();
        super::wire::put_bytes(&mut outer, 28, &inner);
        outer
    });
    assert_eq!(read(named(SCHEMA).message(), &deep), Err(Fault::TooDeep));
}

#[test]
fn an_envelope_is_opened_as_it_was_sealed() {
    let document = seal("apps/v1", "Deployment", |out| out.extend_from_slice(&[7; 300]));
    let envelope = open(&document).unwrap();
    assert_eq!((&*envelope.api_version, &*envelope.kind), ("apps/v1", "Deployment"));
    assert_eq!(envelope.object, [7; 300]);
    for (document, want) in [
        (&b""[..], "empty data"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"k8s\0", "empty body"),
        (b"k8s\0\x0a\x05", "unexpected EOF"),
    ] {
        assert_eq!(open(document).unwrap_err(), want);
    }
}

#[test]
fn a_list_that_is_written_in_pieces_is_a_list() {
    let item = named("io.k8s.api.core.v1.ConfigMap").message();
    let items: Vec<Value> =
        (0..40).map(|i| json!({"metadata": {"name": "a".repeat(i * 9)}, "data": {"k": "v"}})).collect();
    let encoded = |object: &Value| {
        let mut bytes = Vec::new();
        put_tree(item, object, &mut bytes).unwrap();
        bytes
    };
    let total = items.iter().map(|object| ListFrame::item_length(encoded(object).len())).sum();
    let frame = ListFrame::new("v1", "ConfigMapList", total, |out| {
        let meta = named("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").message();
        put_tree(meta, &json!({"resourceVersion": "7"}), out).unwrap();
    });
    let mut document = frame.head;
    for object in &items {
        ListFrame::put_item(&mut document, |out| out.extend(encoded(object)));
    }
    document.extend(frame.tail);
    let envelope = open(&document).unwrap();
    let list = read(named("io.k8s.api.core.v1.ConfigMapList").message(), envelope.object).unwrap();
    let mut want = items.clone();
    want[0]["metadata"] = json!({});
    assert_eq!(list, json!({"metadata": {"resourceVersion": "7"}, "items": want}));
}

#[test]
fn an_event_has_its_length_in_front() {
    let frame = watch_frame("ADDED", b"object");
    assert_eq!(frame[..4], [0, 0, 0, 17]);
    assert_eq!(frame[4..], *b"\x0a\x05ADDED\x12\x08\x0a\x06object");
}

#[test]
fn every_field_of_every_kind_has_a_number_of_its_own() {
    for name in builtin_types::names() {
        let Type::Struct(shape) = named(name).get() else { continue };
        let message = named(name).message();
        let mut paths: Vec<_> = message.fields().iter().map(|field| &field.path).collect();
        paths.sort();
        assert!(paths.windows(2).all(|pair| pair[0] != pair[1]), "{name}");
        for field in &shape.fields {
            let known = message.position(&field.name).is_some() || ["apiVersion", "kind"].contains(&&*field.name);
            assert!(known, "{name}.{}", field.name);
        }
    }
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn object(&mut self, message: &Message, depth: u32) -> Value {
        // The deeper, the fewer fields: objects stay small.
        let share = 2 + u64::from(depth) * 2;
        let mut tree = Map::new();
        for field in message.fields() {
            if self.roll(share) == 0
                && let Some(value) = self.value(&field.codec, depth)
            {
                tree.insert(field.name, value);
            }
        }
        Value::Object(tree)
    }

    fn value(&mut self, codec: &Codec, depth: u32) -> Option<Value> {
        let schema = |dice: &mut Self| dice.object(named(SCHEMA).message(), depth + 2);
        Some(match codec {
            _ if depth > 8 => return None,
            Codec::Boolean => (self.roll(2) == 0).into(),
            Codec::Integer(32) => i64::from(self.roll(u64::MAX) as i32).into(),
            Codec::Integer(_) => (self.roll(u64::MAX) as i64).into(),
            Codec::Double => json!([0.5, -3.0, 1e300][self.roll(3) as usize]),
            Codec::Text => json!(["", "a", "ü\u{0}\"", &"x".repeat(200)][self.roll(4) as usize]),
            Codec::Bytes => json!(["AA==", "aGVsbG8="][self.roll(2) as usize]),
            Codec::Time => json!("2024-02-29T23:59:59Z"),
            Codec::MicroTime => json!("1969-12-31T23:59:59.000001Z"),
            Codec::Quantity => json!(["1500m", "2Gi", "0"][self.roll(3) as usize]),
            Codec::IntOrString => json!([json!(-1), json!("50%"), json!(0)][self.roll(3) as usize]),
            Codec::Raw => json!({"f:a": {}, "list": [1, null, "x"]}),
            Codec::SchemaOr(Or::Boolean) if self.roll(2) == 0 => json!(false),
            Codec::SchemaOr(Or::Names) if self.roll(2) == 0 => json!(["a", ""]),
            Codec::SchemaOr(Or::Schemas) if self.roll(2) == 0 => json!([schema(self), schema(self)]),
            Codec::SchemaOr(_) => schema(self),
            Codec::Message(inner) => self.object(inner.message(), depth + 1),
            Codec::List(item) | Codec::Wrapped(item) if matches!(**item, Codec::List(_)) => self.value(item, depth)?,
            Codec::List(item) | Codec::Wrapped(item) => {
                (0..=self.roll(2)).filter_map(|_| self.value(item, depth + 1)).collect()
            }
            Codec::Map(value) => json!({"k": self.value(value, depth + 1)?, "": self.value(value, depth + 1)?}),
        })
    }
}

proptest! {
    #[test]
    fn objects_of_every_kind_come_back_as_they_were(seed in 1_u64.., which in 0_usize..1000) {
        let registry = Registry::builtin();
        let kinds: Vec<_> = registry.iter().collect();
        let kind = kinds[which % kinds.len()];
        let Type::Struct(shape) = kind.ty.get() else { panic!("a struct") };
        let message = named(&shape.name).message();
        let mut object = Dice(seed).object(message, 0);
        let mut bytes = Vec::new();
        put_tree(message, &object, &mut bytes).unwrap();
        let mut back = read(message, &bytes).unwrap();
        normalize(&mut object, kind.ty.get());
        normalize(&mut back, kind.ty.get());
        prop_assert_eq!(back, object, "{}", kind.kind);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&bytes);
        let _ = read(named("io.k8s.api.core.v1.Pod").message(), &bytes);
        let _ = read(named(SCHEMA).message(), &bytes);
    }
}

#[test]
fn json_within_a_message_is_escaped_as_go_escapes_it() {
    let message = named("io.k8s.api.apps.v1.ControllerRevision").message();
    let mut bytes = Vec::new();
    put_tree(message, &json!({"data": {"a": "<b>&\u{2028}"}}), &mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text.contains(r#"{"a":"\u003cb\u003e\u0026\u2028"}"#), "{text}");
}
