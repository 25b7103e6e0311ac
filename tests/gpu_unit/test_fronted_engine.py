# SPDX-License-Identifier: Apache-2.0
"""The input step's kernel in front of an engine, in the executor on the accounting GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from gpu_unit.executor_rig import FRAME, OUTPUTS, Rig
from numpy.typing import NDArray

from edged.errors import EngineError
from edged.gpu.engines import ShapeRange, TensorInfo
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.pixels import FakePixelKernel
from edged.gpu.fronted import KERNEL, Front, FrontedEngine
from edged.gpu.pixels import PixelStep
from edged.gpu.plan_file import FrontSpec, packed_plan, unpacked_plan
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

HEIGHT, WIDTH, _ = FRAME
STEP = PixelStep((2.0, 2.0, 2.0), (1.0, 1.0, 1.0), rgb=True)


def sums_of_image(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """What `gpu_unit.executor_rig.sums` computes, out of the image that STEP makes."""
    pixels = (given["image"].astype(np.float64) - 1.0) / 2.0
    bgr = pixels[:, ::-1].transpose(0, 2, 3, 1).reshape(len(pixels), -1)
    return {"sum": bgr.sum(1, keepdims=True).astype(np.float32), "last": bgr[:, -2:].astype(np.uint8)}


def fronted(gpu: FakeGpu, dtype: str = "float16", channels: int = 3, *, packed: bool = False) -> FrontedEngine:
    low, best, high = ((size, channels, HEIGHT, WIDTH) for size in (1, 4, 16))
    tensors = [
        TensorInfo("image", True, dtype, (-1, channels, HEIGHT, WIDTH), (ShapeRange(low, best, high),)),
        TensorInfo("last", False, "uint8", (-1, 2)),
        TensorInfo("sum", False, "float32", (-1, 1)),
    ]
    inner = gpu.engine("sums of image", tensors, sums_of_image)
    return FrontedEngine(
        gpu.machine.inventory,
        inner,
        FakePixelKernel(gpu.machine),
        Front("frames", STEP, packed),
        gpu.device_buffer,
        lambda name: gpu.event(name, timing=True),
    )


class FrontedRig(Rig):
    """The executor's rig with a kernel in front of the engine."""

    def __init__(self, gpu: FakeGpu, dtype: str, **options: Any) -> None:
        super().__init__(gpu)
        assert self.executor is not None
        self.executor.close()
        self.engine.close()
        self.front = fronted(gpu, dtype)
        chosen = GpuOptions(**{"slots": 2, "max_batch": 8, **options})
        self.executor = TensorRtExecutor(gpu, self.front, OUTPUTS, self.rings, chosen)

    def end(self) -> None:
        assert self.executor is not None
        self.executor.close()
        self.front.close()
        assert self.gpu.close() == ()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("io", ["copy", "staged", "mapped"])
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("contexts", [1, 2])
def test_results_belong_to_their_frames(dtype: str, io: str, graphs: bool, contexts: int) -> None:
    rig = FrontedRig(FakeGpu(integrated=io == "mapped"), dtype, io=io, graphs=graphs, contexts=contexts)
    for count in (1, 3, 8):
        rig.run(0, list(range(count)), list(range(count)))
        rig.run(1, [15 - place for place in range(count)], list(range(10, 10 + count)))
    rig.end()


def test_the_engine_looks_like_one_that_takes_frames() -> None:
    gpu = FakeGpu()
    engine = fronted(gpu)
    (given,) = engine.info.inputs
    assert (given.name, given.dtype, given.shape) == ("frames", "uint8", (-1, HEIGHT, WIDTH, 3))
    assert given.ranges[0].largest == (16, HEIGHT, WIDTH, 3)
    # The image of the largest batch lies behind the activations.
    assert engine.info.activation_bytes == (1024 + 16 * HEIGHT * WIDTH * 6,)
    engine.close()
    assert gpu.close() == ()


def test_a_context_with_its_own_memory_runs_and_tells_the_time_of_the_kernel() -> None:
    gpu = FakeGpu()
    engine, stream = fronted(gpu), gpu.stream("main")
    frames, out = gpu.device_buffer("frames", 96 * 2), gpu.device_buffer("out", 512)
    host = gpu.host_buffer("host", 256)
    host.array[:192] = 7
    context = engine.context("own")
    context.set_shape("frames", (2, *FRAME))
    assert context.shape("frames") == (2, *FRAME)
    assert context.shape("sum") == (2, 1)
    for name, address in (("frames", frames.address), ("sum", out.address), ("last", out.address + 256)):
        context.bind(name, address)
    stream.copy_in(frames, 0, host.address, 192)
    layers = context.timed_run(stream)
    assert [layer.name for layer in layers] == [KERNEL, "sums of image"]
    stream.copy_out(host.address, out, 0, 8)
    stream.synchronize()
    assert host.array[:8].view(np.float32).tolist() == [7 * 96, 7 * 96]
    for thing in (context, engine, stream, frames, out, host):
        thing.close()
    assert gpu.close() == ()


def test_an_image_that_the_kernel_cannot_make_is_refused() -> None:
    for options in ({"dtype": "int8"}, {"dtype": "float32", "packed": True}, {"channels": 4}):
        with pytest.raises(EngineError, match="kernel makes"):
            fronted(FakeGpu(), **options)


def test_a_plan_file_holds_what_stands_in_front() -> None:
    step = PixelStep((0.1, 1 / 3, 0.3), (-1.5, 0.0, 2.0), rgb=True)
    content = packed_plan(b"\x00plan\n", FrontSpec("frames", step))
    front, plan = unpacked_plan(content, "x")
    assert front == FrontSpec("frames", step)
    assert bytes(plan) == b"\x00plan\n"
    assert unpacked_plan(b"ptrt rest", "x") == (None, memoryview(b"ptrt rest"))


@pytest.mark.parametrize(
    "line", [b"{", b"{}", b'{"factor": [1], "shift": [1, 2, 3], "rgb": true, "frames": "f"}', b"[]"]
)
def test_a_first_line_that_cannot_be_read_is_refused(line: bytes) -> None:
    with pytest.raises(EngineError, match="first line"):
        unpacked_plan(b"edged plan 1\n" + line + b"\nplan", "engine.plan")
