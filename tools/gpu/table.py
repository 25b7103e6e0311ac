# SPDX-License-Identifier: Apache-2.0
"""ResNet-50 in a table: PyTorch eager and compiled beside edged at every precision."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.gpu.api import Gpu
from edged.stages.capture.shapes import ShapesScene
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.fast import Pumped
from tools.gpu.results import SkippedError, attempt
from tools.gpu.rig import ROOT, Host, Model, Pipe

ENGINES = {
    "fp32": ("resnet50", "fp32"),
    "tf32": ("resnet50", "tf32"),
    "fp16": ("resnet50", "fp16"),
    "int8": ("resnet50-int8", "int8"),
}
BATCHES = (1, 8, 32)
IMAGES = 512
_LATENCIES = 300
_ROUND_S = 0.5
_TORCH_S = 150.0
_EXACT = 1e-3


class Agreement(NamedTuple):
    """How one's scores agree with those of a reference: relative norm over all, and share of equal best classes."""

    relative: float
    top1: float


def scenes(count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pictures as edged's synthetic source draws them: of some scenes, far apart in time, so that no two are alike."""
    height, width = size
    drawn = [ShapesScene(seed=number % 64, width=width, height=height).render(number * 37) for number in range(count)]
    return np.stack(drawn)


def agreement(found: NDArray[Any], reference: NDArray[Any]) -> Agreement:
    """Compare scores ``n×k``."""
    apart = np.linalg.norm(found.astype(np.float64) - reference) / np.linalg.norm(reference)
    return Agreement(float(apart), float((found.argmax(axis=1) == reference.argmax(axis=1)).mean()))


def speed(gpu: Gpu, model: Model, batch: int, round_s: float = _ROUND_S, latencies: int = _LATENCIES) -> dict[str, Any]:
    """Frames a second with two slots full, milliseconds of a batch on its own, and the GPU memory of all of it."""
    prepared = model.prepared
    options = GpuOptions(slots=2, max_batch=batch)
    with closing(Pipe(gpu, model.engine, prepared.outputs, prepared.input_size, options)) as pipe:
        pumped = Pumped(pipe, batch, np.random.default_rng(batch))
        pumped.run(20)
        count = max(20, int(round_s / (pumped.run(20) / 20)))
        rates = [batch * count / pumped.run(count) for _ in range(3)]
        taken = [pumped.run(1) * 1e3 for _ in range(latencies)]
        memory = pipe.executor.footprint.taken
        del pumped
    return {
        "frames_per_s": round(sorted(rates)[1]),
        "p50_ms": round(float(np.percentile(taken, 50)), 3),
        "p99_ms": round(float(np.percentile(taken, 99)), 3),
        "executor_mib": round(memory / 2**20, 1),
    }


def scores(gpu: Gpu, model: Model, images: NDArray[np.uint8], most: int = max(BATCHES)) -> NDArray[Any]:
    """The model's output for pictures, through the pipeline, in batches of ``most``."""
    prepared = model.prepared
    options = GpuOptions(slots=2, max_batch=most)
    with closing(Pipe(gpu, model.engine, prepared.outputs, prepared.input_size, options)) as pipe:
        parts = [next(iter(pipe.run(images[first : first + most]).values())) for first in range(0, len(images), most)]
    return np.concatenate(parts)


def edged_rows(host: Host, results: dict[str, Any]) -> None:
    """edged's rows: speed by batch, and agreement with its FP32 engine and that with ONNX Runtime."""
    images: NDArray[np.uint8] | None = None
    reference: NDArray[Any] | None = None

    def one(name: str, precision: str) -> dict[str, Any]:
        nonlocal images, reference
        before = host.gpu.memory().free
        with host.model(name, precision) as model:
            weights = before - host.gpu.memory().free
            for batch in BATCHES:
                row = speed(host.gpu, model, batch)
                row["memory_mib"] = round(weights / 2**20 + row["executor_mib"], 1)
                results[f"edged-{precision}-{batch}"] = row
                print(f"edged-{precision}-{batch}", row, flush=True)
            if images is None:
                images = scenes(IMAGES, model.prepared.input_size)
            found = scores(host.gpu, model, images)
            if precision == "fp32":
                reference = found
                return _beside_onnx_runtime(model, images, found)
        if reference is None:
            raise SkippedError("there are no scores of FP32 to compare with")
        relative, top1 = agreement(found, reference)
        fine = bool(np.isfinite(found).all())
        return {"ok": fine, "images": len(found), "relative": round(relative, 6), "top1_agreement": round(top1, 4)}

    for precision, (name, kind) in ENGINES.items():
        attempt(results, f"agreement-{precision}", partial(one, name, kind))


def _beside_onnx_runtime(model: Model, images: NDArray[np.uint8], found: NDArray[Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.prepared.path, providers=["CPUExecutionProvider"])
    some = images[:128]
    parts = [session.run(None, {"frames": some[first : first + 16]})[0] for first in range(0, len(some), 16)]
    relative, top1 = agreement(found[: len(some)], np.concatenate(parts))
    classes = len(set(found.argmax(axis=1).tolist()))
    return {
        "ok": relative <= _EXACT,
        "target": f"relative to ONNX Runtime <= {_EXACT:g}",
        "relative": relative,
        "top1_agreement": top1,
        "images": len(some),
        "classes_seen": classes,
    }


def torch_rows(folder: Path, python: str, limit_s: float = _TORCH_S) -> dict[str, Any]:
    """PyTorch's rows, measured in a process of the Python that has it.

    Raises:
        SkippedError: it gave no figures.
    """
    output = folder / "torch.json"
    output.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    # TensorRT's Python has stand-ins there for libraries that PyTorch really uses.
    paths = environment.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if Path(path).name != "stubs")
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    script = str(ROOT / "tools" / "gpu" / "torch_baseline.py")
    begin = time.monotonic()
    try:
        ended = subprocess.run(
            [python, "-u", script, str(output), str(limit_s - 30)], env=environment, timeout=limit_s, check=False
        )
        why = f"it ended with {ended.returncode}"
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        why = f"{type(error).__name__} after {time.monotonic() - begin:.0f} s"
    if not output.is_file():
        raise SkippedError(f"needs PyTorch and torchvision in {python}: {why}")
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def resnet50(folder: Path, torch_python: str = "python3") -> dict[str, Any]:
    """The whole table."""
    results: dict[str, Any] = {}
    with Host(folder) as host:
        edged_rows(host, results)
    results["leaks"] = {"ok": not host.leaks, "live": [str(leak) for leak in host.leaks]}
    attempt(results, "torch", lambda: torch_rows(folder, torch_python))
    results |= results["torch"].pop("rows", {})
    return results
