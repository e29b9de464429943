// SPDX-License-Identifier: Apache-2.0

//! How upstream's own structs differ from the published ones: the order of their fields and the names that
//! Go has for them. Facts about its internal types, which its messages print.

/// The fields of structs that upstream orders otherwise inside than it publishes them.
pub fn own_order(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "io.k8s.api.core.v1.PodSpec" => POD_SPEC,
        "io.k8s.api.core.v1.PodSecurityContext" => SECURITY_CONTEXT,
        "io.k8s.api.core.v1.PersistentVolumeSpec" => PERSISTENT_VOLUME_SPEC,
        "io.k8s.api.core.v1.Volume" => VOLUME,
        "io.k8s.api.core.v1.PodStatus" => POD_STATUS,
        "io.k8s.api.core.v1.ServiceSpec" => SERVICE_SPEC,
        "io.k8s.api.batch.v1.JobSpec" => JOB_SPEC,
        "io.k8s.api.batch.v1.JobStatus" => JOB_STATUS,
        "io.k8s.api.storage.v1.CSIDriverSpec" => CSI_DRIVER_SPEC,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec" => ADMISSION_POLICY_SPEC,
        _ => return None,
    })
}

/// A text of this field has a type of its own in Go, or a pointer to it is what is shown: messages have it as JSON,
/// where other texts are quoted as Go's `%q` does.
pub fn is_named_text(of: &str, field: &str) -> bool {
    let kind = of.rsplit('.').next().unwrap_or_default();
    match field {
        "action" => kind != "Event",
        "finalizers" => kind == "NamespaceSpec",
        "kind" => kind == "AzureDiskVolumeSource" || of == "io.k8s.api.flowcontrol.v1.Subject",
        "name" => {
            kind.contains("ResourceMetric")
                || matches!(kind, "AttachedVolume" | "PodOS" | "ResourceStatus")
                || of == "io.k8s.api.discovery.v1.EndpointPort"
        }
        "operations" => kind == "RuleWithOperations",
        "reason" => kind == "Validation",
        "resourceName" => kind == "ContainerResizePolicy",
        "shareID" => kind == "DeviceRequestAllocationResult",
        "type" => of.starts_with("io.k8s.api.") && !matches!(kind, "Event" | "SELinuxOptions"),
        "uid" => matches!(kind, "BoundObjectReference" | "ObjectReference" | "ResourceClaimConsumerReference"),
        _ => NAMED_TEXTS.split(' ').any(|name| name == field),
    }
}

/// Fields whose texts have types of their own wherever they stand.
const NAMED_TEXTS: &str = "\
    accessModes add addressType allocationMode cachingMode capacityKey completionMode concurrencyPolicy \
    distinctAttribute dnsPolicy drop effect externalTrafficPolicy failed failurePolicy \
    fsGroupChangePolicy fsGroupPolicy gmsaCredentialSpec gmsaCredentialSpecName health imagePullPolicy \
    internalTrafficPolicy ipFamilies ipFamilyPolicy ipMode matchAttribute matchPolicy medium mountPropagation \
    nodeAffinityPolicy nodeTaintsPolicy operator os parameterNotFoundAction patchType pathType \
    persistentVolumeReclaimPolicy phase podManagementPolicy podReplacementPolicy policyTypes preemptionPolicy \
    procMount protocol pullPolicy qosClass reclaimPolicy recursiveReadOnly reinvocationPolicy resize \
    resizePolicy resourceID restartPolicy runAsUserName scheme scopeName scopes seLinuxChangePolicy selectPolicy \
    sessionAffinity sideEffects source status stopSignal strategy succeeded supplementalGroupsPolicy \
    terminationMessagePolicy unhealthyPodEvictionPolicy usages validationActions volumeBindingMode \
    volumeLifecycleModes volumeMode volumesInUse whenDeleted whenScaled whenUnsatisfiable";

/// The fields of a pod, in the order in which upstream keeps them inside.
const POD_SPEC: &[&str] = &[
    "volumes",
    "initContainers",
    "containers",
    "ephemeralContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "automountServiceAccountToken",
    "nodeName",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "setHostnameAsFQDN",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "overhead",
    "enableServiceLinks",
    "topologySpreadConstraints",
    "os",
    "schedulingGates",
    "resourceClaims",
    "resources",
    "hostnameOverride",
    "schedulingGroup",
];

