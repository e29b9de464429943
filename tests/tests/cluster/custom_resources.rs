// SPDX-License-Identifier: Apache-2.0
//! A definition of the size that operators ship, its resources, and kubectl.

use std::time::Duration;

use knarr_tests::cluster::Bare;
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::eventually;

const CERT: &str = "apiVersion: pki.example.com/v1\nkind: Cert\nmetadata: {name: web}\nspec: {secretName: web-tls, \
                    dnsNames: [a.example.com], issuerRef: {name: ca}}\n";

#[test]
fn custom_resources_come_and_go_with_their_definition() {
    let mut bare = Bare::start(&[]);
    let kubectl = bare.kubectl.clone();
    kubectl.apply(include_str!("certificates.yaml"));
    kubectl.run(&["wait", "--for=condition=Established", "crd/certs.pki.example.com", "--timeout=30s"]);

    resources_are_defaulted_and_served(&kubectl);
    wrong_resources_are_refused(&kubectl);

    bare.restart();
    assert_eq!(kubectl.json(&["cert", "web"])["spec"]["copies"], 3);
    kubectl.run(&["delete", "crd", "certs.pki.example.com", "--timeout=30s"]);
    eventually("the kind goes with its definition", Duration::from_secs(10), || {
        let gone = kubectl.try_run(&["get", "--raw", "/apis/pki.example.com/v1/certs"], "");
        if gone.code != 0 { Ok(()) } else { Err(gone.out) }
    });
    assert!(bare.server.terminate(Duration::from_secs(20)).success());
}

fn resources_are_defaulted_and_served(kubectl: &Kubectl) {
    assert!(kubectl.apply(CERT).contains("cert.pki.example.com/web created"));
    assert!(kubectl.apply(CERT).contains("unchanged"));
    let cert = kubectl.json(&["cert", "web"]);
    assert_eq!(cert["spec"]["privateKey"]["algorithm"], "ECDSA");
    assert_eq!(cert["spec"]["issuerRef"]["kind"], "Issuer");
    kubectl.run(&["scale", "cert/web", "--replicas=3"]);
    assert_eq!(kubectl.json(&["cert", "web"])["spec"]["copies"], 3);
    let status = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    kubectl.run(&["patch", "crt", "web", "--subresource=status", "--type=merge", "-p", status]);
    let table = kubectl.run(&["get", "crt", "-o", "wide", "--field-selector=spec.secretName=web-tls"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "SECRET", "ISSUER", "AGE"], "{table}");
    assert_eq!(rows[1][..4], ["web", "True", "web-tls", "ca"], "{table}");
    assert_eq!(kubectl.run(&["get", "pki", "-o", "name"]).trim(), "cert.pki.example.com/web");
    let explained = kubectl.run(&["explain", "cert.spec.secretName"]);
    assert!(explained.contains("Where the certificate is kept."), "{explained}");
}

fn wrong_resources_are_refused(kubectl: &Kubectl) {
    for (from, to, why) in [
        ("issuerRef: {name: ca}", "issuerRef: {}", "spec.issuerRef.name: Required value"),
        ("dnsNames: [a.example.com]", "dnsNames: []", "a name is needed"),
        ("dnsNames: [a.example.com]", "dnsName: [a]", "unknown field \"spec.dnsName\""),
    ] {
        let outcome = kubectl.try_run(&["apply", "-f", "-"], &CERT.replace(from, to));
        assert!(outcome.code != 0 && outcome.err.contains(why), "{why}: {}", outcome.err);
    }
}
