# SPDX-License-Identifier: Apache-2.0
"""What the settings say of a build: for ``edged-build-engine``, whose flags override it, and for a daemon's start."""

from __future__ import annotations

from pathlib import Path

from edged.engine.protocol import BuildRequest
from edged.settings import Settings

TIMING_CACHE = "timing.cache"


def request_of(settings: Settings, spec: Path) -> BuildRequest:
    """The build that a daemon with these settings wants.

    Args:
        settings: of the daemon.
        spec: path of the model spec.
    """
    engine, build = settings.engine, settings.build
    state_dir = settings.daemon.state_dir
    batches = build.profiles if "profiles" in build.model_fields_set else None
    aux_streams = build.aux_streams
    if aux_streams is None and engine.contexts > 1:
        # Contexts that run side by side keep the GPU busy; further streams of each would only take memory.
        aux_streams = 0
    return BuildRequest(
        spec=str(spec.absolute()),
        state_dir=str(state_dir.absolute()),
        timing_cache=str((state_dir / TIMING_CACHE).absolute()),
        backend=engine.backend,
        precision=engine.precision,
        device=engine.device,
        slots=engine.slots,
        batches=batches,
        # The daemon is going to want batches of this size.
        max_batch=engine.max_batch if batches is None else None,
        workspace_mb=build.workspace_mb,
        optimization_level=build.optimization_level,
        aux_streams=aux_streams,
        plugins=tuple(str(path.absolute()) for path in build.plugins),
    )
