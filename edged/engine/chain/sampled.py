# SPDX-License-Identifier: Apache-2.0
"""``--calibrate-from``: the request once its source was sampled. A build that is killed later samples only once."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edged.engine.chain.work import Work, written
from edged.engine.protocol import BuildRequest, Note, Phase, Tell
from edged.engine.sampling.record import RECORD_FILE
from edged.engine.sampling.sampler import SampleRequest, sample
from edged.files import write_atomically
from edged.model import ModelSpec
from edged.stages.capture.uri import parse

_FILE = "sampled.json"


class _Sampled(msgspec.Struct, frozen=True):
    """What was sampled for a build that is not done yet."""

    source: str
    minutes: float
    folder: str


def sampled(request: BuildRequest, spec: ModelSpec, tell: Tell) -> BuildRequest:
    """Sample the source that a request names; its frames become a calibration folder of the request.

    Raises:
        EdgedError: see `edged.engine.sampling.sampler.sample`.
    """
    trust = request.trust
    work = Work(Path(request.state_dir), spec.id)
    shown = parse(trust.source).shown
    folder = _before(work, shown, trust.minutes)
    if folder is None:
        tell(Phase(f"sampling {shown}"))
        found = sample(
            SampleRequest(uri=trust.source, state_dir=request.state_dir, model_id=spec.id, minutes=trust.minutes), tell
        )
        for warning in found.warnings:
            tell(Note(warning))
        folder = found.folder
        with written(work.folder):
            work.make()
            note = _Sampled(shown, trust.minutes, str(folder))
            write_atomically(work.folder / _FILE, msgspec.json.encode(note))
    tell(Note(f"to build again from the same frames: --calibrate {folder}"))
    calibrate = (*trust.calibrate, str(folder))
    return msgspec.structs.replace(request, trust=msgspec.structs.replace(trust, calibrate=calibrate, source=""))


def _before(work: Work, shown: str, minutes: float) -> Path | None:
    """The sample of a build that was killed since."""
    try:
        found = msgspec.json.decode((work.folder / _FILE).read_bytes(), type=_Sampled)
    except (OSError, msgspec.DecodeError):
        return None
    same = (found.source, found.minutes) == (shown, minutes)
    return Path(found.folder) if same and (Path(found.folder) / RECORD_FILE).is_file() else None
