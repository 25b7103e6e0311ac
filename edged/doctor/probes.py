# SPDX-License-Identifier: Apache-2.0
"""What is asked of each library, in a child process. Every step is announced before it is done."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Protocol


class Tell(Protocol):
    """Takes facts as they come; ``doing`` is the next step."""

    def __call__(self, **facts: Any) -> None:
        """Tell."""
        ...


def cuda(tell: Tell, request: dict[str, Any]) -> None:
    """CUDA's bindings, the driver behind them, and one GPU.

    Raises:
        DeviceUnavailableError: one of them is not there.
    """
    from edged.errors import DeviceUnavailableError
    from edged.gpu import load
    from edged.gpu.calls import check
    from edged.gpu.cuda import CudaGpu

    tell(doing="importing CUDA's Python bindings")
    driver = load.cuda_driver()
    package = sys.modules["cuda.bindings"]
    tell(bindings=str(getattr(package, "__version__", "unknown")), at=_place(package))
    doing = "asking the NVIDIA driver for its version"
    tell(doing=doing)
    try:
        outcome = driver.cuDriverGetVersion()
    except RuntimeError as error:
        raise DeviceUnavailableError(f"the driver's library libcuda cannot be loaded ({error})") from error
    tell(cuda=int(check(outcome, doing)))
    tell(doing=f"opening GPU {request['device']}")
    gpu = CudaGpu(int(request["device"]))
    device = gpu.device
    tell(
        gpu=device.name,
        compute_capability=list(device.compute_capability),
        integrated=device.integrated,
        memory=list(gpu.memory()),
    )
    gpu.close()


def tensorrt(tell: Tell, _request: dict[str, Any]) -> None:
    """TensorRT, where it comes from, and whether it starts.

    Raises:
        DeviceUnavailableError: it cannot be imported.
    """
    from edged.gpu import load
    from edged.gpu.trt import TensorRt

    tell(doing="importing TensorRT")
    module = load.tensorrt()
    tell(version=str(module.__version__), at=_place(module), packages=_packages("tensorrt"))
    tell(doing="starting TensorRT")
    library = TensorRt()
    try:
        library.trt.Runtime(library.logger)
    except (TypeError, RuntimeError) as error:  # pybind's word for "the factory returned nothing"
        tell(does_not_start=library.messages.reason() or str(error))
    tell(libraries=_mapped(r"libnvinfer|libcudart|libcuda\.so"))


def facts(tell: Tell, request: dict[str, Any]) -> None:
    """What engines have to fit here, as a start asks it.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
    """
    import msgspec

    from edged.engine.here import facts_here

    tell(doing="asking the GPU and TensorRT what they are")
    found = facts_here(request["backend"], int(request["device"]))
    tell(facts=None if found is None else msgspec.to_builtins(found))


def opencv(tell: Tell, _request: dict[str, Any]) -> None:
    """NumPy, then OpenCV on top of it."""
    tell(doing="importing NumPy")
    import numpy as np

    tell(numpy=np.__version__, numpy_at=_place(np), packages=_packages("opencv"))
    tell(doing="importing OpenCV")
    import cv2

    tell(version=cv2.__version__, at=_place(cv2))
    build = cv2.getBuildInformation()
    tell(
        v4l2=_built_with(build, "v4l/v4l2"),
        gstreamer=_built_with(build, "GStreamer"),
    )
    tell(doing="resizing a picture with OpenCV")
    cv2.resize(np.zeros((8, 8, 3), np.uint8), (4, 4), dst=np.empty((4, 4, 3), np.uint8))


def ffmpeg(tell: Tell, _request: dict[str, Any]) -> None:
    """FFmpeg as PyAV brings it, and the decoders that cameras need."""
    tell(doing="importing PyAV")
    import av
    import av.codec

    tell(version=av.__version__, at=_place(av))
    tell(libavcodec=".".join(map(str, av.library_versions["libavcodec"])))
    known = av.codec.codecs_available
    tell(
        missing=[
            shown for name, shown in (("h264", "H.264"), ("hevc", "H.265"), ("mjpeg", "MJPEG")) if name not in known
        ]
    )


def onnxruntime(tell: Tell, _request: dict[str, Any]) -> None:
    """ONNX Runtime: one run of the model that edged brings."""
    import numpy as np

    tell(doing="importing ONNX Runtime")
    import onnxruntime as ort

    tell(version=str(ort.__version__), at=_place(ort))
    tell(doing="running a small model")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = resources.files("edged").joinpath("assets/shapes.onnx").read_bytes()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (frames,) = session.get_inputs()
    shape = [extent if isinstance(extent, int) else 1 for extent in frames.shape]
    outputs = session.run(None, {frames.name: np.zeros(shape, np.float32)})
    tell(outputs=[list(output.shape) for output in outputs], finite=bool(all(np.isfinite(o).all() for o in outputs)))


def _place(module: Any) -> str:
    """The folder that a module was loaded from."""
    file = getattr(module, "__file__", None)
    return str(Path(file).parent) if file else str(next(iter(getattr(module, "__path__", [])), "unknown"))


def _packages(prefix: str) -> list[str]:
    """Installed packages whose name starts so, with their versions."""
    found = {
        f"{name} {package.version}"
        for package in metadata.distributions()
        if (name := str(package.metadata["Name"] or "").lower()).startswith(prefix)
    }
    return sorted(found)


def _built_with(build: str, name: str) -> bool:
    return re.search(rf"{name}:\s+YES", build) is not None


def _mapped(pattern: str) -> list[str]:
    """Libraries that are loaded in this process."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if line.count(" ") >= 5 and "/" in line}
    return sorted(path for path in paths if re.search(pattern, Path(path).name))


PROBES: dict[str, Callable[[Tell, dict[str, Any]], None]] = {
    "cuda": cuda,
    "tensorrt": tensorrt,
    "facts": facts,
    "opencv": opencv,
    "ffmpeg": ffmpeg,
    "onnxruntime": onnxruntime,
}
