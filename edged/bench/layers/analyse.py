# SPDX-License-Identifier: Apache-2.0
"""Times an engine's layers, judges them, and says what stands out."""

from __future__ import annotations

from pathlib import Path

import onnx

from edged.bench.layers import ort_layers, trt_layers
from edged.bench.layers.ceilings import cpu_ceilings, gpu_ceilings
from edged.bench.layers.findings import findings
from edged.bench.layers.measured import Measured
from edged.bench.layers.records import Ceilings, Finding
from edged.bench.layers.report import LayerReport
from edged.bench.layers.verdict import judge, raised
from edged.errors import InternalError
from edged.gpu.api import Gpu
from edged.gpu.engines import Engine

RUNS = 20


def analyse(
    graph: Path,
    shape: tuple[int, ...],
    *,
    engine: Engine | None = None,
    gpu: Gpu | None = None,
    threads: int = 0,
    runs: int = RUNS,
    end_to_end_ms: float | None = None,
    ceilings: Ceilings | None = None,
) -> LayerReport:
    """Time the layers of a TensorRT engine, or of a graph in ONNX Runtime.

    Nothing else should use the device meanwhile. Takes twice ``runs`` batches and about a second.

    Args:
        graph: the prepared graph; for ONNX Runtime what is run, for TensorRT what the engine was built from.
        shape: of the batch of frames, [N, H, W, 3].
        engine: a TensorRT engine, with its GPU; None for ONNX Runtime. A context of its own is made for it.
        gpu: where the engine is loaded.
        threads: of a run in ONNX Runtime; 0 for all cores.
        runs: timed ones, of each kind.
        end_to_end_ms: time of a batch through the pipeline, if it is known, to compare with.
        ceilings: of the device, if they are known from an earlier call; else they are measured.

    Raises:
        EngineError: the engine does not take the batch, or the backend's own report cannot be read.
        ModelError: ONNX Runtime does not take the graph.
        CudaError: the GPU refuses.
    """
    if (engine is None) != (gpu is None):
        raise InternalError("an engine and its GPU are given together", where="bench --layers")
    if engine is not None and gpu is not None:
        known = ceilings or gpu_ceilings(gpu)
        return report(trt_layers.measure(gpu, engine, onnx.load(graph), shape, runs), shape[0], known, end_to_end_ms)
    known = ceilings or cpu_ceilings(threads)
    return report(ort_layers.measure(graph, shape, threads, runs), shape[0], known, end_to_end_ms)


def report(measured: Measured, batch: int, ceilings: Ceilings, end_to_end_ms: float | None = None) -> LayerReport:
    """Judge what was measured."""
    known = raised(ceilings, measured.layers)
    rows = judge(measured.layers, known)
    found = [*findings(rows), *_gaps(measured)]
    return LayerReport(
        backend=measured.backend,
        batch=batch,
        runs=measured.runs,
        rows=tuple(rows),
        findings=tuple(found),
        ceilings=known,
        plain_ms=measured.plain_ms,
        end_to_end_ms=end_to_end_ms,
    )


def _gaps(measured: Measured) -> list[Finding]:
    """What could not be found out."""
    gaps = []
    if not measured.detailed:
        what = "the engine was built without details of its layers: types and traffic are not known"
        gaps.append(Finding("no-details", what, "build it again with edged-build-engine --force", 0.0))
    if measured.uncounted:
        some = ", ".join(measured.uncounted[:4])
        what = f"the multiply-adds of {len(measured.uncounted)} nodes could not be counted: {some}"
        gaps.append(
            Finding("uncounted", what, "simplify the model's shapes when exporting it", 0.0, measured.uncounted)
        )
    return gaps
