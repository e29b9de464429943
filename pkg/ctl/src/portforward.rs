// SPDX-License-Identifier: Apache-2.0
//! `port-forward`: local ports that lead into a pod.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use tokio::net::{TcpListener, TcpStream};

use crate::args::PortForwardArgs;
use crate::error::CtlError;
use crate::logs::pod;
use crate::output::print;
use crate::session::Session;

/// Runs `port-forward` until it is interrupted.
pub(crate) async fn run(session: &Session, args: PortForwardArgs) -> Result<u8, CtlError> {
    let pod = pod(session, &args.target).await?.name_any();
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let ports = args.ports.iter().map(|p| pair(p)).collect::<Result<Vec<_>, _>>()?;
    let mut listening = Vec::new();
    for (local, remote) in ports {
        let place = format!("{}:{local}", args.address);
        let failed = |e| CtlError::io(format!("cannot listen on {place}"), e);
        let listener = TcpListener::bind(&place).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        print(&format!("Forwarding from {address} -> {remote}\n"))?;
        listening.push(accept(listener, api.clone(), pod.clone(), remote));
    }
    futures::future::try_join_all(listening).await?;
    Ok(0)
}

/// Reads `PORT`, `LOCAL:REMOTE` and `:REMOTE`.
fn pair(text: &str) -> Result<(u16, u16), CtlError> {
    let bad = || CtlError::usage(format!("{text:?} is not PORT, LOCAL:REMOTE or :REMOTE"));
    let number = |t: &str| t.parse::<u16>().ok().filter(|n| *n > 0).ok_or_else(bad);
    match text.split_once(':') {
        None => number(text).map(|n| (n, n)),
        Some(("", remote)) => number(remote).map(|n| (0, n)),
        Some((local, remote)) => Ok((number(local)?, number(remote)?)),
    }
}

async fn accept(listener: TcpListener, api: Api<Pod>, pod: String, port: u16) -> Result<(), CtlError> {
    loop {
        let (stream, peer) = listener.accept().await.map_err(|e| CtlError::io("cannot accept a connection", e))?;
        let (api, pod) = (api.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = forward(stream, &api, &pod, port).await {
                eprintln!("the connection from {peer}: {error}");
            }
        });
    }
}

async fn forward(mut local: TcpStream, api: &Api<Pod>, pod: &str, port: u16) -> Result<(), CtlError> {
    let mut forwarder = api.portforward(pod, &[port]).await?;
    let problem = forwarder.take_error(port);
    let Some(mut remote) = forwarder.take_stream(port) else { return Ok(()) };
    // Either side closing is how connections end.
    let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
    drop(remote);
    let message = match problem {
        Some(problem) => problem.await,
        None => None,
    };
    message.map_or(Ok(()), |m| Err(CtlError::Unreachable(m)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_or_refused() {
        for (text, want) in [("80", (80, 80)), ("8080:80", (8080, 80)), (":80", (0, 80))] {
            assert_eq!(pair(text).unwrap(), want);
        }
        for bad in ["", "a", "80:", "0", "70000", "1:2:3"] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }
}
