# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from support.data import shared_data, write_yolox_spec

from edged.engine.evaluate.alike import check_variety, overlap
from edged.engine.evaluate.evaluator import Evaluator, names_of
from edged.engine.evaluate.labels import load_labels
from edged.engine.evaluate.options import EvaluationOptions
from edged.engine.images import survey
from edged.graph.prepare import prepare
from edged.model_file import load_spec
from edged.stages.infer.ort import open_session

pytestmark = pytest.mark.data


def test_the_real_detector_on_coco(tmp_path: Path) -> None:
    coco = shared_data() / "coco-mini"
    spec = load_spec(write_yolox_spec(tmp_path, pad=128, interpolation="cubic"))
    prepared = prepare(spec, tmp_path / "prepared")
    images = survey([coco / "val"])
    labels = load_labels(coco / "val.json", "detection", images.images, names_of(prepared))
    assert "'motorcycle' for 'motorbike'" in labels.notes[0]
    session = open_session(Path(prepared.path), 2)

    def run(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        outputs = session.run(None, {"frames": frames})
        return dict(zip((info.name for info in session.get_outputs()), outputs, strict=True))

    judge = Evaluator(spec, prepared, images, run, labels=labels, options=EvaluationOptions(iou_threshold=0.65))
    # The reference says 34.1 and 53.6; through the whole daemon it is 34.18.
    whole = judge.reference()
    assert 34.1 <= whole.value <= 34.2
    assert whole.figures["AP50"].value == pytest.approx(53.6, abs=0.1)
    assert whole.images == 79


def test_real_images_differ() -> None:
    coco = shared_data() / "coco-mini"
    val, calib = survey([coco / "val"]), survey([coco / "calib"])
    assert overlap(val.images, calib.images) == ((), ())
    assert check_variety(calib) == ["80 different calibration images are few: ranges are better known from 200"]
    assert len(overlap([*val.images, *calib.images[:3]], calib.images).same) == 3
