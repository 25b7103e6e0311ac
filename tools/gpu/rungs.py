# SPDX-License-Identifier: Apache-2.0
"""edged's pipeline against the published optimisation ladder (``ladder.py`` in the data folder), in one run.

The ladder's last published rung ("output thread") takes float32 pictures; edged takes the frames as they come, uint8.
Both engines are built here with the same options and timing cache, so that both have the same kernels to choose from.
"""

from __future__ import annotations

import importlib.util
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edged.engine.timing_cache import keep, kept
from edged.gpu.engines import ShapeRange
from edged.gpu.trt import TensorRt
from edged.gpu.trt.build import BuildOptions, build_engine
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.building import TIMING_CACHE
from tools.gpu.fast import Alone, Pumped
from tools.gpu.models import SIZE
from tools.gpu.results import SkippedError, attempt
from tools.gpu.rig import Host, Pipe

TARGETS = {"fp16": 1.3, "int8": 2.2}
BATCH = 128
RUNG = "5 output thread"
_SLOTS = (2, 3)
_ROUND_S = 0.25


def ladder_module(data: Path) -> Any:
    """The ladder's module.

    Raises:
        SkippedError: it is not in the data folder.
    """
    path = data / "ladder.py"
    if not path.is_file():
        raise SkippedError(f"needs {path}")
    spec = importlib.util.spec_from_file_location("ladder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rungs(folder: Path, data: Path, rounds: int = 10) -> dict[str, Any]:
    """The ladder at FP16 and at INT8 from Q/DQ."""
    results: dict[str, Any] = {}
    with Host(folder) as host:
        for precision, model in (("fp16", "resnet18"), ("int8", "resnet18-int8")):
            attempt(results, precision, partial(against, host, data, model, precision, rounds))
    return results


def against(host: Host, data: Path, model: str, precision: str, rounds: int) -> dict[str, Any]:
    """Rounds that alternate between the rung, edged with 2 and with 3 slots, and edged's engine alone."""
    module = ladder_module(data)
    engine, built_s = _float_engine(module, host, model, precision)
    ladder = module.Ladder(engine, BATCH)
    times: dict[str, list[float]] = {}
    with host.model(model, precision) as loaded, ExitStack() as stack:
        ways: dict[str, Alone | Pumped] = {"alone": Alone(host.gpu, loaded.engine, BATCH, stack)}
        for slots in _SLOTS:
            options = GpuOptions(slots=slots, max_batch=BATCH)
            pipe = Pipe(host.gpu, loaded.engine, loaded.prepared.outputs, loaded.prepared.input_size, options)
            stack.enter_context(closing(pipe))
            ways[f"edged, {slots} slots"] = Pumped(pipe, BATCH, np.random.default_rng(slots))
        for way in ways.values():
            way.run(20)
        count = max(10, int(_ROUND_S / (ways["alone"].run(20) / 20)))
        for _ in range(rounds):
            times.setdefault(RUNG, []).append(ladder.overlapped(True) / 1e3)
            for name, way in ways.items():
                times.setdefault(name, []).append(way.run(count) / count)
        ways.clear()
    middle = {name: round(median(taken) * 1e3, 4) for name, taken in times.items()}
    ratios = {f"ratio-{slots}": round(middle[RUNG] / middle[f"edged, {slots} slots"], 3) for slots in _SLOTS}
    return {
        "ok": ratios["ratio-2"] >= TARGETS[precision],
        "target": f"{RUNG} / edged >= {TARGETS[precision]}",
        **ratios,
        "ms": middle,
        "spread_ms": {name: [round(min(taken) * 1e3, 4), round(max(taken) * 1e3, 4)] for name, taken in times.items()},
        "other_ms": _others(module, ladder),
        "built_s": built_s,
    }


def _others(module: Any, ladder: Any) -> dict[str, float]:
    """The other rungs and the two limits, once each, milliseconds for a batch."""
    output, pinned = np.empty(ladder.out_shape, np.float32), module.pinned(ladder.out_shape)
    found = {
        "copy alone": ladder.copy_alone(),
        "compute alone": ladder.slots(2, True, False, False),
        "1 allocate per batch": ladder.serial(ladder.pageable, True, output),
        "2 reuse buffers": ladder.serial(ladder.pageable, False, output),
        "3 pinned memory": ladder.serial(ladder.pinned, False, pinned),
        "4 two streams": ladder.overlapped(False),
        "6 two slots, graph": ladder.slots(2, True, True, True),
        "7 three slots, graph": ladder.slots(3, True, True, True),
    }
    return {name: round(milliseconds, 3) for name, milliseconds in found.items()}


def _float_engine(module: Any, host: Host, model: str, precision: str) -> tuple[Any, float]:
    """TensorRT's own engine object of the model without edged's input step, and the seconds that building took."""
    library = TensorRt()
    cache = host.state / TIMING_CACHE
    frame = (3, SIZE, SIZE)
    options = BuildOptions(
        profiles=({"image": ShapeRange((1, *frame), (BATCH, *frame), (BATCH, *frame))},),
        precision=precision,
        workspace_bytes=1 << 30,
        timing_cache=kept(cache),
        library_tactics=False,
    )
    begin = time.monotonic()
    built = build_engine(library, host.folder / f"{model}.onnx", options)
    seconds = round(time.monotonic() - begin, 1)
    keep(cache, built.timing_cache)
    trt = module.trt
    return trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(built.plan), seconds
