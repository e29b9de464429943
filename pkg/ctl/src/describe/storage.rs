// SPDX-License-Identifier: Apache-2.0
//! PersistentVolumes and the claims to them. They are read as they were sent: of two dozen sources of volumes a page
//! shows one.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::generic::{items, map, text, words};
use super::page::{Page, since};
use crate::error::CtlError;
use crate::session::Session;

/// The annotation that named a class before there was a field for it.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Modes of access, in their order on a page, and their short forms.
const MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

/// A source of volumes that pages know.
struct Source {
    /// The field of the volume that holds it.
    field: &'static str,
    kind: &'static str,
    about: &'static str,
    /// Titles of its fields that are shown, and their names.
    shown: &'static [(&'static str, &'static str)],
}

const SOURCES: [Source; 4] = [
    Source {
        field: "hostPath",
        kind: "HostPath",
        about: "bare host directory volume",
        shown: &[("Path", "path"), ("HostPathType", "type")],
    },
    Source {
        field: "nfs",
        kind: "NFS",
        about: "an NFS mount that lasts the lifetime of a pod",
        shown: &[("Server", "server"), ("Path", "path"), ("ReadOnly", "readOnly")],
    },
    Source {
        field: "local",
        kind: "LocalVolume",
        about: "a persistent volume backed by local storage on a node",
        shown: &[("Path", "path")],
    },
    Source {
        field: "csi",
        kind: "CSI",
        about: "a Container Storage Interface (CSI) volume source",
        shown: &[
            ("Driver", "driver"),
            ("FSType", "fsType"),
            ("VolumeHandle", "volumeHandle"),
            ("ReadOnly", "readOnly"),
        ],
    },
];

pub(super) fn volume(volume: &Value) -> Page {
    let (meta, spec, status) = (&volume["metadata"], &volume["spec"], &volume["status"]);
    let mut page = Page::default();
    page.field(0, "Name", text(&meta["name"]));
    page.labels("Labels", map(&meta["labels"]).as_ref());
    page.annotations("Annotations", map(&meta["annotations"]).as_ref());
    page.field(0, "Finalizers", finalizers(meta));
    page.field(0, "StorageClass", class(volume));
    page.field(0, "Status", phase(volume));
    let claim = &spec["claimRef"];
    let claimed =
        if claim.is_null() { String::new() } else { [text(&claim["namespace"]), text(&claim["name"])].join("/") };
    page.field(0, "Claim", claimed);
    page.field(0, "Reclaim Policy", text(&spec["persistentVolumeReclaimPolicy"]));
    page.field(0, "Access Modes", modes(&spec["accessModes"]));
    page.some(0, "VolumeMode", Some(text(&spec["volumeMode"])));
    page.field(0, "Capacity", amount(&spec["capacity"]["storage"]));
    affinity(&mut page, &spec["nodeAffinity"]["required"]);
    page.field(0, "Message", text(&status["message"]));
    page.line(0, "Source:");
    source(&mut page, spec);
    page
}

fn affinity(page: &mut Page, required: &Value) {
    if required.is_null() {
        return page.field(0, "Node Affinity", "<none>");
    }
    page.field(0, "Node Affinity", "");
    let terms = items(&required["nodeSelectorTerms"]);
    page.field(1, "Required Terms", if terms.is_empty() { "<none>" } else { "" });
    for (at, term) in terms.iter().enumerate() {
        let requirement = |it: &Value| {
            let values: Vec<_> = items(&it["values"]).iter().map(text).collect();
            let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(", ")) };
            format!("{} {}{values}", text(&it["key"]), text(&it["operator"]).to_lowercase())
        };
        let lines: Vec<_> = items(&term["matchExpressions"]).iter().map(requirement).collect();
        page.field(2, &format!("Term {at}"), lines.first().map_or("<none>", String::as_str));
        lines.iter().skip(1).for_each(|line| page.line(2, format_args!("\t{line}")));
    }
}

