# SPDX-License-Identifier: Apache-2.0
"""The prepared graph and its cache.

A cache entry is a folder named by a digest of all that the graph is made from; it holds ``graph.onnx`` and
``report.json``. The report is written last and holds a checksum over both, so that an entry is whole or is built again.
Reading an entry imports neither onnx nor onnxruntime.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edged.errors import ModelError, StateDirError
from edged.files import TEMPORARY, make_folder, remedy_for, write_atomically
from edged.graph.decoder_entries import code_digest
from edged.model import ModelSpec, Task
from edged.records import TensorSpec

FOLDER = "prepared"
"""Where prepared graphs lie in the state directory."""
FORMAT = 2
"""Raised whenever this package makes another graph from the same model."""
GRAPH_FILE = "graph.onnx"
REPORT_FILE = "report.json"

_STALE_S = 3600.0
# Protobuf of the pair ("location", file name) by which an ONNX tensor says that its weights lie elsewhere.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


class PreparedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model wrapped in edged's input step and output step, ready for a backend.

    Attributes:
        digest: identity: the same model, labels, spec and edged give the same digest.
        path: the ONNX file. Its input is ``frames``, uint8 [N, H, W, 3] BGR.
        task: what the outputs are.
        decoder: which output step made them.
        classes: how many classes there are; None where the model does not tell.
        labels: class names; may be empty where the number of classes is not known.
        input_size: largest height, width of a frame, pixels.
        dynamic: whether frames may be smaller than that.
        fixed_batch: the only batch size that the model takes; None where it takes any.
        outputs: the graph's outputs in order; one frame's part.
        opset: version of the default operator set.
        model_id: the spec's id.
        unknown: operators that ONNX Runtime lacks: for these the file's word was taken instead of a run.
    """

    digest: str
    path: str
    task: Task
    decoder: str
    classes: int | None
    labels: list[str]
    input_size: tuple[int, int]
    dynamic: bool
    fixed_batch: int | None
    outputs: list[TensorSpec]
    opset: int
    model_id: str
    unknown: list[str] = []


class _Report(msgspec.Struct):
    format: int
    sha256: str
    prepared: msgspec.Raw


def prepare(spec: ModelSpec, cache_dir: Path, plugins: Sequence[str] = ()) -> PreparedModel:
    """Check a model and wrap it, or take the result of an earlier time from the cache.

    Args:
        spec: the model spec.
        cache_dir: folder of the cache; created if missing.
        plugins: libraries of custom operators, for ONNX Runtime or for TensorRT. What is in the cache needs none.

    Raises:
        ModelError: the model or its labels cannot be used.
        DecoderError: the decoder is unknown or does not fit the model's outputs.
        StateDirError: the cache cannot be written.
    """
    digest = spec_digest(spec)
    folder = cache_dir / digest
    cached = _cached(folder, digest)
    if cached is not None:
        return cached
    # Only here: onnx and onnxruntime take longer to import than all the rest of a start.
    from edged.graph.build import build

    graph, prepared = build(spec, digest, str(folder / GRAPH_FILE), plugins)
    facts = msgspec.json.encode(prepared)
    report = _Report(FORMAT, _checksum(graph, facts), msgspec.Raw(facts))
    try:
        make_folder(folder)
        _sweep(folder)
        write_atomically(folder / GRAPH_FILE, graph)
        write_atomically(folder / REPORT_FILE, msgspec.json.encode(report))
    except OSError as error:
        raise StateDirError(
            f"the prepared graph cannot be written ({error.strerror})",
            where=str(folder),
            remedy=remedy_for(error, "choose another state_dir"),
        ) from error
    return prepared


def look_up(spec: ModelSpec, cache_dir: Path) -> PreparedModel | None:
    """What `prepare` left at an earlier time, if it is there and whole. Makes and writes nothing.

    Raises:
        ModelError: the ONNX file or the labels file cannot be read.
    """
    digest = spec_digest(spec)
    return _cached(cache_dir / digest, digest)


def spec_digest(spec: ModelSpec) -> str:
    """SHA-256 over all that decides what a prepared graph is; 64 hexadecimal digits.

    Raises:
        ModelError: the ONNX file or the labels file cannot be read.
    """
    total = hashlib.sha256()
    settings = msgspec.json.encode({"format": FORMAT, "spec": spec.digest_fields()}, order="sorted")
    parts = [settings, _model_digest(spec.onnx), _labels_digest(spec.labels)]
    code = code_digest(spec.decoder)
    if code:
        parts.append(code)
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def _model_digest(path: Path) -> bytes:
    """Digest of an ONNX file and of the weights files beside it that it names."""
    content = _read(path, "ONNX file", "onnx")
    total = hashlib.sha256(content)
    names = {content[match.end() : match.end() + match.group(1)[0]] for match in _LOCATION.finditer(content)}
    for name in sorted(names):
        weights = path.parent / os.fsdecode(name)
        if b"\x00" not in name and weights.is_file():
            with weights.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
    return total.digest()


def _labels_digest(path: Path | None) -> bytes:
    return b"" if path is None else b"labels:" + _read(path, "labels file", "labels")


def _read(path: Path, kind: str, key: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"the {kind} does not exist", where=str(path), remedy=f"correct the key {key} of the model spec"
        ) from error
    except OSError as error:
        raise ModelError(
            f"the {kind} cannot be read ({error.strerror})",
            where=str(path),
            remedy=f"check its permissions and the key {key} of the model spec",
        ) from error


def _cached(folder: Path, digest: str) -> PreparedModel | None:
    """A whole entry of the cache, else None: an entry that is broken in any way is built again."""
    try:
        report = msgspec.json.decode((folder / REPORT_FILE).read_bytes(), type=_Report)
        graph = (folder / GRAPH_FILE).read_bytes()
        if report.format != FORMAT or report.sha256 != _checksum(graph, bytes(report.prepared)):
            return None
        prepared = msgspec.json.decode(report.prepared, type=PreparedModel)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    # The cache may have been moved since.
    return msgspec.structs.replace(prepared, path=str(folder / GRAPH_FILE)) if prepared.digest == digest else None


def _checksum(graph: bytes, facts: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(graph).digest() + facts).hexdigest()


def _sweep(folder: Path) -> None:
    """Remove what a killed build left; another build that is under way keeps its files."""
    for leftover in folder.glob(f".*{TEMPORARY}"):
        if time.time() - leftover.stat().st_mtime > _STALE_S:
            leftover.unlink(missing_ok=True)
