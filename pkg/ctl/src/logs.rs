// SPDX-License-Identifier: Apache-2.0
//! `logs`: what containers print.

use futures::AsyncReadExt as _;
use futures::future::try_join_all;
use futures::{AsyncBufReadExt as _, io::AsyncBufRead};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use crate::args::LogsArgs;
use crate::error::CtlError;
use crate::output::print;
use crate::resources::{Named, named};
use crate::session::Session;

/// The annotation in which a pod says which of its containers commands mean.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Runs `logs`.
pub(crate) async fn run(session: &Session, args: LogsArgs) -> Result<u8, CtlError> {
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let pods = match (&args.target, &args.selector) {
        (Some(_), Some(_)) => return Err(CtlError::usage("only a selector (-l) or a POD name is allowed")),
        (None, None) => return Err(CtlError::usage("say which pod: POD, TYPE/NAME, or -l SELECTOR")),
        (Some(target), None) if args.all_pods => pods(session, target).await?,
        (Some(target), None) => {
            let all = pods(session, target).await.map_err(|e| not_found(session, e))?;
            let count = all.len();
            let pod = choose(all, target)?;
            if count > 1 {
                eprintln!("Found {count} pods, using pod/{}", pod.name_any());
            }
            vec![pod]
        }
        (None, Some(selector)) => api.list(&ListParams::default().labels(selector)).await?.items,
    };
    if pods.is_empty() {
        eprintln!("No resources found in {} namespace.", session.namespace);
        return Ok(0);
    }
    let streams = streams(&pods, &args)?;
    if args.follow && streams.len() > args.max_log_requests {
        return Err(CtlError::usage(format!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use --max-log-requests to increase the limit",
            streams.len(),
            args.max_log_requests
        )));
    }
    let show = |stream: &Stream| show(&api, &args, stream.clone());
    if args.follow {
        try_join_all(streams.iter().map(show)).await?;
    } else {
        for stream in &streams {
            show(stream).await?;
        }
    }
    Ok(0)
}

/// The log of one container, with what is said before each of its lines.
#[derive(Clone)]
struct Stream {
    pod: String,
    params: LogParams,
    prefix: Option<String>,
}

fn streams(pods: &[Pod], args: &LogsArgs) -> Result<Vec<Stream>, CtlError> {
    let since_seconds = args.since.as_deref().map(seconds).transpose()?;
    if since_seconds.is_some() && args.since_time.is_some() {
        return Err(CtlError::usage("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let time = |text: &String| {
        text.parse::<Timestamp>()
            .map_err(|_| CtlError::usage(format!("parsing time {text:?}: it is not like 2026-01-02T15:04:05Z")))
    };
    let since_time = args.since_time.as_ref().map(time).transpose()?;
    let mut streams = Vec::new();
    for pod in pods {
        for container in containers(pod, args)? {
            let params = LogParams {
                container: Some(container.clone()),
                follow: args.follow,
                limit_bytes: args.limit_bytes,
                previous: args.previous,
                since_seconds,
                since_time,
                // Of several pods only the end, as kubectl does.
                tail_lines: args.tail.or(args.selector.is_some().then_some(10)).filter(|n| *n >= 0),
                timestamps: args.timestamps,
                ..LogParams::default()
            };
            let prefix = (args.prefix || args.all_pods).then(|| format!("[pod/{}/{container}] ", pod.name_any()));
            streams.push(Stream { pod: pod.name_any(), params, prefix });
        }
    }
    Ok(streams)
}

/// A pod that is not there, as kubectl says it here.
fn not_found(session: &Session, error: CtlError) -> CtlError {
    match error {
        CtlError::Server { reason, message } if reason == "NotFound" && message.starts_with("pods ") => {
            CtlError::usage(format!("error from server (NotFound): {message} in namespace {:?}", session.namespace))
        }
        other => other,
    }
}

async fn show(api: &Api<Pod>, args: &LogsArgs, stream: Stream) -> Result<(), CtlError> {
    let shown = match api.log_stream(&stream.pod, &stream.params).await {
        Ok(log) => copy(Box::pin(log), stream.prefix.as_deref()).await,
        Err(error) => Err(error.into()),
    };
    match shown {
        Err(error) if args.ignore_errors && !matches!(error, CtlError::OutputClosed) => {
            eprintln!("{}", error.line());
            Ok(())
        }
        other => other,
    }
}

async fn copy(mut stream: impl AsyncBufRead + Unpin, prefix: Option<&str>) -> Result<(), CtlError> {
    let lost = |e: std::io::Error| CtlError::unreachable(&e);
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
    if args.all_containers {
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| &c.name);
        let first = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| &c.name);
        return Ok(first.chain(ephemeral).cloned().collect());
    }
    let wanted = args.container.as_ref().or(args.container_argument.as_ref());
    container(pod, wanted.map(String::as_str), false).map(|name| vec![name])
}

