# SPDX-License-Identifier: Apache-2.0
"""The executor over ONNX Runtime's CPU provider: the embedded default.

Frames are read where capture put them and outputs are written where publish reads them: a batch that lies contiguous
in its ring costs no copy at all, any other one gather.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edged.errors import InternalError, ModelError
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed, Frames

_WARM_UP_RUNS = 2
_CLOSE_S = 2.0
_SPINS_FOR_A_WHILE = (1, 26)
_SPIN_US = "50"
# ONNX Runtime's own errors have no common ancestor but Exception.
_REFUSALS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)


def open_session(path: Path, threads: int, libraries: Sequence[str] = ()) -> onnxruntime.InferenceSession:
    """Load a prepared graph.

    Args:
        path: the ONNX file.
        threads: threads of one run; 0 for all cores.
        libraries: of custom operators that the graph needs.

    Raises:
        ModelError: ONNX Runtime does not take the file or a library.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin for long take the cores away from capture (62 against 77 frames/s beside three cameras).
    # Those that sleep at once are late for the next operator: 42 against 53 frames/s with two threads. So they spin for
    # a moment where ONNX Runtime can be told how long; a version that does not know the key would spin for ever.
    if _version() >= _SPINS_FOR_A_WHILE:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    else:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        for library in libraries:
            options.register_custom_ops_library(library)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise ModelError(
            f"ONNX Runtime {onnxruntime.__version__} does not take the model: {error}",
            where=str(path),
            remedy="run the model in ONNX Runtime by itself to see the reason",
        ) from error


def _version() -> tuple[int, ...]:
    """ONNX Runtime's major and minor version."""
    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])


