# SPDX-License-Identifier: Apache-2.0
"""What the settings say of a build: for ``edged-build-engine``, whose flags override it, and for a daemon's start."""

from __future__ import annotations

from pathlib import Path

from edged.engine.protocol import BuildRequest, Trust
from edged.errors import ConfigError
from edged.settings import Settings, SourceSettings
from edged.stages.capture.uri import parse

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
        sources=_sources(settings),
        trust=Trust(
            bound=build.bound, calibrator=build.calibrator, search=build.search, keep_float=tuple(build.keep_float)
        ),
    )


def _sources(settings: Settings) -> tuple[int, int]:
    """How many live and lossless sources there are."""
    modes = [_live(source) for source in settings.sources]
    return sum(modes), len(modes) - sum(modes)


def _live(source: SourceSettings) -> bool:
    if source.mode is not None:
        return source.mode == "live"
    try:
        return parse(source.uri.get_secret_value()).live_by_default
    except ConfigError:
        return True  # the daemon will say what is wrong with it
