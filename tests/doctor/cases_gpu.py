# SPDX-License-Identifier: Apache-2.0
"""Cases: driver, device nodes, CUDA."""

from __future__ import annotations

from doctor.doctor_rig import CRASH, HANG, Cases, Rig, cuda, discrete, jetson, on_pci

CASES = case = Cases()


@case("driver", "problem", "no NVIDIA GPU", '"auto"')
def tensorrt_was_asked_for(rig: Rig) -> None:
    rig.settings(engine={"backend": "tensorrt"})


@case("driver", "skipped", "ONNX Runtime")
def no_gpu(rig: Rig) -> None:
    rig.settings()


@case("driver", "skipped", "onnxruntime")
def not_wanted(rig: Rig) -> None:
    discrete(rig)
    rig.settings(engine={"backend": "onnxruntime"})


@case("driver", "problem", "not loaded", "ubuntu-drivers")
def not_installed(rig: Rig) -> None:
    on_pci(rig)


@case("driver", "problem", "nouveau", "blacklist nouveau")
def nouveau_holds_it(rig: Rig) -> None:
    on_pci(rig)
    rig.file("/sys/module/nouveau/refcnt", "1")


@case("driver", "problem", "470.256.02 is older", "525")
def old_driver(rig: Rig) -> None:
    discrete(rig, "470.256.02")


@case("driver", "ok", "580.65.06")
def discrete_driver(rig: Rig) -> None:
    discrete(rig)


@case("driver", "problem", "35.4.1 is too old", "JetPack 6")
def old_jetpack(rig: Rig) -> None:
    jetson(rig, "# R35 (release), REVISION: 4.1, GCID: 1")


@case("driver", "problem", "not loaded", "modprobe nvgpu")
def jetson_without_module(rig: Rig) -> None:
    rig.file("/proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")


@case("driver", "ok", "L4T 36.4.3")
def jetson_driver(rig: Rig) -> None:
    jetson(rig)


@case("driver-library", "problem", "old version 535.1.1", "reboot")
def updated_while_loaded(rig: Rig) -> None:
    discrete(rig, "535.1.1")
    rig.file("/usr/lib/x86_64-linux-gnu/libcuda.so.580.65.06")


@case("driver-library", "problem", "not installed", "libnvidia-compute-580")
def no_libcuda(rig: Rig) -> None:
    discrete(rig)
    rig.library("cuda/bindings/__init__.py", "raise ImportError('not here')")


@case("driver-library", "ok", "somewhere else")
def libcuda_in_another_folder(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)


@case("driver-library", "ok", "580.65.06")
def same_version(rig: Rig) -> None:
    discrete(rig)
    rig.file("/usr/lib/aarch64-linux-gnu/libcuda.so.580.65.06")


@case("device-nodes", "problem", "there is no /dev/nvidiactl", "nvidia-modprobe")
def no_nodes(rig: Rig) -> None:
    discrete(rig)


@case("device-nodes", "problem", "/dev/nvmap", "video,render")
def jetson_nodes_of_root(rig: Rig) -> None:
    jetson(rig)
    rig.file("/dev/nvmap").chmod(0o000)
    rig.file("/dev/nvhost-prof-gpu").chmod(0o000)
    rig.as_nobody()


@case("device-nodes", "problem", "renderD128", "udev")
def closed_to_every_group(rig: Rig) -> None:
    jetson(rig)
    rig.file("/dev/nvmap").chmod(0o666)
    rig.file("/dev/dri/renderD128").chmod(0o000)
    rig.as_nobody()


@case("device-nodes", "ok", "3 nodes")
def open_nodes(rig: Rig) -> None:
    discrete(rig)
    for name in ("nvidiactl", "nvidia0", "nvidia-uvm"):
        rig.file(f"/dev/{name}").chmod(0o666)
    rig.as_nobody()


@case("nvidia-uvm", "problem", "not loaded", "nvidia-modprobe -u")
def uvm_not_loaded(rig: Rig) -> None:
    discrete(rig)
    rig.file("/proc/modules", "nvidia 1 0 - Live 0x0\nnvidia_drm 1 0 - Live 0x0\n")


@case("nvidia-uvm", "problem", "node is missing", "modules-load.d")
def uvm_without_node(rig: Rig) -> None:
    discrete(rig)
    rig.file("/proc/modules", "nvidia_uvm 1 0 - Live 0x0\n")


@case("nvidia-uvm", "ok", "loaded")
def uvm_loaded(rig: Rig) -> None:
    discrete(rig)
    rig.file("/proc/modules", "nvidia_uvm 1 0 - Live 0x0\n")
    rig.file("/dev/nvidia-uvm")


@case("cuda-bindings", "problem", "cannot be imported", "cuda-python")
def no_bindings(rig: Rig) -> None:
    discrete(rig)
    rig.library("cuda/bindings/__init__.py", "raise ImportError('not here')")


@case("cuda-bindings", "problem", "12.9.0 holds Python's lock", "cuda-python>=12.9.10")
def bindings_that_hold_the_lock(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, "12.9.0")


@case("cuda-bindings", "problem", "crashed (SIGSEGV)", "cuda-python")
def bindings_that_crash(rig: Rig) -> None:
    discrete(rig)
    rig.library("cuda/bindings/__init__.py", CRASH)


@case("cuda-bindings", "ok", "12.9.10")
def bindings(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)


@case("cuda-version", "problem", "bindings for CUDA 13", "<13")
def bindings_newer_than_driver(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, "13.4.1")


@case("cuda-version", "problem", "11.8 is too old", "525")
def driver_with_cuda_11(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, driver=11080)


@case("cuda-version", "ok", "12.6")
def versions_that_fit(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)


@case("gpu", "problem", "opening GPU 3", "engine.device")
def gpu_that_is_not_there(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, init=100)
    rig.settings(engine={"device": 3})


@case("gpu", "problem", "no answer within", "Xid".lower())
def gpu_that_hangs(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
    rig.library(
        "cuda/bindings/driver.py",
        f"def cuDriverGetVersion(): return 0, 12060\ndef cuInit(flags):\n    exec({HANG!r})\n",
    )
    rig.probe_limit_s = 1.5


@case("gpu", "warning", "only 100 MiB are free", "nvidia-smi")
def full_gpu(rig: Rig) -> None:
    discrete(rig)
    cuda(rig, free=100)


@case("gpu", "ok", "Orin, compute capability 8.7")
def gpu(rig: Rig) -> None:
    discrete(rig)
    cuda(rig)
