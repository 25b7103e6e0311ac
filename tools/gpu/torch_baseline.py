# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of the table: ResNet-50, eager and compiled, FP32 and FP16. Needs torch and torchvision, not edged.

    python3 tools/gpu/torch_baseline.py OUTPUT.json [SECONDS]

Every batch starts as uint8 frames in page-locked memory and ends as float32 logits in memory of the host: copying,
conversion and normalising on the GPU are part of the time, as they are of edged's. FP16 uses channels-last memory; TF32
is off. Written anew after each figure, so that running out of time loses nothing.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCHES = (1, 8, 32)
SIZE = 224
_WARM_UP, _LATENCIES, _ROUND_S = 10, 200, 1.0


def measure(run: Callable[[], Any], synchronize: Callable[[], None], batch: int) -> dict[str, float]:
    """Frames a second back to back, and milliseconds from a batch's begin to its result, p50 and p99."""
    for _ in range(_WARM_UP):
        run()
    synchronize()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < _ROUND_S:
        for _ in range(10):
            run()
        count += 10
        synchronize()
    rate = count * batch / (time.perf_counter() - begin)
    taken = []
    for _ in range(_LATENCIES):
        start = time.perf_counter()
        run()
        synchronize()
        taken.append((time.perf_counter() - start) * 1e3)
    taken.sort()
    return {
        "frames_per_s": round(rate),
        "p50_ms": round(taken[len(taken) // 2], 3),
        "p99_ms": round(taken[int(len(taken) * 0.99)], 3),
    }


def rows(output: Path, limit_s: float) -> dict[str, Any]:
    """All figures, those of eager mode first; what does not fit into the time is left out, and said."""
    import torch
    import torchvision  # type: ignore[import-not-found, unused-ignore]

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    end = time.monotonic() + limit_s
    found: dict[str, Any] = {"torch": torch.__version__, "rows": {}}
    for way in ("eager", "compiled"):
        for precision in ("fp32", "fp16"):
            network = torchvision.models.resnet50(weights=None).eval().cuda()
            for batch in BATCHES:
                name = f"torch-{way}-{precision}-{batch}"
                if time.monotonic() > end:
                    found["rows"][name] = {"skipped": f"no time left of {limit_s:g} s"}
                    continue
                try:
                    found["rows"][name] = _row(torch, network, way == "compiled", precision == "fp16", batch)
                except Exception as error:  # noqa: BLE001 - the other figures are worth having
                    traceback.print_exc()
                    found["rows"][name] = {"skipped": f"{type(error).__name__}: {str(error)[:200]}"}
                print(name, found["rows"][name], flush=True)
                output.write_text(json.dumps(found, indent=1))
    return found


def _row(torch: Any, network: Any, compiled: bool, half: bool, batch: int) -> dict[str, Any]:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.mem_get_info()[0]
    dtype = torch.float16 if half else torch.float32
    layout = torch.channels_last if half else torch.contiguous_format
    network = network.to(dtype=dtype, memory_format=layout)
    mean = torch.tensor([0.485, 0.456, 0.406], device="cuda").mul(255).view(1, 3, 1, 1).to(dtype)
    scale = torch.tensor([0.229, 0.224, 0.225], device="cuda").mul(255).reciprocal().view(1, 3, 1, 1).to(dtype)
    frames = torch.randint(0, 256, (batch, SIZE, SIZE, 3), dtype=torch.uint8).pin_memory()
    logits = torch.empty((batch, 1000), dtype=torch.float32).pin_memory()

    def forward(given: Any) -> Any:
        return network((given.permute(0, 3, 1, 2).to(dtype) - mean) * scale).float()

    begin = time.monotonic()
    work = torch.compile(forward, mode="reduce-overhead", dynamic=False) if compiled else forward

    def run() -> None:
        logits.copy_(work(frames.cuda(non_blocking=True)), non_blocking=True)

    with torch.inference_mode():
        run()
        torch.cuda.synchronize()
        made_s = time.monotonic() - begin
        figures: dict[str, Any] = measure(run, torch.cuda.synchronize, batch)
    taken = before - torch.cuda.mem_get_info()[0]
    peak = torch.cuda.max_memory_reserved()
    return figures | {"memory_mib": round(max(taken, peak) / 2**20, 1), "first_run_s": round(made_s, 1)}


if __name__ == "__main__":
    # This file's folder has modules of names that the standard library has too.
    del sys.path[0]
    rows(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 150.0)
