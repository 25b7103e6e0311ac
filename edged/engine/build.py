# SPDX-License-Identifier: Apache-2.0
"""One build from the model spec to the stored engine. Runs in the building child, see `edged.engine.build_main`."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edged import __version__
from edged.engine.key import EngineKey
from edged.engine.manifest import Choice, Manifest
from edged.engine.ort_workshop import OrtWorkshop
from edged.engine.outdated import remove_outdated
from edged.engine.precision import choose_precision
from edged.engine.protocol import BuildRequest, Done, Note, Phase, Tell
from edged.engine.shelf import Content, Shelf, hold
from edged.engine.source import source_of
from edged.engine.store import FILES
from edged.engine.summary import size
from edged.engine.toolkit import GpuToolkit
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Job, Made, Workshop
from edged.errors import DeviceUnavailableError
from edged.files import TEMPORARY, adopt
from edged.graph.prepare import FOLDER, prepare
from edged.model_file import load_spec

Open = Callable[[BuildRequest], Workshop]
"""Makes TensorRT's workshop; raises `DeviceUnavailableError` where there is no GPU or no TensorRT."""


def open_tensorrt(request: BuildRequest) -> Workshop:
    """The workshop of the installed TensorRT.

    Raises:
        DeviceUnavailableError: there is no GPU, no driver or no TensorRT.
        EngineError: a plugin cannot be loaded.
    """
    return TrtWorkshop(GpuToolkit(request.device, request.plugins), request.plugins)


def build(request: BuildRequest, tell: Tell, tensorrt: Open = open_tensorrt) -> Done:
    """Build an engine and make it current, or find that it is there already.

    Args:
        request: what to build.
        tell: takes what there is to say meanwhile.
        tensorrt: makes TensorRT's workshop.

    Raises:
        ModelError: the model cannot be used.
        EngineError: the engine cannot be built.
        DeviceUnavailableError: the backend asked for is not available.
        RestartWantedError: another build is under way.
        StateDirError: the store cannot be written.
    """
    start = time.monotonic()
    tell(Phase("preparing the model"))
    state_dir = Path(request.state_dir)
    spec = load_spec(Path(request.spec))
    with hold(state_dir, spec.id) as shelf:
        prepared = prepare(spec, state_dir / FOLDER, request.plugins)
        if prepared.unknown:
            operators = ", ".join(prepared.unknown)
            tell(Note(f"ONNX Runtime lacks {operators}: what the file says of its outputs is taken on trust"))
        scratch = Path(tempfile.mkdtemp(dir=shelf.folder, prefix=".build.", suffix=TEMPORARY))
        adopt(scratch)
        try:
            job = Job(request, spec, prepared, scratch, tell)
            return _build(job, shelf, tensorrt, start)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _build(job: Job, shelf: Shelf, tensorrt: Open, start: float) -> Done:
    request = job.request
    job.tell(Phase("looking at the device"))
    workshop, why = _workshop(request, tensorrt)
    try:
        precision, because = choose_precision(request.precision, workshop.backend, quantized=job.quantized)
        job.tell(Note(f"{workshop.backend}, {precision}: {because}"))
        key = workshop.key(job, precision)
        there = None if request.force else shelf.has(key.digest())
        if there is not None:
            manifest, folder = there.manifest, there.path.parent
        else:
            made = workshop.make(job, key)
            content = Content(made.content)
            job.tell(Phase("storing"))
            chosen = Choice(
                backend_asked=request.backend, precision_asked=request.precision, why=(*filter(None, [why]), because)
            )
            manifest = _manifest(job, key, workshop, made, content, chosen, time.monotonic() - start)
            folder = shelf.put(manifest, content)
    finally:
        workshop.close()
    names = shelf.make_current(manifest, chosen=request.precision == "auto")
    gone = remove_outdated(shelf.folder, request.keep)
    outdated = tuple(f"{engine} ({size(engine.size)}): {engine.fate}" for engine in gone)
    return Done(job.spec.id, manifest.key, str(folder), there is None, tuple(names), outdated)


def _workshop(request: BuildRequest, tensorrt: Open) -> tuple[Workshop, str]:
    """The backend's workshop, and why it is this one; nothing to say where it was asked for."""
    if request.backend == "onnxruntime":
        return OrtWorkshop(request.plugins), ""
    try:
        return tensorrt(request), "" if request.backend == "tensorrt" else "there is a GPU with TensorRT"
    except DeviceUnavailableError as error:
        if request.backend == "tensorrt" or request.precision in ("fp16", "tf32"):
            raise
        return OrtWorkshop(request.plugins), f"TensorRT is not available here: {error.what}"


def _manifest(
    job: Job, key: EngineKey, workshop: Workshop, made: Made, content: Content, chosen: Choice, took_s: float
) -> Manifest:
    prepared, spec = job.prepared, job.spec
    return Manifest(
        key=key.digest(),
        fields=key,
        model_id=spec.id,
        task=spec.task,
        decoder=spec.decoder,
        file=FILES[key.backend],
        size=content.size,
        sha256=content.sha256,
        tensors=made.tensors,
        fixed_batch=prepared.fixed_batch,
        max_batch=made.max_batch,
        preprocessing=spec.input.model_dump(mode="json"),
        labels=tuple(prepared.labels),
        memory=made.memory,
        layers=made.layers,
        aux_streams=made.aux_streams,
        plugins=workshop.plugins,
        source=source_of(spec, Path(job.request.spec)),
        versions=_versions(key),
        device=workshop.device,
        conversions=made.conversions,
        chosen=chosen,
        built_in_s=round(took_s, 3),
        created_at=time.time(),
    )


def _versions(key: EngineKey) -> dict[str, str]:
    product, version = key.runtime.split(" ")
    return {
        "edged": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        product: version,
    }
