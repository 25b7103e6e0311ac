# SPDX-License-Identifier: Apache-2.0
"""Whether the engine in the store is valid for this device, and what differs."""

from __future__ import annotations

import msgspec

from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, warning
from edged.doctor.situation import Situation
from edged.engine.key import DeviceFacts
from edged.engine.lookup import Selection, select
from edged.errors import ConfigError, DeviceUnavailableError
from edged.graph.prepare import FOLDER, look_up, spec_digest


def _facts(situation: Situation) -> DeviceFacts | None:
    """The GPU and its TensorRT, asked in a child process.

    Raises:
        SkippedError: the question had no answer.
    """
    settings = situation.settings()
    if settings.engine.backend == "onnxruntime":
        return None
    given = situation.ask("facts", backend=settings.engine.backend, device=settings.engine.device)
    if not given.done:
        raise SkippedError("what this device is cannot be told, see gpu and tensorrt")
    found = given.facts["facts"]
    return None if found is None else msgspec.convert(found, DeviceFacts)


def _selection(situation: Situation) -> Selection:
    settings, spec = situation.settings(), situation.spec()
    state_dir, engine = settings.daemon.state_dir, settings.engine
    try:
        prepared, digest = look_up(spec, state_dir / FOLDER), spec_digest(spec)
        # A model of one batch size is run at that, whatever is asked for.
        fixed = prepared is not None and prepared.fixed_batch is not None
        return select(
            state_dir,
            spec.id,
            digest,
            engine.backend,
            engine.precision,
            _facts(situation),
            max_batch=None if fixed else engine.max_batch,
            spec=str(settings.model.spec),
        )
    except DeviceUnavailableError as error:
        raise SkippedError("there is no device for it, see gpu and tensorrt") from error
    except ConfigError as error:
        raise SkippedError("the model cannot be read, see model") from error


def _engine(situation: Situation) -> Outcome:
    found = _selection(situation)
    if found.missing is None:
        if found.engine is None:
            return ok("none needed: ONNX Runtime runs the model in fp32", [f"backend {found.backend}"])
        return ok(f"{found.backend} {found.precision} is valid here", [str(found.engine.path)])
    missing = found.missing
    evidence = [f"{missing.where}: {missing.what}", *map(str, missing.differences)]
    remedy = [missing.command]
    if found.usable:
        return warning(f"ONNX Runtime runs the model on the CPU: {missing.what}", evidence, remedy)
    if situation.settings().engine.build != "never":
        return warning(f"{missing.what}; edged run builds it first, which takes minutes", evidence, remedy)
    return problem(missing.what, evidence, remedy)


ENGINE = Check("engine", "the engine in the store: valid for this device?", CONFIGURATION, _engine, 2 * PROBE_LIMIT_S)
