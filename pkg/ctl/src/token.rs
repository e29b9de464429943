// SPDX-License-Identifier: Apache-2.0
//! `token`: bootstrap tokens, which let nodes join.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use knarr_pki::JoinToken;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

use crate::error::CtlError;
use crate::output::{Columns, print};
use crate::session::Session;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token and prints it, whole: as `knarr agent --token` takes it.
    Create {
        /// How long it lasts: 30m, 24h; 0 for ever.
        #[arg(long, default_value = "24h")]
        ttl: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Lists the tokens, without their secrets.
    List,
    /// Deletes tokens by id.
    Delete {
        /// The part of the token before the dot, or the token.
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs `token`.
pub(crate) async fn run(session: &Session, command: TokenCommand) -> Result<u8, CtlError> {
    let api = Api::<Secret>::namespaced(session.client.clone(), NAMESPACE);
    match command {
        TokenCommand::Create { ttl, description } => create(session, &api, &ttl, &description).await?,
        TokenCommand::List => list(&api).await?,
        TokenCommand::Delete { ids } => {
            for id in ids {
                let secret = id.parse().map_or(id, |token: JoinToken| token.secret);
                let id = secret.split('.').next().unwrap_or_default();
                api.delete(&format!("{PREFIX}{id}"), &DeleteParams::default()).await?;
                print(&format!("bootstrap token {id:?} deleted\n"))?;
            }
        }
    }
    Ok(0)
}

async fn create(session: &Session, api: &Api<Secret>, ttl: &str, description: &str) -> Result<(), CtlError> {
    let lifetime = crate::logs::seconds(ttl)?;
    let (id, secret) = (letters(6)?, letters(16)?);
    let mut data = vec![
        ("token-id", id.clone()),
        ("token-secret", secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
        ("auth-extra-groups", "system:bootstrappers:knarr:default-node-token".to_owned()),
    ];
    if lifetime > 0 {
        let at = Timestamp::now() + SignedDuration::from_secs(lifetime);
        data.push(("expiration", at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    if !description.is_empty() {
        data.push(("description", description.to_owned()));
    }
    let object = Secret {
        metadata: ObjectMeta { name: Some(format!("{PREFIX}{id}")), ..ObjectMeta::default() },
        type_: Some(TYPE.into()),
        string_data: Some(data.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ..Secret::default()
    };
    // Who joins compares the hash of this with the CA of the server that is met.
    let request = http::Request::get("/knarr/v1/ca").body(Vec::new()).map_err(|e| CtlError::usage(e.to_string()))?;
    let ca = session.client.request_text(request).await?;
    let token = JoinToken::new(&format!("{id}.{secret}"), &ca)
        .map_err(|e| CtlError::usage(format!("the CA of {}: {e}", session.server)))?;
    api.create(&PostParams::default(), &object).await?;
    print(&format!("{token}\n"))
}

async fn list(api: &Api<Secret>) -> Result<(), CtlError> {
    let secrets = api.list(&ListParams::default().fields(&format!("type={TYPE}"))).await?;
    let mut rows = vec![["TOKEN", "EXPIRES", "USAGES", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for secret in secrets {
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| data.get(key).map(|b| String::from_utf8_lossy(&b.0).into_owned()).unwrap_or_default();
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let usages =
            ["authentication", "signing"].into_iter().filter(|u| text(&format!("usage-bootstrap-{u}")) == "true");
        let usages: Vec<_> = usages.collect();
        rows.push(vec![
            text("token-id"),
            or(text("expiration"), "<never>"),
            usages.join(","),
            or(text("description"), "<none>"),
        ]);
    }
    print(&Columns::default().lines(&rows))
}

/// Random letters and digits, from the kernel.
fn letters(count: usize) -> Result<String, CtlError> {
    const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let failed = |e| CtlError::io("/dev/urandom", e);
    let mut random = std::fs::File::open("/dev/urandom").map_err(failed)?;
    let mut text = String::new();
    let mut byte = [0];
    while text.len() < count {
        std::io::Read::read_exact(&mut random, &mut byte).map_err(failed)?;
        // The last bytes of the range would make some letters likelier than others.
        if usize::from(byte[0]) < 256 / ALPHABET.len() * ALPHABET.len() {
            text.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    Ok(text)
}