/// Those of its security context.
const SECURITY_CONTEXT: &[&str] = &[
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxChangePolicy",
];

/// The sources of a volume: its fields from the second to `csi`.
pub const VOLUME_SOURCES: &[&str] = PERSISTENT_VOLUME_SPEC.split_at(23).0.split_at(1).1;

/// The fields of a volume.
const PERSISTENT_VOLUME_SPEC: &[&str] = &[
    "capacity",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "hostPath",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "flexVolume",
    "cinder",
    "cephfs",
    "fc",
    "flocker",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

/// Those of a pod's volume.
const VOLUME: &[&str] = &[
    "name",
    "hostPath",
    "emptyDir",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "quobyte",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];

/// Fields of a pod that upstream keeps in its security context.
pub const OF_THE_HOST: [(&str, &str); 5] = [
    ("hostNetwork", "false"),
    ("hostPID", "false"),
    ("hostIPC", "false"),
    ("shareProcessNamespace", "null"),
    ("hostUsers", "null"),
];

/// Those of a pod's status.
const POD_STATUS: &[&str] = &[
    "observedGeneration",
    "phase",
    "conditions",
    "message",
    "reason",
    "nominatedNodeName",
    "hostIP",
    "hostIPs",
    "podIPs",
    "startTime",
    "qosClass",
    "initContainerStatuses",
    "containerStatuses",
    "ephemeralContainerStatuses",
    "resize",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
    "allocatedResources",
    "resources",
    "nodeAllocatableResourceClaimStatuses",
];

/// Those of a service.
const SERVICE_SPEC: &[&str] = &[
    "type",
    "ports",
    "selector",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "externalName",
    "externalIPs",
    "loadBalancerIP",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancerSourceRanges",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "publishNotReadyAddresses",
    "allocateLoadBalancerNodePorts",
    "loadBalancerClass",
    "internalTrafficPolicy",
    "trafficDistribution",
];

/// Those of a job.
const JOB_SPEC: &[&str] = &[
    "parallelism",
    "completions",
    "podFailurePolicy",
    "successPolicy",
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "selector",
    "manualSelector",
    "template",
    "ttlSecondsAfterFinished",
    "completionMode",
    "suspend",
    "podReplacementPolicy",
    "managedBy",
];

/// Those of a job's status.
const JOB_STATUS: &[&str] = &[
    "conditions",
    "startTime",
    "completionTime",
    "active",
    "terminating",
    "ready",
    "succeeded",
    "failed",
    "completedIndexes",
    "failedIndexes",
    "uncountedTerminatedPods",
];

/// Those of a CSI driver.
const CSI_DRIVER_SPEC: &[&str] = &[
    "attachRequired",
    "fsGroupPolicy",
    "podInfoOnMount",
    "volumeLifecycleModes",
    "storageCapacity",
    "tokenRequests",
    "requiresRepublish",
    "seLinuxMount",
    "nodeAllocatableUpdatePeriodSeconds",
    "serviceAccountTokenInSecrets",
    "preventPodSchedulingIfMissing",
];

/// Those of an admission policy.
const ADMISSION_POLICY_SPEC: &[&str] = &[
    "paramKind",
    "matchConstraints",
    "validations",
    "matchConditions",
    "failurePolicy",
    "auditAnnotations",
    "variables",
];

/// Fields that upstream has under another name inside.
const RENAMED: &[(&str, &[(&str, &str)])] = &[
    ("AzureDiskVolumeSource", &[("diskURI", "DataDiskURI")]),
    ("ContainerStatus", &[("lastState", "LastTerminationState")]),
    ("Event", &[("reportingComponent", "ReportingController")]),
    ("GlusterfsPersistentVolumeSource", &[("endpoints", "EndpointsName")]),
    ("GlusterfsVolumeSource", &[("endpoints", "EndpointsName")]),
    ("NodeSpec", &[("externalID", "DoNotUseExternalID")]),
    ("PhotonPersistentDiskVolumeSource", &[("pdID", "PdID")]),
    ("RBDPersistentVolumeSource", RBD),
    ("RBDVolumeSource", RBD),
    (
        "DeviceAttribute",
        &[
            ("int", "IntValue"),
            ("bool", "BoolValue"),
            ("string", "StringValue"),
            ("version", "VersionValue"),
            ("ints", "IntValues"),
            ("bools", "BoolValues"),
            ("strings", "StringValues"),
            ("versions", "VersionValues"),
        ],
    ),
];
const RBD: &[(&str, &str)] =
    &[("monitors", "CephMonitors"), ("image", "RBDImage"), ("pool", "RBDPool"), ("user", "RadosUser")];

/// Fields that may be unset where they are published, and not inside: they print as zero.
const NEVER_UNSET: &[(&str, &str)] = &[
    ("ServiceReference", "port"),
    ("DeploymentSpec", "replicas"),
    ("ReplicaSetSpec", "replicas"),
    ("RollingUpdateDaemonSet", "maxSurge"),
    ("RollingUpdateDaemonSet", "maxUnavailable"),
    ("RollingUpdateDeployment", "maxSurge"),
    ("RollingUpdateDeployment", "maxUnavailable"),
    ("RollingUpdateStatefulSetStrategy", "partition"),
    ("StatefulSetSpec", "replicas"),
    ("TokenRequestSpec", "expirationSeconds"),
    ("ServiceAccountTokenProjection", "expirationSeconds"),
    ("LimitedPriorityLevelConfiguration", "nominalConcurrencyShares"),
];

/// Inside, this field of that published type always has a value.
pub fn is_always_set(type_name: &str, field: &str) -> bool {
    NEVER_UNSET.contains(&(short(type_name), field))
}

/// The name that this field of that published type has in Go.
pub fn of_field(type_name: &str, published: &str) -> String {
    let renamed = RENAMED.iter().find(|(of, _)| *of == short(type_name)).map(|(_, fields)| *fields);
    match renamed.into_iter().flatten().find(|(field, _)| *field == published) {
        Some((_, go)) => (*go).to_owned(),
        None => go_name(published),
    }
}

fn short(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or_default()
}

/// The name of a field in Go.
pub fn go_name(published: &str) -> String {
    const WHOLE: [(&str, &str); 7] = [
        ("cephfs", "CephFS"),
        ("storageos", "StorageOS"),
        ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
        ("chapAuthSession", "SessionCHAPAuth"),
        ("cidrs", "CIDRs"),
        ("wwids", "WWIDs"),
        ("ips", "IPs"),
    ];
    const FRONTS: [&str; 30] = [
        "dns", "tty", "http", "tcp", "grpc", "fs", "uid", "csi", "nfs", "iscsi", "rbd", "fc", "gce", "aws", "api",
        "pd", "gmsa", "iqn", "ip", "url", "ca", "tls", "cidr", "os", "gid", "qos", "ssl", "ttl", "json", "cel",
    ];
    if let Some((_, go)) = WHOLE.iter().find(|(name, _)| *name == published) {
        return (*go).to_owned();
    }
    if let Some(rest) = published.strip_prefix("seLinux") {
        return format!("SELinux{rest}");
    }
    let front = FRONTS.iter().find(|front| {
        published.strip_prefix(**front).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_uppercase))
    });
    let length = front.map_or(1, |front| front.len());
    let (head, rest) = published.split_at(length.min(published.len()));
    head.to_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_a_volume_lie_side_by_side() {
        assert_eq!(VOLUME_SOURCES.first().zip(VOLUME_SOURCES.last()), Some((&"gcePersistentDisk", &"csi")));
    }

    #[test]
    fn names_are_those_of_go() {
        for (published, go) in [
            ("dnsPolicy", "DNSPolicy"),
            ("hostPID", "HostPID"),
            ("tty", "TTY"),
            ("httpGet", "HTTPGet"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("gcePersistentDisk", "GCEPersistentDisk"),
            ("stdinOnce", "StdinOnce"),
            ("volumeName", "VolumeName"),
            ("ipFamilies", "IPFamilies"),
            ("caBundle", "CABundle"),
            ("ttlSecondsAfterFinished", "TTLSecondsAfterFinished"),
        ] {
            assert_eq!(go_name(published), go);
        }
        assert_eq!(of_field("io.k8s.api.core.v1.RBDVolumeSource", "monitors"), "CephMonitors");
        assert_eq!(of_field("io.k8s.api.core.v1.CephFSVolumeSource", "monitors"), "Monitors");
    }
}
