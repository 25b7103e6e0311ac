# SPDX-License-Identifier: Apache-2.0
"""The input step's kernel: its source, run by the CPU, computes what the input step's nodes compute."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.gpu.pixels import FORMS, PixelCall, PixelStep

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tools" / "kernels" / "pixels.cu"
PTX = ROOT / "edged" / "gpu" / "kernels" / "pixels.ptx"

# What CUDA's compiler knows and a C++ compiler does not. A run goes through all threads one after the other.
SHIM = """
#include <cmath>
#include <cstddef>
#define __device__
#define __forceinline__ inline
#define __global__
struct Place { unsigned int x; };
static thread_local Place blockIdx, blockDim, threadIdx;
struct uint2 { unsigned int x, y; };
struct float4 { float x, y, z, w; };
static uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static unsigned short to_half(float value) {
    _Float16 half = (_Float16)value;
    unsigned short bits;
    __builtin_memcpy(&bits, &half, 2);
    return bits;
}
"""
RUN = """
extern "C" void run(void** given, unsigned int blocks, unsigned int threads) {
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
            edged_pixels(*(const unsigned char**)given[0], *(void**)given[1], *(word*)given[2], *(word*)given[3],
                         *(Channels*)given[4], *(int*)given[5], *(int*)given[6]);
}
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here to compile the kernel's source with")
    folder = tmp_path_factory.mktemp("kernel")
    (folder / "pixels.cpp").write_text(SHIM + SOURCE.read_text() + RUN)
    command = [compiler, "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-o", "pixels.so", "pixels.cpp"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    if "_Float16" in made.stderr:
        pytest.skip("this g++ knows no half precision")
    assert made.returncode == 0, made.stderr
    return ctypes.CDLL(str(folder / "pixels.so"))


def image_of(
    kernel: ctypes.CDLL, frames: NDArray[np.uint8], step: PixelStep, layout: tuple[str, bool]
) -> NDArray[np.float32]:
    """The image that the kernel makes: N×3×H×W as float32, whatever the layout."""
    batch, height, width, _ = frames.shape
    form, size = FORMS[layout]
    dtype, packed = layout
    # A guard behind shows if it writes too far.
    image = np.full(batch * height * width * size + 64, 0x7B, np.uint8)
    start = -image.ctypes.data % 16
    call = PixelCall(step, form)
    source = np.zeros(frames.size + 4, np.uint8)
    shift = -source.ctypes.data % 4
    source[shift : shift + frames.size] = frames.reshape(-1)
    call.place(frames=source.ctypes.data + shift, image=image.ctypes.data + start)
    call.resize(batch, height, width)
    kernel.run(ctypes.c_void_p(call.address), call.blocks, 256)
    end = start + batch * height * width * size
    assert (image[end:] == 0x7B).all()
    values = image[start:end].view(dtype)
    if packed:
        quads = values.reshape(batch, height, width, 4)
        assert not quads[..., 3].any()
        return np.asarray(quads[..., :3].transpose(0, 3, 1, 2), np.float32)
    return np.asarray(values.reshape(batch, 3, height, width), np.float32)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 37), st.integers(1, 41)),
    rgb=st.booleans(),
    layout=st.sampled_from(sorted(FORMS)),
    seed=st.integers(0, 1000),
)
def test_it_computes_the_input_step(
    kernel: ctypes.CDLL, shape: tuple[int, int, int], rgb: bool, layout: tuple[str, bool], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    factor, shift = rng.uniform(0.001, 0.05, 3), rng.uniform(-3, 3, 3)
    found = image_of(kernel, frames, PixelStep((*factor,), (*shift,), rgb), layout)
    bgr = frames[..., ::-1] if rgb else frames
    wanted = (bgr * factor + shift).transpose(0, 3, 1, 2)
    tolerance = 1e-6 if layout[0] == "float32" else 1e-3
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_a_batch_of_a_real_size(kernel: ctypes.CDLL) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    step = PixelStep((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0), rgb=False)
    for layout in FORMS:
        found = image_of(kernel, frames, step, layout)
        np.testing.assert_allclose(found, frames.transpose(0, 3, 1, 2) / 255, atol=1e-3)


def test_the_compiled_kernel_is_shipped_for_every_gpu_that_is_supported() -> None:
    text = PTX.read_text()
    assert ".visible .entry edged_pixels(" in text
    assert ".target sm_70" in text
    # The parameters in the order in which `edged.gpu.pixels` gives them.
    sizes = ["u64", "u64", "u32", "u32", "b8 edged_pixels_param_4[24]", "u32", "u32"]
    head = text[: text.index("{")]
    assert [size in line for size, line in zip(sizes, head.split(",\n"), strict=True)] == [True] * 7
