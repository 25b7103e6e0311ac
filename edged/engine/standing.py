# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon finds its engine, asked before one is built for it. Imports neither onnx nor onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edged.engine.here import facts_here
from edged.engine.key import DeviceFacts
from edged.engine.lookup import select
from edged.engine.protocol import BuildRequest, Done, Note, Phase, Serving, Tell
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec


def standing(
    request: BuildRequest,
    serving: Serving,
    tell: Tell,
    facts: Callable[[str, int], DeviceFacts | None] = facts_here,
) -> Done | None:
    """What a daemon would run, if nothing has to be built for it; says what is amiss otherwise.

    Args:
        request: what would be built.
        serving: what the daemon wants of its engine.
        tell: takes what there is to say meanwhile.
        facts: what engines have to fit, by backend and GPU index.

    Raises:
        ModelError: the model cannot be read.
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
    """
    tell(Phase("looking for the engine"))
    spec = load_spec(Path(request.spec))
    found = select(
        Path(request.state_dir),
        spec.id,
        spec_digest(spec),
        request.backend,
        request.precision,
        facts(request.backend, request.device),
        max_batch=serving.max_batch,
        spec=request.spec,
    )
    if found.missing is not None:
        tell(Note(found.missing.what))
        return None
    if found.engine is None:
        return Done(spec.id, "", "", False, ())
    return Done(spec.id, found.engine.key, str(found.engine.path.parent), False, ())
