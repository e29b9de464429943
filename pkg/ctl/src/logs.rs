// SPDX-License-Identifier: Apache-2.0
//! `logs`: what containers print.

use futures::AsyncReadExt as _;
use futures::future::try_join_all;
use futures::{AsyncBufReadExt as _, io::AsyncBufRead};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use crate::args::LogsArgs;
use crate::error::CtlError;
use crate::output::print;
use crate::resources::{Named, named};
use crate::session::Session;

/// Runs `logs`.
pub(crate) async fn run(session: &Session, args: LogsArgs) -> Result<u8, CtlError> {
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let pods = match (&args.target, &args.selector) {
        (Some(_), Some(_)) => return Err(CtlError::usage("only a selector (-l) or a POD, not both")),
        (None, None) => return Err(CtlError::usage("say which pod: POD, TYPE/NAME, or -l SELECTOR")),
        (Some(target), None) => vec![pod(session, target).await?],
        (None, Some(selector)) => api.list(&ListParams::default().labels(selector)).await?.items,
    };
    let since_seconds = args.since.as_deref().map(seconds).transpose()?;
    let mut streams = Vec::new();
    for pod in &pods {
        for container in containers(pod, &args)? {
            let params = LogParams {
                container: Some(container.clone()),
                follow: args.follow,
                previous: args.previous,
                since_seconds,
                // Of several pods only the end, as kubectl does.
                tail_lines: args.tail.or(args.selector.is_some().then_some(10)).filter(|n| *n >= 0),
                timestamps: args.timestamps,
                ..LogParams::default()
            };
            let prefix = args.prefix.then(|| format!("[pod/{}/{container}] ", pod.name_any()));
            streams.push((pod.name_any(), params, prefix));
        }
    }
    if args.follow {
        try_join_all(streams.iter().map(|(name, params, prefix)| show(&api, name, params, prefix.as_deref()))).await?;
    } else {
        for (name, params, prefix) in &streams {
            show(&api, name, params, prefix.as_deref()).await?;
        }
    }
    Ok(0)
}

async fn show(api: &Api<Pod>, name: &str, params: &LogParams, prefix: Option<&str>) -> Result<(), CtlError> {
    let stream = api.log_stream(name, params).await?;
    copy(Box::pin(stream), prefix).await
}

async fn copy(mut stream: impl AsyncBufRead + Unpin, prefix: Option<&str>) -> Result<(), CtlError> {
    let lost = |e: std::io::Error| CtlError::Unreachable(e.to_string());
    let Some(prefix) = prefix else {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let n = stream.read(&mut buffer).await.map_err(lost)?;
            if n == 0 {
                return Ok(());
            }
            print(&String::from_utf8_lossy(&buffer[..n]))?;
        }
    };
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await.map_err(lost)? > 0 {
        print(&format!("{prefix}{}", String::from_utf8_lossy(&line)))?;
        line.clear();
    }
    Ok(())
}

fn containers(pod: &Pod, args: &LogsArgs) -> Result<Vec<String>, CtlError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let all = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.name.clone());
    if args.all_containers {
        return Ok(all.collect());
    }
    if let Some(name) = args.container.as_ref().or(args.container_argument.as_ref()) {
        return Ok(vec![name.clone()]);
    }
    default_container(pod).map(|name| vec![name])
}

/// The container that a command means when it names none.
pub(crate) fn default_container(pod: &Pod) -> Result<String, CtlError> {
    let annotated = pod.annotations().get("kubectl.kubernetes.io/default-container").cloned();
    let first = || pod.spec.as_ref().and_then(|s| s.containers.first()).map(|c| c.name.clone());
    annotated.or_else(first).ok_or_else(|| CtlError::usage(format!("pod {} has no containers", pod.name_any())))
}

/// The pod that `POD` or `TYPE/NAME` means: of a workload, one that runs.
pub(crate) async fn pod(session: &Session, target: &str) -> Result<Pod, CtlError> {
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let words = [target.to_owned()];
    let (type_, name) = match named(&words)? {
        Named::Objects(objects) => objects[0],
        Named::Types(name) => ("pods", name),
    };
    let resource = session.resources().await?.find(type_)?;
    if resource.api.kind == "Pod" {
        return Ok(api.get(name).await?);
    }
    let object = session.api(resource, Some(&session.namespace)).get(name).await?;
    let selector = &object.data["spec"]["selector"];
    // A Service's selector is the labels themselves.
    let labels = selector.get("matchLabels").unwrap_or(selector);
    let pairs: Vec<_> =
        labels.as_object().into_iter().flatten().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect();
    if pairs.is_empty() {
        return Err(CtlError::usage(format!("{target} selects no pods")));
    }
    let mut pods = api.list(&ListParams::default().labels(&pairs.join(","))).await?.items;
    let running = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    pods.sort_by_key(|pod| (!running(pod), pod.name_any()));
    pods.into_iter().next().ok_or_else(|| CtlError::usage(format!("{target} has no pods")))
}

/// The seconds of `90`, `30s`, `5m`, `2h`, `1h30m`.
pub(crate) fn seconds(text: &str) -> Result<i64, CtlError> {
    let bad = || CtlError::usage(format!("{text:?} is not a duration; write 30s, 5m, 2h or 1h30m"));
    if let Ok(plain) = text.parse::<i64>() {
        return Ok(plain);
    }
    let mut total: i64 = 0;
    let mut number = String::new();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(bad()),
        };
        let value = number.parse::<i64>().map_err(|_| bad())?;
        total = value.checked_mul(unit).and_then(|v| total.checked_add(v)).ok_or_else(bad)?;
        number.clear();
    }
    if number.is_empty() && !text.is_empty() { Ok(total) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_or_refused() {
        for (text, want) in [("90", 90), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("0", 0)] {
            assert_eq!(seconds(text).unwrap(), want);
        }
        for bad in ["", "5x", "m", "5m3", "99999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
