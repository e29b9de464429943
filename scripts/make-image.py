#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes an image that holds one static program, as an archive like `docker save` writes it.

    scripts/make-image.py FILE PROGRAM NAME     its command: /PROGRAM serve, as user 65534
"""

import hashlib
import io
import json
import os
import sys
import tarfile


def archive(out, members):
    """A tar of (path, mode, content)."""
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, mode, content in members:
            info = tarfile.TarInfo(path)
            info.mode, info.size = mode, len(content)
            tar.addfile(info, io.BytesIO(content))


def main():
    file, program, name = sys.argv[1:]
    inside = os.path.basename(program)
    layer = io.BytesIO()
    with open(program, "rb") as source:
        archive(layer, [(inside, 0o755, source.read())])
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "config": {"Entrypoint": ["/" + inside, "serve"], "User": "65534"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()]},
    }).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with open(file, "wb") as out:
        archive(out, [("manifest.json", 0o644, manifest), ("config.json", 0o644, config),
                      ("layer.tar", 0o644, layer.getvalue())])


main()
