# SPDX-License-Identifier: Apache-2.0
"""A setup, what the prepare child says of its model, and the notes that children get then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edged.records import TensorSpec
from edged.runtime import briefing
from edged.runtime.channel import Channel, Note
from edged.runtime.launch import ThreadLauncher
from edged.runtime.members import Member
from edged.runtime.setup import Setup, resolve
from edged.settings import Settings

SECRET = "hunter2"
SPEC = """\
id = "tiny"
onnx = "tiny.onnx"
task = "detection"
decoder = "{decoder}"
[input]
size = {size}
resize = "stretch"
[output]
score_threshold = 0.25
"""
DYNAMIC = "{min = [32, 32], opt = [48, 64], max = [96, 128], multiple = 16}"


def make_setup(
    folder: Path, *, size: str = "[48, 64]", decoder: str = "yolox", engine: Any = None, **more: Any
) -> Setup:
    """What is known before the start: a camera, a file played in a loop, and a file."""
    (folder / "tiny.onnx").touch()
    (folder / "clip.avi").write_bytes(b"x")
    (folder / "tiny.toml").write_text(SPEC.format(size=size, decoder=decoder))
    settings = {
        "daemon": {"name": "gate", "state_dir": folder / "state"},
        "sources": [
            {"name": "camera", "uri": f"rtsp://user:{SECRET}@host/s", "max_age_ms": 150.0, "priority": 3, "fps": 10.0},
            {"name": "round", "uri": f"file://{folder}/clip.avi", "loop": True},
            {"name": "clip", "uri": f"file://{folder}/clip.avi"},
        ],
        "model": {"spec": folder / "tiny.toml"},
        "engine": engine or {},
        "publish": {"bind": ["tcp://127.0.0.1:5999"]},
    }
    return resolve(Settings.model_validate({**settings, **more}))


def report(
    *, batch: int = 0, fixed_batch: int | None = None, backend: str = "onnxruntime", max_batch: int | None = None
) -> dict[str, Any]:
    """What the prepare child says of a model."""
    tensor = TensorSpec("detections", "float32", (100, 6))
    return {
        "batch": batch,
        "engine": {
            "backend": backend,
            "precision": "fp32",
            "key": "0123456789abcdef",
            "path": "/state/graph.onnx",
            "max_batch": max_batch,
        },
        "model": {
            "path": "/state/graph.onnx",
            "digest": "0123456789abcdef" * 4,
            "labels": ["cat", "dog"],
            "input_size": [48, 64],
            "fixed_batch": fixed_batch,
            "outputs": [list(tensor)],
        },
    }


class Told:
    """A setup with its rings, and the notes that each child gets."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.found = briefing.prepared(setup, report(batch=2))
        self.rings = briefing.make_rings(setup, self.found)

    def notes(self, role: str, source: int = -1) -> list[Note]:
        mine, theirs = Channel.pair()
        handle, unused = ThreadLauncher(lambda role, name, sock: sock.close()).start(role, "x")
        unused.close()
        member = Member(role, "x", source, running=(handle, mine))
        briefing.brief(member, self.setup, self.found, self.rings, "boot-1")
        other = Channel(theirs)
        notes = []
        while (note := other.receive()) is not None:
            notes.append(note)
        mine.close()
        other.close()
        return notes


def close_fds(*notes: Note) -> None:
    for note in notes:
        for fd in note.fds:
            os.close(fd)


def same_files(fds: list[int], expected: list[int]) -> bool:
    """Whether descriptors are of the same open files; all eventfds are one inode, so they are told apart by value."""
    return [_identity(fd) for fd in fds] == [_identity(fd) for fd in expected]


def _identity(fd: int) -> str:
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()
    number = [line for line in info.splitlines() if line.startswith("eventfd-id:")]
    return number[0] if number else f"{os.fstat(fd).st_dev}:{os.fstat(fd).st_ino}"
