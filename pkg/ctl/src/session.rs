// SPDX-License-Identifier: Apache-2.0
//! What every command has: a client, a namespace, and the resources that the server knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::sync::OnceCell;
use tower::util::MapResponseLayer;

use crate::args::Global;
use crate::error::CtlError;
use crate::logs::seconds;
use crate::resources::{Resource, Resources};
use crate::warnings;

/// Where a server on this host leaves its kubeconfig.
const LOCAL_KUBECONFIGS: [&str; 2] = ["/var/lib/knarr/admin.kubeconfig", "/var/lib/knarr/server/admin.kubeconfig"];

/// An open way to a cluster.
pub(crate) struct Session {
    pub client: Client,
    pub namespace: String,
    pub kubeconfig: PathBuf,
    pub server: String,
    resources: OnceCell<Resources>,
}

impl Session {
    /// Finds the kubeconfig and connects as it says.
    pub async fn open(global: &Global) -> Result<Self, CtlError> {
        let path = find_kubeconfig(global.kubeconfig.as_deref())?;
        let bad = |source: kube::config::KubeconfigError| {
            CtlError::usage(format!("cannot use the kubeconfig {}: {source}", path.display()))
        };
        let kubeconfig = Kubeconfig::read_from(&path).map_err(bad)?;
        known(&kubeconfig, global)?;
        let options = KubeConfigOptions {
            context: global.context.clone(),
            cluster: global.cluster.clone(),
            user: global.user.clone(),
        };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(bad)?;
        adjust(&mut config, global)?;
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = ClientBuilder::try_from(config)?.with_layer(&MapResponseLayer::new(warnings::printer())).build();
        Ok(Self { client, namespace, kubeconfig: path, server, resources: OnceCell::new() })
    }

    /// What the server serves; asked once.
    pub async fn resources(&self) -> Result<&Resources, CtlError> {
        self.resources.get_or_try_init(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Resources, CtlError> {
        let mut resources = Resources::default();
        resources.add("", "v1", &self.client.list_core_api_resources("v1").await?);
        let groups: APIGroupList = self.client.list_api_groups().await?;
        for group in groups.groups {
            for version in &group.versions {
                // A group whose server is away must not keep the others from being used.
                if let Ok(list) = self.client.list_api_group_resources(&version.group_version).await {
                    resources.add(&group.name, &version.version, &list);
                }
            }
        }
        Ok(resources)
    }

    /// The API of a resource, in `namespace` or everywhere.
    pub fn api(&self, resource: &Resource, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace.filter(|_| resource.namespaced) {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource.api),
            None => Api::all_with(self.client.clone(), &resource.api),
        }
    }
}

/// Whether the kubeconfig has what the command line names of it.
fn known(kubeconfig: &Kubeconfig, global: &Global) -> Result<(), CtlError> {
    let missing = |wanted: &Option<String>, mut there: Box<dyn Iterator<Item = &String> + '_>| {
        wanted.clone().filter(|wanted| !there.any(|name| name == wanted))
    };
    if let Some(name) = missing(&global.context, Box::new(kubeconfig.contexts.iter().map(|it| &it.name))) {
        return Err(CtlError::usage(format!("context was not found for specified context: {name}")));
    }
    if let Some(name) = missing(&global.cluster, Box::new(kubeconfig.clusters.iter().map(|it| &it.name))) {
        return Err(CtlError::usage(format!("no server found for cluster {name:?}")));
    }
    if let Some(name) = missing(&global.user, Box::new(kubeconfig.auth_infos.iter().map(|it| &it.name))) {
        return Err(CtlError::usage(format!("auth info {name:?} does not exist")));
    }
    Ok(())
}

/// What the command line says beside the kubeconfig.
fn adjust(config: &mut Config, global: &Global) -> Result<(), CtlError> {
    let timeout = u64::try_from(seconds(&global.request_timeout)?).unwrap_or_default();
    config.read_timeout = (timeout > 0).then(|| Duration::from_secs(timeout));
    if let Some(server) = &global.server {
        let server = if server.contains("://") { server.clone() } else { format!("http://{server}") };
        config.cluster_url =
            server.parse().map_err(|e| CtlError::usage(format!("--server {server:?} is no URL: {e}")))?;
    }
    config.accept_invalid_certs |= global.insecure_skip_tls_verify;
    let who = &mut config.auth_info;
    who.token = global.bearer_token.clone().map(Into::into).or(who.token.take());
    who.impersonate = global.act_as.clone().or(who.impersonate.take());
    if !global.act_as_group.is_empty() {
        who.impersonate_groups = Some(global.act_as_group.clone());
    }
    Ok(())
}

fn find_kubeconfig(named: Option<&Path>) -> Result<PathBuf, CtlError> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os("KUBECONFIG").filter(|p| !p.is_empty()) {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
    let places = home.into_iter().chain(LOCAL_KUBECONFIGS.iter().map(PathBuf::from));
    places.into_iter().find(|path| path.exists()).ok_or_else(|| {
        CtlError::usage("no kubeconfig found: name one with --kubeconfig or $KUBECONFIG (a server writes DATA_DIR/admin.kubeconfig)")
    })
}
