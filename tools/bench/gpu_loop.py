# SPDX-License-Identifier: Apache-2.0
"""Host time of the GPU loop for a batch of separate frames, on a machine without a GPU.

    python -m tools.bench.gpu_loop [--batches 3000] [--sources 8] [--output FILE]

The loop, the rings, the executor and CUDA's Python bindings are the real ones; behind them is the tests' stand-in for
NVIDIA's driver, which does everything at once. So this is edged's own part: Python, locks and system calls. What the
driver's calls cost comes on top and is measured by ``tools/gpu_check.py fast``. Needs a C compiler and cuda-python.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.cuda import CudaGpu
from edged.gpu.engines import EngineInfo, ExecutionContext, LayerTime, Shape, ShapeRange, TensorInfo
from edged.records import TensorSpec
from tools.gpu.loop_time import Measured, loop_time, machine_costs

_ROOT = Path(__file__).resolve().parents[2]
_SOURCE = _ROOT / "tests" / "gpu_unit" / "stub_driver.c"
_FRAME = (64, 64, 3)
_OUTPUT = TensorSpec("detections", "float32", (100, 6))


class NoContext:
    """A context whose runs do nothing."""

    name, profile, closed = "nothing", 0, False

    def use_memory(self, memory: DeviceBuffer) -> None:
        """Nothing to use."""

    def use_profile(self, index: int, stream: Stream) -> None:
        """One profile."""

    def use_aux_streams(self, streams: list[Stream]) -> None:
        """Nothing runs beside."""

    def set_shape(self, name: str, shape: Shape) -> None:
        """Any."""

    def bind(self, name: str, address: int) -> None:
        """Nothing is read or written."""

    def on_input_consumed(self, event: Event) -> None:
        """Nothing is consumed."""

    def enqueue(self, stream: Stream) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to end."""

    def shape(self, name: str) -> Shape:
        """Unknown."""
        raise NotImplementedError(name)

    def timed_run(self, stream: Stream) -> list[LayerTime]:
        """No layers."""
        raise NotImplementedError(stream.name)


class NoEngine:
    """An engine for any frames that computes nothing."""

    name, closed = "nothing", False

    def __init__(self, batch: int) -> None:
        span = ShapeRange((1, *_FRAME), (batch, *_FRAME), (batch, *_FRAME))
        tensors = (
            TensorInfo("frames", True, "uint8", (-1, *_FRAME), (span,)),
            TensorInfo(_OUTPUT.name, False, _OUTPUT.dtype, (-1, *_OUTPUT.shape)),
        )
        self.info = EngineInfo("nothing", tensors, 1, (1024,), layers=1, aux_streams=0, plan_bytes=0)

    def context(self, name: str, *, own_memory: bool = True) -> NoContext:  # noqa: ARG002 - all are alike
        """Make a context."""
        return NoContext()

    def layers(self, context: ExecutionContext | None = None) -> dict[str, Any]:  # noqa: ARG002 - there are none
        """No layers."""
        return {}

    def close(self) -> None:
        """Nothing to end."""


def measure(library: Path, batches: int, sources: int) -> dict[str, Any]:
    """Measure in this process, which must not have loaded a driver."""
    # Loaded under the real driver's name before the bindings look for it.
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    gpu = CudaGpu(0)
    results: dict[str, Any] = {"machine_us": machine_costs()}
    for name, works in (("batched-copies", True), ("single-copies", False)):
        gpu.batched_copies.works = works
        measured = Measured(gpu, NoEngine(sources), [_OUTPUT], _FRAME[:2], sources=sources, feeders=1)
        results[name] = loop_time(measured, batches)
    gpu.close()
    return results


def main() -> int:
    """Compile the stand-in, measure in a process that finds it, and print the figures."""
    parser = argparse.ArgumentParser(description="host time of the GPU loop without a GPU")
    parser.add_argument("--batches", type=int, default=3000)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything measured as JSON")
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.library is not None:
        text = json.dumps(measure(given.library, given.batches, given.sources), indent=2)
        print(text)
        if given.output is not None:
            given.output.write_text(text + "\n", "utf-8")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libcuda.so.1"
        compiler = [
            "cc",
            "-shared",
            "-fPIC",
            "-O1",
            "-Wl,-soname,libcuda.so.1",
            "-o",
            str(library),
            str(_SOURCE),
            "-ldl",
        ]
        subprocess.run(compiler, check=True)
        again = [sys.executable, "-m", "tools.bench.gpu_loop", *sys.argv[1:], "--library", str(library)]
        paths = os.pathsep.join(filter(None, [folder, os.environ.get("LD_LIBRARY_PATH")]))
        return subprocess.run(again, env={**os.environ, "LD_LIBRARY_PATH": paths}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
