# SPDX-License-Identifier: Apache-2.0
"""Cases: TensorRT, engines, memory to lock."""

from __future__ import annotations

from doctor.doctor_rig import CRASH, HANG, Cases, Rig, cuda, discrete, jetson, tensorrt, wheel
from support.engines import manifest, write_model

from edged.engine.shelf import Content, hold
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec

CASES = case = Cases()


@case("tensorrt", "problem", "cannot be imported", "edged[tensorrt-cu12]")
def no_tensorrt(rig: Rig) -> None:
    discrete(rig)
    rig.library("tensorrt/__init__.py", "raise ImportError('libnvinfer.so.10: cannot open shared object file')")


@case("tensorrt", "problem", "crashed (SIGSEGV)", "edged[tensorrt-cu12]")
def tensorrt_that_crashes(rig: Rig) -> None:
    discrete(rig)
    rig.library("tensorrt/__init__.py", CRASH)


@case("tensorrt", "problem", "no answer within", "python3-libnvinfer")
def tensorrt_that_hangs(rig: Rig) -> None:
    jetson(rig)
    rig.library("tensorrt/__init__.py", HANG)
    rig.probe_limit_s = 1.5


@case("tensorrt", "problem", "is a wheel", "pip uninstall tensorrt-cu13")
def wheel_on_a_jetson(rig: Rig) -> None:
    jetson(rig)
    tensorrt(rig, "11.4.0")
    wheel(rig, "tensorrt-cu13", "11.4.0")


@case("tensorrt", "problem", "older than 8.6", "tensorrt-cu12")
def tensorrt_8_5(rig: Rig) -> None:
    discrete(rig)
    tensorrt(rig, "8.5.2")


@case("tensorrt", "ok", "10.3.0, from the wheel")
def tensorrt_from_a_wheel(rig: Rig) -> None:
    discrete(rig)
    tensorrt(rig)


@case("tensorrt-fit", "problem", "for CUDA 13 on a driver with CUDA 12.6", "tensorrt-cu12")
def tensorrt_for_a_newer_cuda(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    tensorrt(rig, "10.13.0")
    wheel(rig, "tensorrt-cu13", "10.13.0")


@case("tensorrt-fit", "problem", "does not start: CUDA initialization failure", "nvidia-uvm")
def tensorrt_that_does_not_start(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    tensorrt(rig, fails="CUDA initialization failure with error: 35")


@case("tensorrt-fit", "problem", "starting TensorRT: crashed (SIGSEGV)", "reinstall")
def tensorrt_that_crashes_at_its_start(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    tensorrt(rig, starting="import os; os.kill(os.getpid(), 11)")


@case("tensorrt-fit", "ok", "starts")
def tensorrt_that_fits(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    tensorrt(rig)


@case("tensorrt-fit", "problem", "TensorRT 10.5.0 has no support for compute capability 7.0", "tensorrt-cu12<10.5")
def volta_after_its_last_tensorrt(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, capability=(7, 0))
    tensorrt(rig, "10.5.0")


@case("tensorrt-fit", "ok", "starts")
def volta_with_its_last_tensorrt(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, capability=(7, 0))
    tensorrt(rig, "10.4.0")


@case("tensorrt-fit", "problem", "no support for compute capability 6.1", "newer GPU")
def pascal(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, capability=(6, 1))
    tensorrt(rig, "10.0.1")


@case("tensorrt-fit", "problem", "TensorRT 10.7.0 is older than this GPU, of compute capability 12.0", "10.8 or later")
def blackwell_with_an_older_tensorrt(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, driver=12080, capability=(12, 0))
    tensorrt(rig, "10.7.0")


def _store(rig: Rig, **fields: object) -> None:
    rig.settings(engine={"backend": "tensorrt"})
    digest = spec_digest(load_spec(write_model(rig.folder / "model")))
    content = b"plan" * 100
    made = manifest(content, model=digest, **fields)
    with hold(rig.folder / "state", "tiny") as shelf:
        shelf.put(made, Content(content))
        shelf.make_current(made, chosen=True)


def _orin(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    tensorrt(rig)


@case("engine", "problem", "GPU: built for H200, here Orin", "edged-build-engine")
def engine_of_another_gpu(rig: Rig) -> None:
    _orin(rig)
    _store(rig, gpu="H200")


@case("engine", "problem", "no tensorrt engine has been built", "edged-build-engine")
def nothing_built(rig: Rig) -> None:
    _orin(rig)
    rig.settings(engine={"backend": "tensorrt"})


@case("engine", "warning", "builds it first", "edged-build-engine")
def built_at_the_start(rig: Rig) -> None:
    _orin(rig)
    rig.settings(engine={"backend": "tensorrt", "build": "on-start"})


@case("engine", "ok", "tensorrt fp16 is valid here")
def valid_engine(rig: Rig) -> None:
    _orin(rig)
    _store(rig)


@case("engine", "ok", "none needed")
def no_engine_needed(rig: Rig) -> None:
    rig.settings(engine={"backend": "onnxruntime"})


@case("memlock", "warning", "may be locked", "LimitMEMLOCK")
def little_may_be_locked(rig: Rig) -> None:
    discrete(rig)
    rig.settings()
    rig.file("/proc/self/limits", "Max locked memory         8192                 8192                 bytes\n")


@case("memlock", "ok", "may be locked")
def all_may_be_locked(rig: Rig) -> None:
    discrete(rig)
    rig.settings()
    rig.file("/proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n")
