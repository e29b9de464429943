// SPDX-License-Identifier: Apache-2.0
//! Objects sent and asked for as protobuf, as controllers written in Go do it.

use std::fs;

use knarr_tests::cluster::Bare;
use serde_json::Value;

use crate::bad_input::credentials;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// A field with a length: its number, its bytes (shorter than 128).
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 128);
    [&[number << 3 | 2, length], bytes].concat()
}

/// A ConfigMap with one entry, in the envelope that says its kind.
fn config_map(name: &str, key: &str, value: &str) -> Vec<u8> {
    let entry = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    let object = [field(1, &field(1, name.as_bytes())), field(2, &entry)].concat();
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    [MAGIC.to_vec(), field(1, &kind), field(2, &object)].concat()
}

#[test]
fn objects_go_in_and_come_out_as_protobuf() {
    let bare = Bare::start(&[]);
    let (url, files) = credentials(&bare.host, bare.folder.path());
    let maps = format!("{url}/api/v1/namespaces/default/configmaps");
    let ask = |arguments: &[&str], body: &[u8]| {
        let file = bare.folder.path().join("body");
        fs::write(&file, body).unwrap();
        let mut curl = bare.host.command("curl");
        curl.args(["-s", "-m", "30", "-w", "\n%{http_code}"]).args(&files).args(arguments);
        if !body.is_empty() {
            curl.args(["-H", &format!("Content-Type: {PROTOBUF}"), "--data-binary", &format!("@{}", file.display())]);
        }
        let said = curl.output().unwrap().stdout;
        let at = said.iter().rposition(|byte| *byte == b'\n').unwrap();
        (String::from_utf8_lossy(&said[at + 1..]).into_owned(), said[..at].to_vec())
    };
    let accept = format!("Accept: {PROTOBUF}");

    let (code, made) = ask(&["-H", &accept, &maps], &config_map("packed", "color", "blue"));
    assert!(code == "201" && made.starts_with(MAGIC), "{code} {}", String::from_utf8_lossy(&made));
    let map = bare.kubectl.json(&["configmap", "packed"]);
    assert_eq!((&map["data"]["color"], &map["kind"]), (&Value::from("blue"), &Value::from("ConfigMap")));
    let (code, list) = ask(&["-H", &accept, &maps], b"");
    let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(code == "200" && list.starts_with(MAGIC) && has(&list, "packed") && has(&list, "blue"), "{code}");

    for (what, body) in [
        ("cut off", config_map("cut", "a", "b").split_last().unwrap().1.to_vec()),
        ("without its magic", config_map("plain", "a", "b")[4..].to_vec()),
        ("of nothing", MAGIC.to_vec()),
    ] {
        let (code, said) = ask(&["-H", "Accept: application/json", &maps], &body);
        let status: Value = serde_json::from_slice(&said).unwrap();
        assert!(code == "400" && status["reason"] == "BadRequest", "a body {what}: {code} {status}");
    }
    assert_eq!(
        bare.kubectl.run(&["get", "configmaps", "-o", "name", "--field-selector=metadata.name!=kube-root-ca.crt"]),
        "configmap/packed\n"
    );
}