class _Runner:
    """Runs one batch at a time on a session that others may share; one thread uses it."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[TensorSpec],
        fixed_batch: int | None,
        clock_ns: Callable[[], int],
    ) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = list(outputs)
        self._fixed_batch = fixed_batch
        self._cpu_ns = clock_ns
        self._gathered: Frames = np.empty(0, dtype=np.uint8)

    def run(self, batch: BatchInput, output: BatchOutput) -> Elapsed:
        """Run a batch to its end."""
        start = time.monotonic_ns()
        filled = self._fixed_batch is not None and len(batch.frames) < self._fixed_batch
        in_place = batch.contiguous is not None and not filled
        frames = batch.contiguous if in_place else self._gather(batch.frames)
        assert frames is not None
        ready = time.monotonic_ns()
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.uint8, frames.shape, frames.ctypes.data)
        for index, spec in enumerate(self._outputs):
            if spec.fixed and not filled:
                view = output.view(index)
                binding.bind_output(spec.name, "cpu", 0, view.dtype, view.shape, view.ctypes.data)
            else:
                binding.bind_output(spec.name, "cpu")
        bound, cpu = time.monotonic_ns(), self._cpu_ns()
        self._session.run_with_iobinding(binding)
        took, cpu_took = time.monotonic_ns() - bound, self._cpu_ns() - cpu
        if filled or not all(spec.fixed for spec in self._outputs):
            self._copy_out(binding, len(batch.frames), output, everything=filled)
        return Elapsed(ready - start, took, cpu_took)

    def run_blank(self, count: int, height: int, width: int) -> None:
        """Run ``count`` blank frames."""
        self._session.run(None, {self._input: np.zeros((count, height, width, 3), dtype=np.uint8)})

    def _gather(self, frames: Sequence[Frames]) -> Frames:
        count = max(len(frames), self._fixed_batch or 0)
        size = count * frames[0].size
        if self._gathered.size < size:
            self._gathered = np.zeros(size, dtype=np.uint8)
        gathered = self._gathered[:size].reshape(count, *frames[0].shape)
        for place, frame in enumerate(frames):
            gathered[place] = frame
        return gathered

    def _copy_out(self, binding: onnxruntime.IOBinding, count: int, output: BatchOutput, *, everything: bool) -> None:
        """Copy outputs that ONNX Runtime allocated itself: their shape was not known, or the batch was filled up."""
        for index, (spec, value) in enumerate(zip(self._outputs, binding.get_outputs(), strict=True)):
            if spec.fixed and not everything:
                continue
            array: NDArray[np.generic] = value.numpy()[:count]
            limit = int(np.prod(spec.shape))
            if array.shape[0] != count or array.size > count * limit:
                raise InternalError(
                    f"output {spec.name} came as {array.shape}, more than the {(count, *spec.shape)} expected",
                    where="infer",
                    remedy="fix the output's shape in the model, or report this",
                )
            output.set_shape(index, array.shape[1:])
            output.view(index, array.shape[1:])[...] = array


class OnnxRuntimeExecutor:
    """Runs batches, one or several at a time.

    One at a time, `submit` returns when the batch is done: all cores work on it, which is the quickest way for a single
    frame. Several at a time, each has a thread that spends its life inside ONNX Runtime, without Python's lock, and the
    cores are shared out: on small CPUs that gives far more frames a second, because a convolution of a small model does
    not keep two cores busy.

    Args:
        path: the prepared graph.
        outputs: its outputs.
        slots: how many batches may be submitted and not collected.
        max_batch: frames of a batch at the most.
        threads: threads of one run; 0 for as many as there are cores for.
        parallel: how many batches run at a time, at most ``slots``.
        on_done: called from a runner's thread whenever a batch is done, where several run at a time.
        fixed_batch: the only batch size that the model takes; smaller batches are filled up. None where it takes any.
        libraries: of custom operators that the graph needs.
    """

    def __init__(
        self,
        path: Path,
        outputs: Sequence[TensorSpec],
        *,
        slots: int,
        max_batch: int,
        threads: int,
        parallel: int = 1,
        on_done: Callable[[], None] | None = None,
        fixed_batch: int | None = None,
        libraries: Sequence[str] = (),
    ) -> None:
        self.slots = slots
        self.max_batch = max_batch
        self.io = "in-place"
        self._fixed_batch = fixed_batch
        self._on_done = on_done
        session = open_session(path, threads or threads_of_a_run(parallel), libraries)
        # Where several run at a time, what a run costs is what its own thread costs; ORT's helpers are not told apart.
        clock = time.process_time_ns if parallel == 1 else time.thread_time_ns
        self._runner = _Runner(session, outputs, fixed_batch, clock)
        self._jobs: SimpleQueue[tuple[int, BatchInput, BatchOutput] | None] = SimpleQueue()
        self._finished = [threading.Event() for _ in range(slots)]
        self._elapsed: dict[int, Elapsed | Exception] = {}
        self._threads: list[threading.Thread] = []
        for number in range(parallel if parallel > 1 else 0):
            runner = _Runner(session, outputs, fixed_batch, clock)
            thread = threading.Thread(target=self._serve, args=(runner,), name=f"runner-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def announces(self) -> bool:
        """Whether ``on_done`` is called, so that nobody needs to wait for a certain batch."""
        return bool(self._threads)

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        """Start a batch; one at a time, run it to its end."""
        if self._threads:
            self._jobs.put((slot, batch, output))
        else:
            self._elapsed[slot] = self._runner.run(batch, output)
            self._finished[slot].set()

    def _serve(self, runner: _Runner) -> None:
        while (job := self._jobs.get()) is not None:
            slot, batch, output = job
            try:
                self._elapsed[slot] = runner.run(batch, output)
            except Exception as error:  # noqa: BLE001 - the top of the thread: `collect` raises it in the loop's
                self._elapsed[slot] = error
            self._finished[slot].set()
            if self._on_done is not None:
                self._on_done()

    def done(self, slot: int) -> bool:
        """Whether the slot's batch is done; never waits."""
        return self._finished[slot].is_set()

    def wait(self, slot: int, timeout_s: float) -> bool:
        """Wait until the slot's batch is done; False when the time ran out first."""
        return self._finished[slot].wait(timeout_s)

    def collect(self, slot: int) -> Elapsed:
        """End a batch that is done; raises what went wrong with it."""
        self._finished[slot].clear()
        elapsed = self._elapsed.pop(slot)
        if isinstance(elapsed, Exception):
            raise elapsed
        return elapsed

    def warm_up(self, height: int, width: int) -> None:
        """Run blank frames, so that the first real frame does not pay for lazy initialisation."""
        for _ in range(_WARM_UP_RUNS):
            self.run_blank(self._fixed_batch or 1, height, width)

    def run_blank(self, count: int, height: int, width: int) -> None:
        """Run ``count`` blank frames, for measuring."""
        self._runner.run_blank(count, height, width)

    def close(self) -> None:
        """Release the session, once what runs has ended."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(_CLOSE_S)
        self._threads.clear()
        self._elapsed.clear()


def threads_of_a_run(parallel: int, cores: int | None = None) -> int:
    """Threads of one run where ``parallel`` runs share the cores.

    A run's own thread works too, and the others of a session are shared by all its runs: together they make one a core.
    """
    available = len(os.sched_getaffinity(0)) if cores is None else cores
    return max(1, available - parallel + 1)
