// SPDX-License-Identifier: Apache-2.0
//! `port-forward`: local ports that lead into a pod.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
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
    let service = service(session, &args.target).await?;
    let pod = pod(session, &args.target).await?;
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let pairs = args.ports.iter().map(|text| pair(text, &pod, service.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let mut listening = Vec::new();
    for (mut local, remote) in pairs {
        let mut failure = None;
        let before = listening.len();
        for place in places(&args.address) {
            match listen(&place, local).await {
                Ok((listener, address)) => {
                    // A port that was free for the one address is that of the others.
                    local = address.port();
                    print(&format!("Forwarding from {address} -> {remote}\n"))?;
                    listening.push(accept(listener, api.clone(), pod.name_any(), remote, local));
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure.filter(|_| listening.len() == before) {
            return Err(error);
        }
    }
    futures::future::try_join_all(listening).await?;
    Ok(0)
}

/// The local addresses; `localhost` may have one of its own only.
fn places(addresses: &[String]) -> Vec<String> {
    let all = addresses.iter().flat_map(|address| match address.as_str() {
        "localhost" => vec!["127.0.0.1".to_owned(), "[::1]".to_owned()],
        v6 if v6.contains(':') && !v6.starts_with('[') => vec![format!("[{v6}]")],
        other => vec![other.to_owned()],
    });
    all.collect()
}

async fn listen(place: &str, port: u16) -> Result<(TcpListener, SocketAddr), CtlError> {
    let failed = |e| CtlError::io(format!("cannot listen on {place}:{port}"), e);
    let listener = TcpListener::bind(format!("{place}:{port}")).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The Service, where the target is one.
async fn service(session: &Session, target: &str) -> Result<Option<Service>, CtlError> {
    let Some((type_, name)) = target.split_once('/') else { return Ok(None) };
    let resource = &session.resources().await?.find(type_)?.api;
    if resource.plural != "services" || !resource.group.is_empty() {
        return Ok(None);
    }
    let api = Api::<Service>::namespaced(session.client.clone(), &session.namespace);
    Ok(Some(api.get(name).await?))
}

/// The local port and that of the pod for `PORT`, `LOCAL:REMOTE` or `:REMOTE`, where REMOTE is the number or the name of
/// a port: of the Service where there is one, else of the pod.
fn pair(text: &str, pod: &Pod, service: Option<&Service>) -> Result<(u16, u16), CtlError> {
    let (local, remote) = text.split_once(':').map_or((None, text), |(local, remote)| (Some(local), remote));
    let bad = || CtlError::usage(format!("{text:?} is not PORT, LOCAL:REMOTE or :REMOTE"));
    if remote.is_empty() || remote.contains(':') {
        return Err(bad());
    }
    let (named, port) = match service {
        Some(service) => of_service(service, pod, remote)?,
        None => of_pod(pod, remote).map(|port| (port, port)).ok_or_else(bad)?,
    };
    let local = match local {
        None => named,
        Some("") => 0,
        Some(number) => number.parse().ok().filter(|number| *number > 0).ok_or_else(bad)?,
    };
    Ok((local, port))
}

/// The number of a pod's port that is given by number or name.
fn of_pod(pod: &Pod, port: &str) -> Option<u16> {
    if let Ok(number) = port.parse::<u16>() {
        return Some(number).filter(|number| *number > 0);
    }
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = ports.find(|it| it.name.as_deref() == Some(port))?;
    u16::try_from(named.container_port).ok()
}

/// The number of a Service's port, and of that of the pod behind it.
fn of_service(service: &Service, pod: &Pod, wanted: &str) -> Result<(u16, u16), CtlError> {
    let name = service.name_any();
    let spec = service.spec.clone().unwrap_or_default();
    let is_wanted = |port: &&ServicePort| port.port.to_string() == wanted || port.name.as_deref() == Some(wanted);
    let port = spec.ports.iter().flatten().find(is_wanted);
    let port = port.ok_or_else(|| CtlError::usage(format!("Service {name} does not have a service port {wanted}")))?;
    let number = u16::try_from(port.port).unwrap_or_default();
    let target = match &port.target_port {
        // Who asks a headless Service asks its pods.
        _ if spec.cluster_ip.as_deref() == Some("None") => Some(number),
        Some(IntOrString::Int(target)) if *target > 0 => u16::try_from(*target).ok(),
        Some(IntOrString::String(target)) => of_pod(pod, target),
        _ => Some(number),
    };
    let pod = pod.name_any();
    let target = target
        .ok_or_else(|| CtlError::usage(format!("pod {pod} has no port for the service port {wanted} of {name}")))?;
    Ok((number, target))
}

async fn accept(listener: TcpListener, api: Api<Pod>, pod: String, port: u16, local: u16) -> Result<(), CtlError> {
    loop {
        let (stream, peer) = listener.accept().await.map_err(|e| CtlError::io("cannot accept a connection", e))?;
        print(&format!("Handling connection for {local}\n"))?;
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
    message.map_or(Ok(()), |reason| Err(CtlError::Unreachable { server: String::new(), reason }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_local_host_has_two_addresses() {
        let words = |text: &[&str]| text.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            places(&words(&["localhost", "10.0.0.1", "fd00::1"])),
            ["127.0.0.1", "[::1]", "10.0.0.1", "[fd00::1]"]
        );
    }

    #[test]
    fn ports_are_read_or_refused() {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        for (text, want) in [("80", (80, 80)), ("8080:80", (8080, 80)), (":80", (0, 80)), ("web", (8080, 8080))] {
            assert_eq!(pair(text, &pod, None).unwrap(), want);
        }
        for bad in ["", "a", "80:", "0", "70000", "1:2:3", "0:80", "x:80"] {
            assert!(pair(bad, &pod, None).is_err(), "{bad}");
        }
        let service = |cluster_ip: &str| -> Service {
            let ports = json!([
                {"name": "http", "port": 80, "targetPort": "web"}, {"name": "n", "port": 81, "targetPort": 9000},
                {"name": "plain", "port": 82}, {"name": "lost", "port": 83, "targetPort": "none"},
            ]);
            let spec = json!({"clusterIP": cluster_ip, "ports": ports});
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
        };
        for (text, want) in
            [("80", (80, 8080)), ("http", (80, 8080)), (":81", (0, 9000)), ("5:82", (5, 82)), ("plain", (82, 82))]
        {
            assert_eq!(pair(text, &pod, Some(&service("10.43.0.9"))).unwrap(), want, "{text}");
        }
        assert_eq!(pair("80", &pod, Some(&service("None"))).unwrap(), (80, 80));
        for bad in ["84", "83", "web"] {
            assert!(pair(bad, &pod, Some(&service("10.43.0.9"))).is_err(), "{bad}");
        }
    }
}
