// SPDX-License-Identifier: Apache-2.0
//! The edge process beside the agent: started, watched, started again; never ended with the agent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use knarr_edge::Error;
use knarr_edge::listeners::{Listen, Purpose};
use knarr_edge::supervise::Supervised;

use super::DNS_PORT;
use crate::layout::{Layout, make_dir};

/// How long a failure to start waits for the next try.
const RETRY: Duration = Duration::from_secs(5);

const REMEDY: &str = "free the port, or choose others with --ingress-http-port and --ingress-https-port, then start \
                      the agent again";

/// Keeps the edge running. Where a port for ingress is taken, DNS runs without it, and `tell` hears why.
pub async fn supervise(layout: &Layout, dns: IpAddr, (http, https): (u16, u16), tell: impl Fn(&str)) {
    let mut without: Vec<Purpose> = Vec::new();
    loop {
        let edge = supervised(layout, dns, (http, https), &without);
        match knarr_edge::supervise::supervise(edge, std::future::pending()).await {
            Ok(()) => {}
            Err(error @ Error::Listen { name, .. }) if without.is_empty() && name.starts_with("ingress") => {
                tracing::error!(%error, "ingress is off: {REMEDY}");
                tell(&format!("ingress is off: {error}: {REMEDY}"));
                without = vec![Purpose::Http, Purpose::Https];
            }
            Err(error) => tracing::error!(%error, "the edge process cannot be kept running; it is tried again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn supervised(layout: &Layout, dns: IpAddr, (http, https): (u16, u16), without: &[Purpose]) -> Supervised {
    if let Err(error) = make_dir(&layout.edge("tls")) {
        tracing::error!(%error, "the edge's folder");
    }
    let (snapshot, control) = (layout.edge("snapshot.json"), layout.edge("control.sock"));
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listen = [
        (Purpose::DnsUdp, (dns, DNS_PORT)),
        (Purpose::DnsTcp, (dns, DNS_PORT)),
        (Purpose::Http, (any, http)),
        (Purpose::Https, (any, https)),
    ];
    let listen = listen.into_iter().filter(|(purpose, _)| !without.contains(purpose));
    Supervised {
        program: PathBuf::from("/proc/self/exe"),
        arguments: vec![
            "edge".into(),
            "--snapshot".into(),
            snapshot.into(),
            "--control".into(),
            control.clone().into(),
        ],
        control,
        listen: listen.map(|(purpose, address)| Listen { purpose, address: SocketAddr::from(address) }).collect(),
        log: Some(layout.edge("edge.log")),
    }
}
