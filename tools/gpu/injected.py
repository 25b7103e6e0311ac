# SPDX-License-Identifier: Apache-2.0
"""An error in each CUDA call that the executor makes, at load and for each batch: what comes of it.

Which calls these are is not written down but counted in a run without errors. Each is made to fail with an argument
error, for want of memory, and with the loss of the GPU; the first and the last of its uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from edged.errors import EdgedError
from edged.gpu.cuda import CudaGpu
from edged.gpu.engines import Engine
from edged.gpu.errors import GpuLostError
from edged.records import TensorSpec
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.faulty import ENDINGS, FaultyDriver
from tools.gpu.rig import Pipe

CODES = {1: 70, 2: 69, 700: 75}
"""Error numbers of the driver (bad argument, out of memory, illegal address) and the exit codes they lead to."""
NOT_RECORDED = 901
RECORDING = {"cuStreamBeginCapture", "cuStreamEndCapture"}
"""Calls that may answer `NOT_RECORDED`: the executor then runs without a graph."""
GRACEFUL = {"cuMemHostRegister", "cuMemcpyBatchAsync"}
"""What the executor can do without, unless the GPU is lost: page-locked rings (it stages), many copies in one call."""
_BATCHES = 4
Load = Callable[[CudaGpu], Engine]


class Rig(NamedTuple):
    """How to make an executor: the engine's loader, its outputs, the frames' height and width."""

    driver: Any
    load: Load
    outputs: Sequence[TensorSpec]
    size: tuple[int, int]


class Outcome(NamedTuple):
    """What came of one error: the exit code (0 where the work went on), the words, and what else is wrong."""

    code: int
    said: str
    problems: tuple[str, ...]
    fired: bool


def batches(pipe: Pipe, count: int) -> Iterator[int]:
    """Put batches through, one at a time; gives how many results each led to."""
    rng = np.random.default_rng(0)
    for number in range(count):
        # Of two sources, so that frames lie apart as those of several cameras do.
        for source in range(1 + number % 4):
            place = pipe.put(source % 2)
            assert place is not None
            place[1][...] = rng.integers(0, 256, place[1].shape, dtype=np.uint8)
            pipe.commit(source % 2, place[0])
        output = pipe.pipeline.output_slot()
        assert output is not None
        tables = enumerate(pipe.tables)
        pipe.pipeline.submit(output, [(at, one) for at, table in tables for one in table.take(table.ready())], 0)
        assert pipe.pipeline.deliver(30.0) is not None, "the batch was not done in time"
        slot = pipe.outputs.oldest()
        assert slot is not None
        yield len(pipe.outputs.frames(slot))
        pipe.outputs.release(slot)


@contextmanager
def opened(rig: Rig, driver: FaultyDriver) -> Iterator[Pipe]:
    """An executor on a GPU opened through a driver; all is ended, and what is left is a leak."""
    gpu = CudaGpu(0, driver=driver)
    try:
        with ExitStack() as stack:
            engine = rig.load(gpu)
            stack.callback(engine.close)
            pipe = Pipe(gpu, engine, rig.outputs, rig.size, GpuOptions(slots=2, max_batch=4), sources=2)
            stack.callback(pipe.close)
            yield pipe
    finally:
        leaks = gpu.close()
        driver.heal()
        if leaks:
            raise AssertionError(f"left behind: {[str(leak) for leak in leaks]}")


def calls(rig: Rig) -> tuple[dict[str, int], dict[str, int]]:
    """How often each call is made, from opening the GPU to the warm executor, and for some batches."""
    driver = FaultyDriver(rig.driver)
    with opened(rig, driver) as pipe:
        load = dict(driver.counts)
        for _ in batches(pipe, _BATCHES):
            pass
        work = {name: count - load.get(name, 0) for name, count in driver.counts.items()}
    counts = ({name: n for name, n in part.items() if n and name not in ENDINGS} for part in (load, work))
    return next(counts), next(counts)


def fail(rig: Rig, phase: str, name: str, nth: int, code: int) -> Outcome:
    """One error, in a use of a call while the executor is loaded (``load``) or works (``work``)."""
    driver = FaultyDriver(rig.driver)
    done, problems = 0, []
    if phase == "load":
        driver.plan(name, nth, code)
    try:
        with opened(rig, driver) as pipe:
            if phase == "work":
                driver.plan(name, nth, code)
            try:
                for _ in batches(pipe, _BATCHES):
                    done += 1
            except EdgedError:
                if pipe.outputs.oldest() is not None:
                    problems.append("the failed batch was handed to publish")
                raise
    except EdgedError as error:
        return Outcome(error.exit_code, str(error), (*problems, *_unclear(error, code)), driver.fired)
    if done < _BATCHES:
        problems.append(f"{done} of {_BATCHES} batches")
    return Outcome(0, "", tuple(problems), driver.fired)


def _unclear(error: EdgedError, code: int) -> list[str]:
    """What is wrong with an error's words and kind."""
    problems = []
    if "\n" in str(error):
        problems.append("more than one line")
    if isinstance(error, GpuLostError) != (code == 700):
        problems.append(f"a {type(error).__name__} for {code}")
    if f", {code})" not in str(error):
        problems.append("the error number is not said")
    return problems


def expected(name: str, code: int) -> set[int]:
    """Exit codes that are right for an error."""
    graceful = code == NOT_RECORDED or (name in GRACEFUL and code != 700)
    return {0} if graceful else {CODES[code]}


def inject(rig: Rig, free: Callable[[], int] | None = None) -> dict[str, Any]:
    """Every call, every kind of error.

    Args:
        rig: what to make executors of.
        free: bytes of GPU memory that are free now; they have to be the same in the end.

    Returns:
        A row for each phase, with what was wrong.
    """
    results: dict[str, Any] = {}
    for phase, counts in zip(("load", "work"), calls(rig), strict=True):
        before = free() if free is not None else 0
        wrong: list[str] = []
        tried = 0
        for name, count in sorted(counts.items()):
            # How often an event is looked at differs from run to run.
            for nth in sorted({1, max(1, count // 2) if name == "cuEventQuery" else count}):
                for code in (*CODES, *([NOT_RECORDED] if name in RECORDING else [])):
                    outcome = fail(rig, phase, name, nth, code)
                    tried += 1
                    problems = [*outcome.problems] + ([] if outcome.fired else ["it was never called"])
                    if outcome.code not in expected(name, code):
                        problems.append(f"exit code {outcome.code}")
                    if problems:
                        wrong.append(f"{name} #{nth} {code}: {', '.join(problems)}: {outcome.said}")
        lost = before - free() if free is not None else 0
        results[f"errors-at-{phase}"] = {
            "ok": not wrong and lost == 0,
            "target": "exit 70, 69, 75; nothing published; nothing left behind",
            "functions": len(counts),
            "errors": tried,
            "wrong": wrong[:10],
            "gpu_bytes_lost": lost,
            "names": sorted(counts),
        }
    return results
