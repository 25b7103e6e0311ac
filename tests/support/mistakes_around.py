# SPDX-License-Identifier: Apache-2.0
"""Mistakes in what surrounds the daemon: sources, endpoints, keys, the state directory, the engine asked for."""

from __future__ import annotations

import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

from edged.stages.publish.endpoint import hold, parse_endpoint
from edged.stages.publish.security import create_keys
from support.mistakes import BIND, Case, Change, Prepare, engine, source

CURVE = "[publish.curve]\nsecret_key_file = 'device.key_secret'\nauthorized_keys_dir = 'clients'\n[http]"


def bind(endpoint: str) -> Change:
    return BIND, endpoint


def folder_of(*names: str, content: bytes = b"\xff\xd8\xff no picture") -> Prepare:
    """A folder ``photos`` with files that are no pictures."""

    def make(folder: Path) -> None:
        (folder / "photos").mkdir()
        for name in names:
            (folder / "photos" / name).write_bytes(content)

    return make


def keys(*, mode: int = 0o600, clients: int = 1) -> Prepare:
    """CURVE keys of the device and of some clients."""

    def make(folder: Path) -> None:
        secret = create_keys(folder, "device")[1]
        secret.chmod(mode)
        (folder / "clients").mkdir()
        for number in range(clients):
            create_keys(folder / "clients", f"client{number}")[1].unlink()

    return make


def listener(folder: Path) -> AbstractContextManager[object]:
    """Somebody listens on the tcp port that the settings name."""
    busy = socket.create_server(("127.0.0.1", 0))
    path = folder / "edged.toml"
    path.write_text(path.read_text().replace("PORT", str(busy.getsockname()[1])))
    return busy


def other_instance(folder: Path) -> AbstractContextManager[object]:
    """Another daemon holds the endpoint."""
    return hold(parse_endpoint(f"ipc://{folder}/predictions.sock"))


CASES: dict[str, Case] = {
    "no video": Case(
        78,
        ("source north: file://FOLDER/absent.mp4: no such file", "check the path"),
        settings=source("file://FOLDER/absent.mp4"),
    ),
    "empty video": Case(
        78,
        ("source north: file://FOLDER/clip.mp4: is empty (0 bytes)", "check"),
        settings=source("file://FOLDER/clip.mp4"),
        files={"clip.mp4": b""},
    ),
    "text as video": Case(
        78,
        ("source north: file://FOLDER/clip.mp4: is not a video", "mend or remove the source"),
        settings=source("file://FOLDER/clip.mp4"),
        files={"clip.mp4": "no film at all\n" * 50},
    ),
    "video is a folder": Case(
        78,
        ("source north: file://FOLDER/photos: is a folder", "write dir://"),
        settings=source("file://FOLDER/photos"),
        prepare=folder_of(),
    ),
    "no folder of images": Case(
        78,
        ("source north: dir://FOLDER/photos: no such file or directory", "check the path"),
        settings=source("dir://FOLDER/photos"),
    ),
    "folder without images": Case(
        78,
        ("source north: dir://FOLDER/photos: holds no image", "images end in"),
        settings=source("dir://FOLDER/photos"),
        prepare=folder_of("notes.txt"),
    ),
    "folder of broken images": Case(
        78,
        ("source north: dir://FOLDER/photos: none of its 3 images can be read", "mend or remove"),
        settings=source("dir://FOLDER/photos"),
        prepare=folder_of("a.jpg", "b.jpg", "c.png"),
    ),
    "folder of empty images, run to its end": Case(
        78,
        ("source north: dir://FOLDER/photos: none of its 2 images can be read", "mend or remove"),
        settings=source("dir://FOLDER/photos"),
        prepare=folder_of("a.jpg", "b.jpg", content=b""),
        command=("run", "--exit-when-done", "--config", "FOLDER/edged.toml"),
    ),
    "endpoint in no folder": Case(
        78,
        ("publish.bind: the folder of ipc:///nowhere/a.sock does not exist", "create /nowhere"),
        settings=bind("ipc:///nowhere/a.sock"),
    ),
    "endpoint is a file": Case(
        78,
        ("publish.bind: FOLDER/shapes.names exists and is not a socket", "remove it or bind elsewhere"),
        settings=bind("ipc://FOLDER/shapes.names"),
    ),
    "unknown transport": Case(
        78,
        ("publish.bind: 'udp://127.0.0.1:5555' is not an endpoint", "write ipc://"),
        settings=bind("udp://127.0.0.1:5555"),
    ),
    "no port": Case(78, ("publish.bind: 'tcp://127.0.0.1:0' is not", "port"), settings=bind("tcp://127.0.0.1:0")),
    "open to the world": Case(
        78,
        ("publish.bind: tcp://0.0.0.0:5999 can be reached from other machines", "publish.insecure = true"),
        settings=bind("tcp://0.0.0.0:5999"),
    ),
    "endpoint too long": Case(
        78, ("publish.bind: the path of", "sockets take 107", "shorter"), settings=bind(f"ipc://FOLDER/{'x' * 100}")
    ),
    "same endpoint twice": Case(
        78,
        ("edged.toml:13: publish.bind[1]: the same endpoint stands here twice",),
        settings=(f'"{BIND}"', f'"{BIND}", "{BIND}"'),
    ),
    "port in use": Case(
        75,
        ("tcp://127.0.0.1:", "already in use by another process", "publish.bind"),
        settings=bind("tcp://127.0.0.1:PORT"),
        prepare=listener,
        check=0,
    ),
    "endpoint of another instance": Case(
        75,
        (f"{BIND}: already in use by the edged daemon with pid {os.getpid()}", "stop it"),
        prepare=other_instance,
        check=0,
    ),
    "secret key that others can read": Case(
        78,
        ("publish.curve.secret_key_file: FOLDER/device.key_secret can be read by others", "chmod 600"),
        settings=("[http]", CURVE),
        prepare=keys(mode=0o644),
    ),
    "no secret key": Case(
        78, ("publish.curve.secret_key_file: FOLDER/device.key_secret cannot be read",), settings=("[http]", CURVE)
    ),
    "nobody may subscribe": Case(
        78,
        ("publish.curve.authorized_keys_dir: FOLDER/clients holds no *.key file", "put each client's public key"),
        settings=("[http]", CURVE),
        prepare=keys(clients=0),
    ),
    "state folder is a file": Case(
        78, ("FOLDER/state: cannot be created", "choose another daemon.state_dir"), files={"state": "in the way"}
    ),
    "state folder below a file": Case(
        78, ("FOLDER/shapes.names/state: cannot be created",), settings=('"state"', '"shapes.names/state"')
    ),
    "state folder where nothing can be written": Case(
        78, ("/proc/edged: cannot be created", "choose another"), settings=('"state"', '"/proc/edged"')
    ),
    "backend that is not here": Case(
        69,
        ("engine.backend: the tensorrt backend", 'use "auto" or "onnxruntime"'),
        settings=engine('backend = "tensorrt"'),
    ),
    "precision without an engine": Case(
        78, ("no int8 onnxruntime engine has been built", "edged-build-engine"), settings=engine('precision = "int8"')
    ),
    "a way to build that there is not": Case(
        78, ("engine.build: ", "serve-while-building"), settings=engine('build = "while-serving"')
    ),
}
