// SPDX-License-Identifier: Apache-2.0
//! Ingress over HTTP and TLS: which certificate a client gets, and which Service by host and path.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_tests::cluster::{Cluster, SOON};
use knarr_tests::wait::eventually;

/// Each Service leads to a server that answers with its name.
const NAMES: [&str; 5] = ["root", "exact", "deep", "wild", "rest"];

const RULES: &str = r"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: paths}
spec:
  tls: [{hosts: [a.test], secretName: of-a}, {secretName: of-wild}, {hosts: [none.test]}]
  rules:
  - host: a.test
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: root, port: {number: 80}}}}
      - {path: /x, pathType: Prefix, backend: {service: {name: deep, port: {name: http}}}}
      - {path: /x/f, pathType: Exact, backend: {service: {name: exact, port: {number: 80}}}}
      - {path: /impl, pathType: ImplementationSpecific, backend: {service: {name: wild, port: {number: 80}}}}
  - host: '*.wild.test'
    http: {paths: [{path: /w, pathType: Prefix, backend: {service: {name: wild, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: every-host}
spec: {rules: [{http: {paths: [{path: /any, pathType: Exact, backend: {service: {name: exact, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: everything-else}
spec: {defaultBackend: {service: {name: rest, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: of-somebody-else}
spec:
  ingressClassName: another
  rules: [{host: b.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: root, port: {number: 80}}}}]}}]
";

fn server(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: {image}
    command: [sh, -c, "for p in . xy x x/z impl impl/a w other; do mkdir -p /www/$p; echo {name} > /www/$p/index.html; done; echo {name} | tee /www/any > /www/x/f; exec httpd -f -p 8080 -h /www"]
    readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
"#
    )
}

/// A certificate for `name` as a Secret; gives the file to trust it by.
fn secret(cluster: &Cluster, secret: &str, name: &str) -> PathBuf {
    let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (certificate, key) = (cluster.folder().join(format!("{secret}.crt")), cluster.folder().join("tls.key"));
    fs::write(&certificate, pair.cert.pem()).unwrap();
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (format!("--cert={}", certificate.display()), format!("--key={}", key.display()));
    cluster.kubectl.run(&["create", "secret", "tls", secret, &cert, &key]);
    certificate
}

#[test]
fn requests_find_their_certificate_and_their_service() {
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let (of_a, of_wild) = (secret(&cluster, "of-a", "a.test"), secret(&cluster, "of-wild", "*.wild.test"));
    cluster.kubectl.apply(&NAMES.map(|name| server(name, &image)).concat());
    cluster.kubectl.apply(RULES);
    cluster.kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    let get = |scheme: &str, host: &str, path: &str, trust: Option<&Path>| {
        let port = if scheme == "https" { 443 } else { 80 };
        let mut curl = cluster.host(0).command("curl");
        curl.args(["-sS", "-L", "-m", "5", "--resolve", &format!("{host}:{port}:{}", cluster.host(1).address)]);
        match trust {
            Some(file) => curl.arg("--cacert").arg(file),
            None => curl.arg("-k"),
        };
        let output = curl.arg(format!("{scheme}://{host}{path}")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    for (host, path, want) in [
        ("a.test", "/", "root"),
        ("a.test", "/xy/", "root"),
        ("a.test", "/x/", "deep"),
        ("a.test", "/x/z/", "deep"),
        ("a.test", "/x/f", "exact"),
        ("a.test", "/impl/a/", "wild"),
        ("b.wild.test", "/w/", "wild"),
        ("b.wild.test", "/other/", "rest"),
        ("b.c.wild.test", "/w/", "rest"),
        ("b.test", "/", "rest"),
        ("c.test", "/other/", "rest"),
        ("c.test", "/any", "exact"),
        ("b.wild.test", "/any", "exact"),
    ] {
        for scheme in ["http", "https"] {
            eventually(&format!("{scheme}://{host}{path} is {want}"), SOON, || {
                let said = get(scheme, host, path, None);
                if said == want { Ok(()) } else { Err(said) }
            });
        }
    }
    assert_eq!(get("https", "a.test", "/", Some(&of_a)), "root");
    assert_eq!(get("https", "b.wild.test", "/w/", Some(&of_wild)), "wild", "by the names in the certificate");
    cluster.kubectl.run(&["delete", "secret", "of-a"]);
    let renewed = secret(&cluster, "of-a", "a.test");
    eventually("a new certificate is served as soon as its Secret has it", SOON, || {
        let said = get("https", "a.test", "/", Some(&renewed));
        if said == "root" { Ok(()) } else { Err(said) }
    });
    let of_a = renewed;
    for host in ["none.test", "b.test"] {
        let said = get("https", host, "/", Some(&of_a));
        assert!(said.contains("certificate"), "{host} has the certificate of a.test: {said}");
    }
}
