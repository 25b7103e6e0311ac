# SPDX-License-Identifier: Apache-2.0
"""Files that a build writes and disks break: ``current.json`` and the manifest of an engine."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edged.engine.explain import Question, explain
from edged.engine.key import BuilderOptions, DeviceFacts, EngineKey, Profile
from edged.engine.lookup import select
from edged.engine.manifest import Candidate, Choice, GpuMemory, Int8, Manifest, Plugin, Source, Tensor, encode
from edged.engine.store import CURRENT_FILE, FILES, MANIFEST_FILE, Current, Wanted, find, model_folder, read_engine
from edged.errors import EdgedError
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec
from tools.fuzz.mutate import Mutator
from tools.fuzz.run import complaint, remove

_SPEC = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.toml"
_ENGINE = b"an engine"
_FACTS = DeviceFacts(runtime="tensorrt 10.3.0", gpu="Orin", compute_capability=(8, 7), driver="12.6")
_FRAME = b"\n--next file--\n"
_SIGNED_SHARE = 0.6
_REST: dict[str, Any] = {
    "tensors": (Tensor(name="out", role="output", dtype="float32", shape=(-1, 100, 6)),),
    "fixed_batch": None,
    "preprocessing": {"size": [64, 64], "mean": [0.0, 0.0, 0.0]},
    "labels": ("circle", "square"),
    "layers": 12,
    "source": Source(
        spec=str(_SPEC),
        onnx="shapes.onnx",
        onnx_sha256="x",
        labels_sha256=None,
        fields={"task": "raw", "a": {"b": 1}},
    ),
    "versions": {"edged": "0.1"},
    "device": {"name": "Orin"},
    "conversions": ("cast",),
    "chosen": Choice(backend_asked="auto", precision_asked="auto", why=("fastest",)),
    "candidates": (
        Candidate(precision="int8", accuracy={"AP": 33.8}, latency_ms={"8": 6.0}, note="int8 (86%): chosen"),
    ),
    "agreement_bound": 97.5,
    "int8": Int8(share=0.86, layers=10, method="entropy", images=500, calibration="e"),
    "built_in_s": 12.5,
    "created_at": 1_790_000_000.0,
}


class Stored:
    """An engine's store. A case is ``current.json``, the manifest, and what the manifest's folder is called."""

    name = "manifest"

    def __init__(self) -> None:
        self._state = Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
        self._spec = load_spec(_SPEC)
        self._digest = spec_digest(self._spec)
        self._folder = model_folder(self._state, self._spec.id)
        self._manifests = [encode(self._manifest("tensorrt")), encode(self._manifest("onnxruntime"))]

    def case(self, rng: random.Random) -> bytes:
        """Broken files; of most, the manifest's key is made to fit its fields again, where that can be done."""
        good = rng.choice(self._manifests)
        content = Mutator(rng, (good,)).case() if rng.random() < 0.8 else good
        key = str(json.loads(good)["key"])
        if rng.random() < _SIGNED_SHARE:
            content, key = _signed(content, key)
        names = ("tensorrt/auto", "onnxruntime/auto", "onnxruntime/fp32", "tensorrt/int8")
        current = msgspec.json.encode(Current(engines=dict.fromkeys(names, key)))
        if rng.random() < 0.3:
            current = Mutator(rng, (current,)).case()
        return _FRAME.join((current, content, key.encode()))

    def run(self, case: bytes) -> None:
        """Find, select and explain it."""
        remove(self._folder)
        current, content, key = case.split(_FRAME)
        folder = self._folder / key.decode()
        folder.mkdir(parents=True)
        (self._folder / CURRENT_FILE).write_bytes(current)
        (folder / MANIFEST_FILE).write_bytes(content)
        for name in FILES.values():
            (folder / name).write_bytes(_ENGINE)
        refused = self._refused(key.decode())
        for backend in ("tensorrt", "onnxruntime", "auto"):
            found = select(self._state, self._spec.id, self._digest, backend, "auto", _FACTS)
            if found.missing is not None:
                _check(found.missing.error())
        text, _ = explain(Question(_SPEC, self._state, "auto", "auto", lambda: _FACTS))
        assert all(line.isprintable() for line in text.split("\n")), f"not printable: {text[:500]!a}"
        if refused is not None:
            raise refused

    def _refused(self, key: str) -> EdgedError | None:
        """What reading says, by key and by the names in ``current.json``."""
        try:
            for backend in FILES:
                find(self._state, Wanted(self._spec.id, self._digest, backend, "auto", _FACTS, 8))
            read_engine(self._folder, key)
        except EdgedError as error:
            return error
        return None

    def _manifest(self, backend: Any) -> Manifest:
        """A manifest in which everything is set."""
        fields = self._fields(backend)
        on_gpu = backend == "tensorrt"
        return Manifest(
            key=fields.digest(),
            fields=fields,
            model_id=self._spec.id,
            task="detection",
            decoder="yolox",
            file=FILES[fields.backend],
            size=len(_ENGINE),
            sha256=hashlib.sha256(_ENGINE).hexdigest(),
            max_batch=8 if on_gpu else None,
            memory=GpuMemory(weights=1 << 20, activations=(1 << 20, 5), io=77) if on_gpu else GpuMemory(),
            plugins=(Plugin(path="/nowhere.so", sha256="d" * 64),) if on_gpu else (),
            **_REST,
        )

    def _fields(self, backend: Any) -> EngineKey:
        on_gpu = backend == "tensorrt"
        return EngineKey(
            model=self._digest,
            precision="int8",
            backend=backend,
            runtime=_FACTS.runtime if on_gpu else "onnxruntime 1.23",
            profiles=(Profile((1, 4, 8), (64, 64, 64), (64, 64, 64)),) if on_gpu else (),
            options=BuilderOptions(workspace_mb=1024, optimization_level=3, aux_streams=0) if on_gpu else None,
            gpu=_FACTS.gpu if on_gpu else "",
            compute_capability=_FACTS.compute_capability if on_gpu else None,
            driver=_FACTS.driver if on_gpu else "",
            calibration="c" * 64,
        )

    def close(self) -> None:
        """Remove the store."""
        remove(self._state)


def _signed(content: bytes, key: str) -> tuple[bytes, str]:
    """A manifest whose key fits its fields, and the key; as it is where its fields are none."""
    try:
        data = json.loads(content)
        fields = msgspec.convert(data["fields"], EngineKey)
        data["key"] = fields.digest()
        return json.dumps(data).encode(), data["key"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return content, key


def _check(error: EdgedError) -> None:
    """What is wrong with an error that is shown and not raised."""
    wrong = complaint(error)
    assert not wrong, wrong
