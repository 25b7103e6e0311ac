# SPDX-License-Identifier: Apache-2.0
"""One build from the model spec to the stored engine. Runs in the building child, see `edged.engine.build_main`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edged.engine.describe import describe
from edged.engine.manifest import Choice
from edged.engine.memory import thrifty
from edged.engine.ort_workshop import OrtWorkshop
from edged.engine.outdated import remove_outdated
from edged.engine.precision import choose_precision
from edged.engine.protocol import BuildRequest, Done, Note, Phase, Tell
from edged.engine.shelf import Content, Shelf, hold
from edged.engine.summary import size
from edged.engine.toolkit import GpuToolkit
from edged.engine.trt_workshop import TrtWorkshop
from edged.engine.workshop import Job, Workshop
from edged.errors import DeviceUnavailableError
from edged.files import TEMPORARY, adopt
from edged.graph.prepare import FOLDER, prepare
from edged.model_file import load_spec

if TYPE_CHECKING:
    from edged.engine.chain.racing import Race

Open = Callable[[BuildRequest], Workshop]
"""Makes TensorRT's workshop; raises `DeviceUnavailableError` where there is no GPU or no TensorRT."""


def open_tensorrt(request: BuildRequest) -> Workshop:
    """The workshop of the installed TensorRT.

    Raises:
        DeviceUnavailableError: there is no GPU, no driver or no TensorRT.
        EngineError: a plugin cannot be loaded.
    """
    return TrtWorkshop(GpuToolkit(request.device, request.plugins), request.plugins)


def build(request: BuildRequest, tell: Tell, tensorrt: Open = open_tensorrt, race: Race | None = None) -> Done:
    """Build an engine and make it current, or find that it is there already.

    Args:
        request: what to build.
        tell: takes what there is to say meanwhile.
        tensorrt: makes TensorRT's workshop.
        race: times candidates; None for the daemon's own pipeline.

    Raises:
        ModelError: the model cannot be used.
        EngineError: the engine cannot be built.
        AccuracyRefusedError: it loses more than it may.
        SourceError: images that are not there.
        DeviceUnavailableError: the backend asked for is not available.
        RestartWantedError: another build is under way.
        StateDirError: the store cannot be written.
    """
    start = time.monotonic()
    tell(Phase("preparing the model"))
    request = thrifty(request)
    state_dir = Path(request.state_dir)
    spec = load_spec(Path(request.spec))
    if request.trust.source:
        # Before the store is taken: a camera is watched for long.
        from edged.engine.chain.sampled import sampled

        request = sampled(request, spec, tell)
    with hold(state_dir, spec.id) as shelf:
        prepared = prepare(spec, state_dir / FOLDER, request.plugins)
        if prepared.unknown:
            operators = ", ".join(prepared.unknown)
            tell(Note(f"ONNX Runtime lacks {operators}: what the file says of its outputs is taken on trust"))
        scratch = Path(tempfile.mkdtemp(dir=shelf.folder, prefix=".build.", suffix=TEMPORARY))
        adopt(scratch)
        try:
            job = Job(request, spec, prepared, scratch, tell)
            return _build(job, shelf, tensorrt, start, race)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _build(job: Job, shelf: Shelf, tensorrt: Open, start: float, race: Race | None) -> Done:
    request = job.request
    job.tell(Phase("looking at the device"))
    workshop, why = _workshop(request, tensorrt)
    try:
        if request.trust.wanted:
            # Only now: most builds measure nothing.
            from edged.engine.chain.chain import Chain

            return Chain(job, shelf, workshop, why, start, race).run()
        precision, because = choose_precision(request.precision, workshop.backend, quantized=job.quantized)
        job.tell(Note(f"{workshop.backend}, {precision}: {because}"))
        if request.precision == "auto" and precision != "int8" and request.serving is None:
            job.tell(Note("INT8 was not considered: it needs images, --calibrate DIR and --evaluate DIR"))
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
            manifest = describe(job, key, workshop, made, content, chosen, time.monotonic() - start)
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
