#!/usr/bin/env bash
# Starts a cluster on this Debian machine and shows it at work: builds Knarr, runs `knarr up` in the
# background, deploys a demo of two replicas with a Service and an Ingress, and prints what each answers.
# Needs root, Rust, Python and git. Run again, it goes on from what is there.
#   scripts/quickstart.sh          start
#   scripts/quickstart.sh --down   stop the pods and remove everything that Knarr made on this machine
# Environment: KNARR_DATA (data dir, /var/lib/knarr), KNARR_PROFILE (cargo profile, release),
# KNARR_FLAGS (more flags for `knarr up`), KNARR_INGRESS_PORT (80), KNARR_BIN and KNARR_INIT_BIN (a `knarr`, and
# a statically linked `knarr-init`, to take instead of building them).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

data="${KNARR_DATA:-/var/lib/knarr}"
profile="${KNARR_PROFILE:-release}"
ingress_port="${KNARR_INGRESS_PORT:-80}"
log="$data.log"
pid_file="$data.pid"
image="knarr.dev/hello:1"
arch="$(uname -m)"
# Dependencies stay built between runs, outside the checkout.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/target}"
folder="$profile"
[ "$profile" != dev ] || folder=debug
knarr="${KNARR_BIN:-$CARGO_TARGET_DIR/$folder/knarr}"
demo="${KNARR_INIT_BIN:-$CARGO_TARGET_DIR/$arch-unknown-linux-gnu/$folder/knarr-init}"
export KUBECONFIG="$data/admin.kubeconfig"

[ "$(id -u)" = 0 ] || { echo "start it as root: containers need mounts, namespaces and nftables" >&2; exit 1; }

# is_up: whether the `knarr up` that an earlier run started is there.
is_up() {
    [ -e "$pid_file" ] && grep -qs -- "up" "/proc/$(cat "$pid_file")/cmdline"
}

# wait_for SECONDS WHAT COMMAND...: tries until it succeeds, and shows that time passes.
wait_for() {
    local limit="$1" what="$2" start=$SECONDS
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ $((SECONDS - start)) -ge "$limit" ]; then
            printf '\n%s: not after %s s; the end of %s:\n' "$what" "$limit" "$log" >&2
            tail -n 20 "$log" >&2
            exit 1
        fi
        is_up || { printf '\nknarr up ended; the end of %s:\n' "$log" >&2; tail -n 20 "$log" >&2; exit 1; }
        [ ! -t 1 ] || printf '\r%s: waiting, %s s ' "$what" "$((SECONDS - start))"
        sleep 0.3
    done
    [ ! -t 1 ] || printf '\r'
    printf '%s: yes, after %s s     \n' "$what" "$((SECONDS - start))"
}

# fetch URL [HOST]: the body, by nothing but Python.
fetch() {
    python3 - "$@" <<'PYTHON'
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
headers = {"Host": sys.argv[2]} if len(sys.argv) > 2 else {}
print(opener.open(urllib.request.Request(sys.argv[1], headers=headers), timeout=3).read().decode(), end="")
PYTHON
}

manifest() {
    cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      containers:
      - name: hello
        image: $image
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: hello}
spec:
  selector: {app: hello}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: hello}
spec:
  ingressClassName: knarr
  rules:
  - host: hello.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: hello, port: {number: 80}}}}]}
YAML
}

node_is_ready() {
    "$knarr" ctl get nodes -o 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -q True
}

build() {
    install_build_packages
    [ -n "${KNARR_BIN:-}" ] || step "build" cargo build --locked --profile "$profile" -p knarr
    [ -n "${KNARR_INIT_BIN:-}" ] || step "build the demo" build_static_init "$profile"
}

up() {
    build
    if is_up; then
        echo "knarr up runs already, as process $(cat "$pid_file")"
    else
        echo "data: $data, log: $log"
        # shellcheck disable=SC2086 # flags are several words
        setsid "$knarr" up --data-dir "$data" --ingress-http-port "$ingress_port" ${KNARR_FLAGS:-} >>"$log" 2>&1 </dev/null &
        echo "$!" >"$pid_file"
    fi
    wait_for 60 "the node is Ready" node_is_ready
    local archive
    archive="$(mktemp)"
    scripts/make-image.py "$archive" "$demo" "$image"
    "$knarr" ctl image import "$archive" --data-dir "$data/agent"
    rm -f "$archive"
    manifest | "$knarr" ctl apply -f -
    show
}

show() {
    wait_for 60 "two replicas are ready" replicas_are_ready
    "$knarr" ctl get pods -o wide
    local ip
    for ip in $("$knarr" ctl get pods -l app=hello -o 'jsonpath={.items[*].status.podIP}'); do
        wait_for 10 "pod $ip answers" fetch "http://$ip:8080/"
        fetch "http://$ip:8080/"
    done
    ip="$("$knarr" ctl get service hello -o 'jsonpath={.spec.clusterIP}')"
    wait_for 10 "Service http://$ip/ answers" fetch "http://$ip/"
    fetch "http://$ip/"
    wait_for 10 "Ingress http://hello.test:$ingress_port/ (at 127.0.0.1) answers" \
        fetch "http://127.0.0.1:$ingress_port/" hello.test
    fetch "http://127.0.0.1:$ingress_port/" hello.test
    cat <<TEXT

Your cluster runs. To go on:
    export KUBECONFIG=$KUBECONFIG
    kubectl get pods                 # any kubectl
    $knarr ctl get pods    # or Knarr's own
To stop it and remove all of it:
    scripts/quickstart.sh --down
TEXT
}

replicas_are_ready() {
    [ "$("$knarr" ctl get deployment hello -o 'jsonpath={.status.readyReplicas}')" = 2 ]
}

down() {
    if is_up; then
        local pid
        pid="$(cat "$pid_file")"
        kill "$pid"
        while [ -e "/proc/$pid" ] && ! grep -qs '^State:.*Z' "/proc/$pid/status"; do sleep 0.1; done
        echo "stopped knarr up, process $pid"
    fi
    [ -x "$knarr" ] || build
    "$knarr" down --data-dir "$data" --delete-data
    rm -f "$pid_file" "$log"
}

case "${1:-}" in
    "") up ;;
    --down) down ;;
    *) echo "usage: scripts/quickstart.sh [--down]" >&2; exit 2 ;;
esac
