# SPDX-License-Identifier: Apache-2.0
"""Decoders by name, and what identifies the code of those that are not edged's own. Cheap: loads no decoder."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "edged.decoders"
BUILT_IN = (
    EntryPoint("classification", "edged.graph.outputs.classification:Classification", GROUP),
    EntryPoint("end2end", "edged.graph.outputs.end2end:EndToEnd", GROUP),
    EntryPoint("raw", "edged.graph.outputs.raw:Raw", GROUP),
    EntryPoint("segmentation", "edged.graph.outputs.segmentation:Segmentation", GROUP),
    EntryPoint("yolov5", "edged.graph.outputs.yolov5:YoloV5", GROUP),
    EntryPoint("yolov8", "edged.graph.outputs.yolov8:YoloV8", GROUP),
    EntryPoint("yolox", "edged.graph.outputs.yolox:YoloX", GROUP),
)


def find_entry(name: str) -> EntryPoint | None:
    """The entry point of a decoder, None where there is none; edged's own cannot be replaced."""
    own = next((entry for entry in BUILT_IN if entry.name == name), None)
    return own or next((entry for entry in entry_points(group=GROUP) if entry.name == name), None)


def code_digest(name: str) -> bytes:
    """What a decoder's code is: empty for edged's own, which `edged.graph.prepare.FORMAT` stands for.

    Of the user's it is the source of the entry point's module, or of all modules of the package if it is one, and the
    version of what it was installed with. What it imports from elsewhere is not looked at.
    """
    entry = find_entry(name)
    if entry is None or entry in BUILT_IN:
        return b""
    total = hashlib.sha256(entry.value.encode())
    if entry.dist is not None:
        total.update(f"{entry.dist.name} {entry.dist.version}".encode())
    for path in _sources(entry.module):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.digest()


def _sources(module: str) -> list[Path]:
    """A module's file, or all files of a package; none where it cannot be found, which loading it will say."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    files = {path for folder in spec.submodule_search_locations or () for path in Path(folder).rglob("*.py")}
    if spec.origin is not None and Path(spec.origin).is_file():
        files.add(Path(spec.origin))
    return sorted(files)
