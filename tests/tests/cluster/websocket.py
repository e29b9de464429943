# SPDX-License-Identifier: Apache-2.0
"""Runs a command in a pod over a WebSocket, with nothing but the standard library.

  websocket.py KUBECONFIG.json PROTOCOL PATH [resize=WIDTHxHEIGHT] [type=TEXT]

Prints the protocol that the server chose, what the command says, and the server's last word on it.
"""
import base64, json, os, socket, ssl, struct, sys, tempfile
from urllib.parse import urlsplit

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)


def connect(config):
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    decode = lambda text: base64.b64decode(text)
    context = ssl.create_default_context(cadata=decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(decode(user["client-certificate-data"]) + decode(user["client-key-data"]))
        file.flush()
        context.load_cert_chain(file.name)
    url = urlsplit(cluster["server"])
    raw = socket.create_connection((url.hostname, url.port), timeout=30)
    return context.wrap_socket(raw, server_hostname=url.hostname), url.netloc


def upgrade(stream, host, path, protocol):
    key = base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Protocol: {protocol}", "", "",
    ]
    stream.sendall("\r\n".join(head).encode())
    reader = stream.makefile("rb")
    status = reader.readline().split()[1]
    chosen = None
    while (line := reader.readline().strip()):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-protocol":
            chosen = value.strip().decode()
    assert status == b"101", (status, reader.read())
    return reader, chosen


def send(stream, channel, data):
    payload, mask = bytes([channel]) + data, os.urandom(4)
    assert len(payload) < 126
    stream.sendall(bytes([0x82, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))


def frames(reader):
    while (head := reader.read(2)):
        length = head[1] & 127
        if length == 126:
            length = struct.unpack("!H", reader.read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", reader.read(8))[0]
        payload = reader.read(length)
        if head[0] & 15 == 8:
            return
        if head[0] & 15 in (1, 2) and payload:
            yield payload[0], payload[1:]


def main():
    with open(sys.argv[1]) as file:
        stream, host = connect(json.load(file))
    reader, chosen = upgrade(stream, host, sys.argv[3], sys.argv[2])
    print("protocol", chosen)
    for argument in sys.argv[4:]:
        what, _, value = argument.partition("=")
        if what == "resize":
            width, height = value.split("x")
            send(stream, RESIZE, json.dumps({"Width": int(width), "Height": int(height)}).encode())
        else:
            send(stream, STDIN, value.encode() + b"\n")
    said = {STDOUT: b"", STDERR: b"", ERROR: b""}
    for channel, data in frames(reader):
        said[channel] += data
    print("stdout", json.dumps(said[STDOUT].decode()))
    print("stderr", json.dumps(said[STDERR].decode()))
    print("status", json.dumps(json.loads(said[ERROR]), sort_keys=True))


main()