fn source(page: &mut Page, spec: &Value) {
    let Some(Source { field, kind, about, shown }) = SOURCES.iter().find(|source| !spec[source.field].is_null()) else {
        return page.line(1, "<unknown>");
    };
    let source = &spec[field];
    page.field(2, "Type", format_args!("{kind} ({about})"));
    for (title, name) in *shown {
        let unset = match *name {
            "type" => "<none>",
            "readOnly" => "false",
            _ => "",
        };
        page.field(2, title, if source[name].is_null() { unset.to_owned() } else { words(&source[name]) });
    }
    if *field == "csi" {
        let attributes = map(&source["volumeAttributes"]).unwrap_or_default();
        let lines: Vec<_> = attributes.iter().map(|(key, value)| format!("    {key}={value}")).collect();
        page.field(2, "VolumeAttributes", lines.first().map_or("<none>", String::as_str));
        lines.iter().skip(1).for_each(|line| page.line(2, format_args!("\t{line}")));
    }
}

/// The names of the pods that use a claim, or own it.
pub(super) async fn users(session: &Session, claim: &Value) -> Result<Vec<String>, CtlError> {
    let meta = &claim["metadata"];
    let pods = Api::<Pod>::namespaced(session.client.clone(), text(&meta["namespace"]));
    let is_owner = |uid: Option<&String>| {
        let owners = items(&meta["ownerReferences"]).iter();
        owners.filter(|owner| owner["kind"] == "Pod").any(|owner| owner["uid"].as_str() == uid.map(String::as_str))
    };
    let mounts = |pod: &Pod| {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes
            .filter_map(|volume| volume.persistent_volume_claim.as_ref())
            .any(|it| it.claim_name == text(&meta["name"]))
    };
    let all = pods.list(&ListParams::default()).await?.items.into_iter();
    let using = all.filter(|pod| mounts(pod) || is_owner(pod.metadata.uid.as_ref()));
    let mut names: Vec<_> = using.filter_map(|pod| pod.metadata.name).collect();
    names.sort();
    Ok(names)
}

pub(super) fn claim(claim: &Value, users: &[String]) -> Page {
    let (meta, spec, status) = (&claim["metadata"], &claim["spec"], &claim["status"]);
    let mut page = Page::default();
    page.field(0, "Name", text(&meta["name"]));
    page.field(0, "Namespace", text(&meta["namespace"]));
    page.field(0, "StorageClass", class(claim));
    page.field(0, "Status", phase(claim));
    page.field(0, "Volume", text(&spec["volumeName"]));
    page.labels("Labels", map(&meta["labels"]).as_ref());
    page.annotations("Annotations", map(&meta["annotations"]).as_ref());
    page.field(0, "Finalizers", finalizers(meta));
    let bound = !text(&spec["volumeName"]).is_empty();
    page.field(0, "Capacity", if bound { amount(&status["capacity"]["storage"]) } else { "" });
    page.field(0, "Access Modes", if bound { modes(&status["accessModes"]) } else { String::new() });
    page.some(0, "VolumeMode", Some(text(&spec["volumeMode"])));
    let from = &spec["dataSource"];
    if !from.is_null() {
        page.line(0, "DataSource:");
        page.some(1, "APIGroup", Some(text(&from["apiGroup"])));
        page.field(1, "Kind", text(&from["kind"]));
        page.field(1, "Name", text(&from["name"]));
    }
    page.list("Used By", users);
    page
}

/// The class of a volume or a claim.
fn class(object: &Value) -> &str {
    let named = object["metadata"]["annotations"][CLASS].as_str();
    named.unwrap_or_else(|| text(&object["spec"]["storageClassName"]))
}

fn phase(object: &Value) -> String {
    match object["metadata"]["deletionTimestamp"].as_str() {
        Some(time) => format!("Terminating (lasts {})", since(time.parse::<Timestamp>().ok())),
        None => text(&object["status"]["phase"]).to_owned(),
    }
}

fn modes(modes: &Value) -> String {
    let has = |(name, _): &&(&str, &str)| items(modes).iter().any(|mode| mode == name);
    MODES.iter().filter(has).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn finalizers(meta: &Value) -> String {
    format!("[{}]", items(&meta["finalizers"]).iter().map(text).collect::<Vec<_>>().join(" "))
}

/// An amount that is not there is none.
fn amount(amount: &Value) -> &str {
    amount.as_str().unwrap_or("0")
}
