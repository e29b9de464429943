# Runs on the machine: a node's pods with limits, first where cgroup v2's root is the machine's, then one where it is
# that of a container. Prints `WHERE WHAT: VALUE` for the test to read.
limited() {
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: test/busybox:1
    command: [sleep, "1000"]
    resources: {requests: {cpu: 250m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
YAML
}

ends() {
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: test/busybox:1
    command: [dd, if=/dev/zero, of=/dev/null, bs=128M]
    resources: {limits: {memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: curious}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: test/busybox:1
    command: [sh, -c, "mknod /tmp/memory c 1 1 && head -c 1 /dev/zero | wc -c; head -c 1 /tmp/memory"]
YAML
}

# ctl WANT ARGUMENTS...: the answer of `knarr ctl`, once it is what is wanted.
ctl() {
    local want="$1" got tries=0
    shift
    until got="$(knarr ctl "$@" 2>&1)" && echo "$got" | grep -q "$want"; do
        tries=$((tries + 1))
        [ "$tries" -lt 40 ] || { echo "$got"; knarr ctl describe pods; tail -n 10 /tmp/up.log; return 1; }
        sleep 1
    done
    echo "$got"
}

see_ends() {
    ends | ctl created apply -f -
    echo "hungry: $(ctl . get pod hungry -o 'jsonpath={.status.containerStatuses[0].state.terminated.reason}')"
    ctl Failed get pod curious -o 'jsonpath={.status.phase}'
    echo "curious: $(knarr ctl logs curious | tr '\n' ' ')"
}

# limits LABEL: what the limited container and its pod may have.
limits() {
    local group file
    group="$(find /sys/fs/cgroup/knarr-* -type d -name c-0 | head -n 1)"
    for file in cpu.weight cpu.max memory.max; do
        echo "$1 container $file: $(cat "$group/$file")"
        echo "$1 pod $file: $(cat "$group/../$file")"
    done
}

# resize DATA: twice the requests and limits of CPU, and more memory, while the container runs.
resize() {
    curl -sS --cacert "$1/tls/ca.crt" --cert "$1/tls/admin.crt" --key "$1/tls/admin.key" -o /tmp/resized -X PATCH \
        -H "Content-Type: application/strategic-merge-patch+json" \
        https://127.0.0.1:6443/api/v1/namespaces/default/pods/limited/resize -d '{"spec": {"containers": [{
            "name": "c", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "96Mi"}}}]}}'
    ctl 96Mi get pod limited -o 'jsonpath={.status.containerStatuses[0].resources.limits.memory}' || cat /tmp/resized
    limits resized
    echo "resized restarts: $(knarr ctl get pod limited -o 'jsonpath={.status.containerStatuses[0].restartCount}')"
}

# node WHERE: a cluster on this machine from its start to nothing.
node() {
    local data="/var/lib/$1" up
    export KUBECONFIG="$data/admin.kubeconfig"
    knarr up --data-dir "$data" --node-name machine --bind-address 127.0.0.1 --node-ip 10.0.2.15 >/tmp/up.log 2>&1 &
    up=$!
    ctl True get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}' || poweroff -f
    knarr ctl image import /files/busybox.tar --data-dir "$data/agent"
    limited | ctl created apply -f -
    [ "$1" = box ] || see_ends
    ctl Running get pod limited -o 'jsonpath={.status.phase}'
    limits "$1"
    echo "$1 inside: $(knarr ctl exec limited -- cat /proc/1/cgroup /sys/fs/cgroup/memory.max | tr '\n' ' ')"
    [ "$1" = box ] || resize "$data"
    kill "$up"
    wait "$up"
    echo "$1 up ends: $?"
    knarr down --data-dir "$data" --delete-data
    echo "$1 left: $(find /sys/fs/cgroup -name 'knarr-*'; nft list tables; ls -d "$data" 2>/dev/null)"
}

if [ -z "$1" ]; then
    node machine
    # A container's root is a group of the machine that has processes and, so far, no groups with limits.
    mkdir /sys/fs/cgroup/box
    echo $$ >/sys/fs/cgroup/box/cgroup.procs
    # By its path: to busybox' shell its own one comes first.
    exec /bin/unshare -C -m sh "$0" boxed
fi
mount -t cgroup2 cgroup /sys/fs/cgroup
node box
