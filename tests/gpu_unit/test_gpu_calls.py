# SPDX-License-Identifier: Apache-2.0
"""The choke point of CUDA calls, the table of errors, and importing without any GPU library."""

import pickle
import subprocess
import sys
from enum import IntEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.errors import DeviceUnavailableError, EdgedError, RestartWantedError
from edged.gpu import load
from edged.gpu.calls import check, failure, ready, release
from edged.gpu.codes import CAPTURE, MEANINGS, MISSING, STICKY
from edged.gpu.errors import CaptureError, CudaError, GpuLostError, GpuMemoryError


class Result(IntEnum):
    """Stands for the bindings' enumeration."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_SOMETHING_NEW = 4242


def test_success_gives_the_values() -> None:
    assert check((Result.CUDA_SUCCESS,), "x") is None
    assert check((0, 7), "x") == 7
    assert check((0, 7, 8), "x") == (7, 8)


def test_an_error_says_what_failed_and_what_was_being_done() -> None:
    with pytest.raises(GpuMemoryError) as caught:
        check((Result.CUDA_ERROR_OUT_OF_MEMORY, None), "taking 5 bytes for slot 0")
    text = str(caught.value)
    assert "CUDA_ERROR_OUT_OF_MEMORY" in text
    assert "taking 5 bytes for slot 0" in text
    assert "max_batch" in text
    assert (caught.value.code, caught.value.exit_code, caught.value.sticky) == (2, 69, False)


def test_an_unknown_error_keeps_the_bindings_name() -> None:
    with pytest.raises(CudaError, match="CUDA_ERROR_SOMETHING_NEW, 4242"):
        check((Result.CUDA_ERROR_SOMETHING_NEW,), "x")
    assert "4243" in str(failure(4243, "x"))


@settings(deadline=None, max_examples=200)
@given(code=st.one_of(st.sampled_from(sorted(MEANINGS)), st.integers(1, 2000)))
def test_every_number_gives_one_line_of_the_right_kind(code: int) -> None:
    error = failure(code, "doing it")
    assert isinstance(error, EdgedError)
    assert "doing it" in str(error)
    assert str(code) in str(error)
    assert "\n" not in str(error)
    if code in MISSING:
        assert isinstance(error, DeviceUnavailableError)
        return
    assert isinstance(error, CudaError)
    assert isinstance(error, GpuLostError) == (code in STICKY) == error.sticky
    assert isinstance(error, RestartWantedError) == (code in STICKY)
    assert isinstance(error, DeviceUnavailableError) == (code == 2)
    assert error.exit_code == (75 if code in STICKY else 69 if code == 2 else 70)
    assert isinstance(error, CaptureError) == (code in CAPTURE)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.name, str(again)) == (type(error), code, error.name, str(error))


def test_the_kinds_exclude_each_other_and_are_described() -> None:
    assert not STICKY & MISSING
    assert not CAPTURE & (MISSING | STICKY)
    assert MEANINGS.keys() >= STICKY | MISSING | CAPTURE


def test_a_query_tells_ready_from_broken() -> None:
    assert ready((0,), "x")
    assert not ready((600,), "x")
    with pytest.raises(GpuLostError):
        ready((700,), "x")


def test_giving_back_on_a_lost_gpu_is_silent_and_a_bug_is_not() -> None:
    release((0,), "x")
    release((719,), "x")
    with pytest.raises(CudaError, match="INVALID_HANDLE"):
        release((400,), "x")


def test_missing_libraries_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(DeviceUnavailableError, match=r"edged\[tensorrt-cu12\]") as caught:
        load.cuda_driver()
    assert caught.value.exit_code == 69
    with pytest.raises(DeviceUnavailableError, match="TensorRT cannot be imported"):
        load.tensorrt("no_such_tensorrt")


def test_importing_the_package_loads_no_gpu_library() -> None:
    code = (
        "import sys, edged.gpu, edged.gpu.api, edged.gpu.cuda, edged.gpu.trt, edged.gpu.trt.build, edged.gpu.fake\n"
        "assert not [name for name in sys.modules if name in ('cuda.bindings', 'tensorrt', 'tensorrt_rtx')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
