# SPDX-License-Identifier: Apache-2.0
"""The rules and thresholds on a real detector: by themselves they keep it close to its float answers."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from support.data import shared_data, write_yolox_spec

from edged.engine.int8.calibrate import calibrate
from edged.engine.int8.correct import Corrector
from edged.engine.int8.distance import Meter
from edged.engine.int8.run import open_onnxruntime
from edged.engine.int8.view import view
from edged.engine.int8.write import raised, write
from edged.graph.prepare import prepare
from edged.model_file import load_spec
from edged.stages.capture.fit import FitPlan, Fitter


@pytest.mark.data
def test_a_real_detector_stays_close_by_the_rules_alone(tmp_path: Path) -> None:
    spec = load_spec(write_yolox_spec(tmp_path))
    images = sorted((shared_data() / "coco-mini" / "calib").iterdir())[:6]
    fitter, batches = Fitter(FitPlan.from_input(spec.input)), []
    for path in images:
        image = cv2.imread(str(path))
        assert image is not None
        batches.append(np.empty((1, 640, 640, 3), np.uint8))
        fitter.fit(image.astype(np.uint8), batches[-1][0])
    model = raised(onnx.load(prepare(spec, tmp_path).path))
    seen = view(model)
    open_graph = functools.partial(open_onnxruntime, threads=2)
    assert seen.share(seen.defaults()) > 0.9
    calibration = calibrate(model, seen, {"calib": batches[:4]}, open_graph, portion_bytes=64 << 20)
    meter = Meter(model, batches[4:], open_graph)
    plan = calibration.plan(seen.defaults(), default="percentile-99.99")
    corrected = calibration.plan(
        plan.nodes, default="percentile-99.99", bias=Corrector(model, seen, batches[:4], open_graph)(plan)
    )
    every = calibration.plan([one.key for one in seen.candidates], default="minmax")
    distances = [meter.distance(write(model, seen, one)) for one in (corrected, plan, every)]
    assert distances[0] < distances[1] < 0.35
    assert distances[2] > 0.6
