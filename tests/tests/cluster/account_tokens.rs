// SPDX-License-Identifier: Apache-2.0
//! Secrets that hold tokens of service accounts.

use knarr_tests::cluster::{Bare, SOON};
use knarr_tests::kubectl::{Kubectl, Outcome};
use knarr_tests::wait::eventually;

fn secret(name: &str, account: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata:\n  name: {name}\n  \
         annotations: {{kubernetes.io/service-account.name: {account}}}\n"
    )
}

fn label(kubectl: &Kubectl, secret: &str, name: &str) -> String {
    let labels = kubectl.json(&["secret", secret])["metadata"]["labels"].clone();
    labels[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn secrets_hold_tokens_of_their_account() {
    let bare = Bare::start_with(&["--disable-scheduler"]);
    let (kubectl, host) = (&bare.kubectl, &bare.host);
    kubectl.run(&["create", "serviceaccount", "robot"]);
    kubectl.run_with(&["create", "-f", "-"], &secret("robot-token", "robot"));
    eventually("the secret is filled", SOON, || {
        let data = kubectl.json(&["secret", "robot-token"])["data"].clone();
        let full = ["token", "ca.crt", "namespace"].iter().all(|key| data[*key].is_string());
        if full { Ok(()) } else { Err(data) }
    });
    let uid = kubectl.json(&["serviceaccount", "robot"])["metadata"]["uid"].clone();
    let filled = kubectl.json(&["secret", "robot-token"]);
    assert_eq!(filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"], uid);

    let token = kubectl.run(&["get", "secret", "robot-token", "-o", "go-template={{.data.token | base64decode}}"]);
    // Without the certificate of the kubeconfig's user: the token alone.
    let ask = || -> Outcome {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
        let url = format!("https://{}:6443{path}", host.address);
        let bearer = format!("Authorization: Bearer {}", token.trim());
        let mut curl = host.command("curl");
        curl.args(["-sSk", "-H", &bearer, "-H", "Content-Type: application/json", "-d", review, &url]);
        Outcome::of(curl, "")
    };
    let who = ask();
    assert!(who.out.contains("system:serviceaccount:default:robot"), "{who:?}");
    eventually("the secret says that it was used", SOON, || {
        let used = label(kubectl, "robot-token", "kubernetes.io/legacy-token-last-used");
        if used.len() == "2000-01-01".len() { Ok(()) } else { Err(used) }
    });
    kubectl.run(&["label", "secret", "robot-token", "kubernetes.io/legacy-token-invalid-since=2000-01-01"]);
    let refused = ask();
    assert!(refused.out.contains("Unauthorized"), "{refused:?}");
    kubectl.run(&["label", "secret", "robot-token", "kubernetes.io/legacy-token-invalid-since-"]);
    assert!(ask().out.contains("robot"));

    kubectl.run_with(&["create", "-f", "-"], &secret("nobody-token", "nobody"));
    eventually("a secret of nobody goes", SOON, || {
        let left = kubectl.try_run(&["get", "secret", "nobody-token"], "");
        if left.code == 0 { Err("it is there") } else { Ok(()) }
    });
    kubectl.run(&["delete", "serviceaccount", "robot"]);
    eventually("the secret goes with its account", SOON, || {
        let left = kubectl.try_run(&["get", "secret", "robot-token"], "");
        if left.code == 0 { Err("it is there") } else { Ok(()) }
    });
    let refused = ask();
    assert!(refused.out.contains("Unauthorized"), "{refused:?}");
}
