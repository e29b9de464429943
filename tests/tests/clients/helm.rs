// SPDX-License-Identifier: Apache-2.0
//! Helm of every major version that can be installed: a chart is installed, changed, tested and taken away.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_tests::clients::versions;
use knarr_tests::cluster::{Cluster, LATER};
use knarr_tests::kubectl::{Kubectl, Outcome};
use knarr_tests::wait::eventually;

/// The files of the chart: what ordinary ones have.
const CHART: [(&str, &str); 8] = [
    ("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\nappVersion: '1.0'\nkubeVersion: '>=1.30.0'\n"),
    ("values.yaml", "image: IMAGE\nreplicas: 1\ncolor: blue\nextra: {}\n"),
    (
        "templates/_helpers.tpl",
        "{{- define \"shop.labels\" -}}\napp.kubernetes.io/name: shop\napp.kubernetes.io/instance: {{ .Release.Name }}\n\
         app.kubernetes.io/managed-by: {{ .Release.Service }}\n{{- end }}\n",
    ),
    (
        "templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  labels: {{- include \"shop.labels\" . | nindent 4 }}\n\
         data:\n  color: {{ .Values.color }}\n{{- with .Values.extra }}\n  extra: {{ toJson . | quote }}\n{{- end }}\n",
    ),
    (
        "templates/deployment.yaml",
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  labels: {{- include "shop.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}}
      annotations: {checksum/config: {{ .Values.color | sha256sum }}}
    spec:
      terminationGracePeriodSeconds: 1
      serviceAccountName: {{ .Release.Name }}
      containers:
      - name: shop
        image: {{ .Values.image }}
        command: [sh, -c, 'mkdir /www; echo "$COLOR" > /www/index.html; exec httpd -f -p 8080 -h /www']
        env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: {{ .Release.Name }}, key: color}}}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {port: http}, periodSeconds: 1}
"#,
    ),
    (
        "templates/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: {{ .Release.Name }}}\nspec:\n  selector: {app: {{ .Release.Name }}}\n  \
         ports: [{port: 80, targetPort: http}]\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: {{ .Release.Name }}}\n",
    ),
    (
        "templates/hooks.yaml",
        "{{- if not (lookup \"v1\" \"ConfigMap\" .Release.Namespace .Release.Name) }}\napiVersion: v1\nkind: Secret\nmetadata:\n  \
         name: {{ .Release.Name }}-first\n  annotations: {helm.sh/hook: pre-install}\nstringData: {made: before}\n{{- end }}\n",
    ),
    (
        "templates/tests/asks.yaml",
        r#"apiVersion: v1
kind: Pod
metadata:
  name: {{ .Release.Name }}-asks
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: asks
    image: {{ .Values.image }}
    command: [sh, -c, 'test "$(wget -q -O - http://$ADDRESS:80/)" = {{ .Values.color }}']
    env: [{name: ADDRESS, value: "$({{ .Release.Name | upper }}_SERVICE_HOST)"}]
"#,
    ),
];

#[test]
fn helm_installs_changes_and_removes() {
    let helms = versions("helm");
    if helms.is_empty() {
        return;
    }
    let cluster = Cluster::start(1);
    let image = cluster.push_busybox();
    let chart = cluster.folder().join("shop");
    for (name, text) in CHART {
        let file = chart.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text.replace("IMAGE", &image)).unwrap();
    }
    std::thread::scope(|scope| {
        for (version, program) in &helms {
            let helm = Helm { cluster: &cluster, program: program.clone(), release: format!("shop{version}") };
            let chart = &chart;
            scope.spawn(move || walk(&helm, chart));
        }
    });
}

struct Helm<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    release: String,
}

impl Helm<'_> {
    fn kubectl(&self) -> &Kubectl {
        &self.cluster.kubectl
    }

    fn try_run(&self, arguments: &[&str]) -> Outcome {
        let mut command = self.cluster.host(0).command(&self.program);
        for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(place, self.cluster.folder().join(format!("{}-home", self.release)));
        }
        command.arg("--kubeconfig").arg(self.kubectl().kubeconfig()).args(arguments);
        Outcome::of(command, "")
    }

    fn run(&self, arguments: &[&str]) -> String {
        let outcome = self.try_run(arguments);
        assert!(outcome.code == 0, "{} {arguments:?}: {outcome:?}", self.program.display());
        outcome.out
    }

    fn color(&self) -> String {
        self.kubectl().run(&["get", "configmap", &self.release, "-o", "jsonpath={.data.color}"])
    }

    /// `spec.replicas` of the release's Deployment, and its note.
    fn deployment(&self) -> String {
        let path = "jsonpath={.spec.replicas} {.metadata.annotations.note}";
        self.kubectl().run(&["get", "deployment", &self.release, "-o", path])
    }
}

fn walk(helm: &Helm<'_>, chart: &Path) {
    let (release, chart) = (helm.release.as_str(), chart.display().to_string());
    helm.run(&["lint", &chart]);
    let said = helm.run(&["install", release, &chart, "--wait", "--timeout=90s"]);
    assert!(said.contains("STATUS: deployed"), "{said}");
    let secret = helm.kubectl().run(&["get", "secret", "-l", &format!("owner=helm,name={release}"), "-o", "name"]);
    assert!(secret.contains(&format!("sh.helm.release.v1.{release}.v1")), "{secret}");
    helm.kubectl().run(&["get", "secret", &format!("{release}-first")]);
    helm.run(&["test", release, "--timeout=90s"]);

    // Somebody else's change outlives an upgrade that says nothing of it; what the chart says is set again.
    helm.kubectl().run(&["annotate", "deployment", release, "note=kept"]);
    helm.run(&["upgrade", release, &chart, "--set", "color=red,replicas=2", "--wait", "--timeout=90s"]);
    assert_eq!((helm.color().as_str(), helm.deployment().as_str()), ("red", "2 kept"));
    assert!(helm.run(&["history", release]).contains("superseded"));
    let failed = helm.try_run(&["upgrade", release, &chart, "--set", "replicas=-1", "--reuse-values"]);
    assert!(failed.code != 0 && failed.err.contains("must be greater than or equal to 0"), "{failed:?}");
    helm.run(&["rollback", release, "1", "--wait", "--timeout=90s"]);
    assert_eq!((helm.color().as_str(), helm.deployment().as_str()), ("blue", "1 kept"));
    let dry = helm.run(&["upgrade", release, &chart, "--dry-run=server", "--set", "color=green"]);
    assert!(dry.contains("color: green") && helm.color() == "blue", "{dry}");
    assert!(helm.run(&["list", "--deployed"]).contains(release));
    assert!(helm.run(&["get", "manifest", release]).contains("kind: Deployment"));

    helm.run(&["uninstall", release, "--wait", "--timeout=90s"]);
    // The pods end after their Deployment.
    eventually("nothing of the release is left", LATER, || {
        let left = helm.kubectl().run(&["get", "all,configmap,secret,serviceaccount", "-o", "name"]);
        let left: Vec<_> = left.lines().filter(|line| line.contains(release) && !line.ends_with("-first")).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
    });
}