/// The container that a command means: the one that it names, which must be there; else the pod's own choice, else its
/// first, which is said where there are others.
pub(crate) fn container(pod: &Pod, wanted: Option<&str>, quiet: bool) -> Result<String, CtlError> {
    let spec = pod.spec.clone().unwrap_or_default();
    let of = |name: &String, note: &str| (name.clone(), format!("{name}{note}"));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| of(&c.name, " (ephem)"));
    let init = spec.init_containers.iter().flatten().map(|c| of(&c.name, " (init)"));
    let all: Vec<_> = spec.containers.iter().map(|c| of(&c.name, "")).chain(ephemeral).chain(init).collect();
    let names = || all.iter().map(|(_, shown)| shown.as_str()).collect::<Vec<_>>().join(", ");
    let is_there = |wanted: &str| all.iter().any(|(name, _)| name == wanted);
    if let Some(wanted) = wanted {
        return match is_there(wanted) {
            true => Ok(wanted.to_owned()),
            false => {
                let pod = pod.name_any();
                Err(CtlError::usage(format!("container {wanted} is not valid for pod {pod} out of: {}", names())))
            }
        };
    }
    if let Some(chosen) = pod.annotations().get(DEFAULT_CONTAINER).filter(|name| is_there(name)) {
        return Ok(chosen.clone());
    }
    let Some((first, _)) = all.first() else {
        return Err(CtlError::usage(format!("pod {} has no containers", pod.name_any())));
    };
    if all.len() > 1 && !quiet {
        eprintln!("Defaulted container {first:?} out of: {}", names());
    }
    Ok(first.clone())
}

/// The pod that `POD` or `TYPE/NAME` means: of a workload, one that runs.
pub(crate) async fn pod(session: &Session, target: &str) -> Result<Pod, CtlError> {
    choose(pods(session, target).await?, target)
}

fn choose(mut pods: Vec<Pod>, target: &str) -> Result<Pod, CtlError> {
    let running = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    pods.sort_by_key(|pod| (!running(pod), pod.name_any()));
    pods.into_iter().next().ok_or_else(|| CtlError::usage(format!("{target} has no pods")))
}

/// All pods that `POD` or `TYPE/NAME` means.
async fn pods(session: &Session, target: &str) -> Result<Vec<Pod>, CtlError> {
    let api = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
    let words = [target.to_owned()];
    let (type_, name) = match named(&words)? {
        Named::Objects(objects) => objects[0],
        Named::Types(name) => ("pods", name),
    };
    let resource = session.resources().await?.find(type_)?;
    if resource.api.kind == "Pod" {
        return Ok(vec![api.get(name).await?]);
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
    Ok(api.list(&ListParams::default().labels(&pairs.join(","))).await?.items)
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
    fn a_container_that_is_not_there_is_told_from_those_that_are() {
        let pod = |annotations: serde_json::Value| -> Pod {
            let named = |name: &str| serde_json::json!([{"name": name}]);
            let containers = serde_json::json!([{"name": "a"}, {"name": "b"}]);
            let spec = serde_json::json!({
                "containers": containers, "initContainers": named("i"), "ephemeralContainers": named("e"),
            });
            let metadata = serde_json::json!({"name": "p", "annotations": annotations});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let plain = pod(serde_json::json!({}));
        assert_eq!(container(&plain, None, true).unwrap(), "a");
        assert_eq!(container(&plain, Some("i"), true).unwrap(), "i");
        let chosen = pod(serde_json::json!({DEFAULT_CONTAINER: "b"}));
        assert_eq!(container(&chosen, None, true).unwrap(), "b");
        let error = container(&plain, Some("x"), true).unwrap_err().to_string();
        assert_eq!(error, "container x is not valid for pod p out of: a, b, e (ephem), i (init)");
    }

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
