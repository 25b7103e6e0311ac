# SPDX-License-Identifier: Apache-2.0
"""What the device can do at the most, measured on it: no table of devices, none of its clocks.

Memory: a large copy. Arithmetic: on the CPU a large matrix product; on a GPU the best that the engine's own layers
reach (`edged.bench.layers.verdict.raised`), because nothing else of edged computes there.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from edged.bench.layers.records import Ceilings
from edged.gpu.api import Gpu

_MIB = 1 << 20
_GPU_COPY = 256 * _MIB
"""More than any GPU's cache holds."""
_CPU_COPY = 128 * _MIB
_COPIES = 4
_ROUNDS = 5
_SIDE = 1024
_DEADLINE_S = 30.0


def gpu_ceilings(gpu: Gpu) -> Ceilings:
    """Memory bandwidth of a GPU; takes up to 512 MiB of its memory for some milliseconds.

    Raises:
        CudaError: the GPU refuses.
    """
    size = min(_GPU_COPY, gpu.memory().free // 8)
    with ExitStack() as stack:
        stream = stack.enter_context(closing(gpu.stream("bandwidth")))
        source, target = (stack.enter_context(closing(gpu.device_buffer(f"bandwidth {n}", size))) for n in range(2))
        begun, ended = (stack.enter_context(closing(gpu.event(f"bandwidth {n}", timing=True))) for n in range(2))
        # What device memory holds is undefined, and a copy reads it: both copies are of what was written before.
        with closing(gpu.host_buffer("bandwidth noise", size)) as noise:
            stream.copy_in(source, 0, noise.address, size)
            stream.synchronize()
        best = 0.0
        for _ in range(_ROUNDS):
            begun.record(stream)
            for _ in range(_COPIES):
                stream.copy_across(target, source, size)
            ended.record(stream)
            if not ended.wait(_DEADLINE_S):
                break
            took = ended.since(begun)
            best = max(best, 2e3 * size * _COPIES / took if took > 0 else 0.0)
    if not best:
        return Ceilings(how=("memory: could not be measured",))
    return Ceilings(best, how=(f"memory: a copy of {size // _MIB} MiB within the device",))


def cpu_ceilings(threads: int) -> Ceilings:
    """Memory bandwidth and float32 arithmetic of the CPU; takes about a second.

    Args:
        threads: that a run of the model uses; 0 for all cores.
    """
    count = threads or len(os.sched_getaffinity(0))
    how = (
        f"memory: a copy of {_CPU_COPY // _MIB} MiB by {count} threads",
        f"fp32: a product of {_SIDE}x{_SIDE} matrices in ONNX Runtime",
    )
    return Ceilings(_copy_rate(count), {"fp32": _product_rate(threads)}, how)


def _copy_rate(threads: int) -> float:
    """Bytes a second, read and written."""
    source, target = np.ones(_CPU_COPY, np.uint8), np.zeros(_CPU_COPY, np.uint8)
    edges = [_CPU_COPY * number // threads for number in range(threads + 1)]
    pieces = [slice(low, high) for low, high in pairwise(edges)]

    def copy(piece: slice) -> None:
        np.copyto(target[piece], source[piece])

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            list(pool.map(copy, pieces))
            best = max(best, 2 * _CPU_COPY / (time.perf_counter() - begin))
    return best


def _product_rate(threads: int) -> float:
    """Operations a second of a float32 matrix product, by the library and with the threads that the model has."""
    square = [_SIDE, _SIDE]
    matrix: NDArray[np.float32] = np.random.default_rng(0).standard_normal(square, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, square)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, square)],
        [numpy_helper.from_array(matrix, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    best = 0.0
    for _ in range(1 + _ROUNDS):
        begin = time.perf_counter()
        session.run(None, {"a": matrix})
        best = max(best, 2 * _SIDE**3 / (time.perf_counter() - begin))
    return best
