# SPDX-License-Identifier: Apache-2.0
"""What is written down about an engine once it is made."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edged import __version__
from edged.engine.key import EngineKey
from edged.engine.manifest import Choice, Manifest
from edged.engine.shelf import Content
from edged.engine.source import source_of
from edged.engine.store import FILES
from edged.engine.workshop import Job, Made, Workshop


def describe(
    job: Job,
    key: EngineKey,
    workshop: Workshop,
    made: Made,
    content: Content,
    chosen: Choice,
    took_s: float,
    **measured: Any,
) -> Manifest:
    """The manifest of a new engine.

    Args:
        job: what it was made for.
        key: what went into it.
        workshop: what made it.
        made: the engine.
        content: its file.
        chosen: why it is this one.
        took_s: how long it took, seconds.
        measured: further fields of the manifest.
    """
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
        versions=versions(key),
        device=workshop.device,
        conversions=made.conversions,
        chosen=chosen,
        built_in_s=round(took_s, 3),
        created_at=time.time(),
        **measured,
    )


def versions(key: EngineKey) -> dict[str, str]:
    """Versions of all that took part in an engine, by name."""
    product, version = key.runtime.split(" ")
    return {
        "edged": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        product: version,
    }
