# SPDX-License-Identifier: Apache-2.0
"""The models and images of ``tools/gpu_check.py chain``, prepared where the shared data and scikit-learn are.

    python -m tools.gpu.chain_data .gpu/data

Writes ``chain/yolox`` (26 MB of photographs with their labels, and the detector), ``chain/digits`` (a classifier and
its pictures, about 4 MB). What needs neither, a ResNet-18 with random weights, is made where it is measured.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import onnx

from edged.engine.images import FrameBatches, survey
from edged.model_file import load_spec
from tools.gpu.models import MEAN, SIZE, STD, write
from tools.gpu.networks import fit_head, resnet18
from tools.gpu.quantize import normalised

FOLDER = "chain"
_YOLOX = """\
id = "yolox"
onnx = "yolox.onnx"
task = "detection"
decoder = "yolox"
labels = "coco.names"
[input]
size = [640, 640]
color = "rgb"
pad = 128
interpolation = "cubic"
scale = 255.0
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[output]
iou_threshold = 0.65
max_detections = 300
"""


class Subject(NamedTuple):
    """A model and its images.

    Attributes:
        spec: the model spec; its stem is the model's id.
        calib: images for calibration.
        val: images to judge by.
        labels: of these; None to hold the result against FP32.
    """

    spec: Path
    calib: Path
    val: Path
    labels: Path | None


def prepare(target: Path) -> int:
    """Write everything into ``target/chain``; returns its bytes."""
    # Only where it is prepared: the machine that measures has less installed.
    from tools.bench import harness

    top = target / FOLDER
    shutil.rmtree(top, ignore_errors=True)
    _write_yolox(top / "yolox", harness.needed_data())
    _write_digits(top / "digits")
    return sum(path.stat().st_size for path in top.rglob("*") if path.is_file())


def subjects(data: Path, folder: Path) -> dict[str, Subject]:
    """All models by name, as far as their data are there.

    Args:
        data: where `prepare` wrote to.
        folder: where the ResNet is made, if it is not there.
    """
    top = data / FOLDER
    found = {}
    for name, labels in (("yolox", "val.json"), ("digits", "val.csv")):
        own = top / name
        if own.is_dir():
            found[name] = Subject(own / f"{name}.toml", own / "calib", own / "val", own / labels)
    if "yolox" in found:
        photographs = found["yolox"]
        spec = folder / "resnet18.toml"
        if not spec.is_file():
            _write_resnet(folder, [photographs.calib, photographs.val])
        found["resnet18"] = Subject(spec, photographs.calib, photographs.val, None)
    return found


def _write_yolox(own: Path, shared: Path) -> None:
    own.mkdir(parents=True)
    shutil.copyfile(shared / "yolox-nano" / "yolox_nano_coco.onnx", own / "yolox.onnx")
    shutil.copyfile(shared / "yolox-nano" / "coco.names", own / "coco.names")
    for name in ("calib", "val"):
        # The shared data may not be written to, and what is sent must be.
        shutil.copytree(shared / "coco-mini" / name, own / name, copy_function=shutil.copyfile)
        (own / name).chmod(0o755)
    shutil.copyfile(shared / "coco-mini" / "val.json", own / "val.json")
    (own / "yolox.toml").write_text(_YOLOX)


def _write_digits(own: Path) -> None:
    from tools.models import digits
    from tools.models.folders import ASSETS

    own.mkdir(parents=True)
    written = digits.write_data(own)
    assert written.labels.parent == own
    for name in ("digits.onnx", "digits.toml", "digits.names"):
        shutil.copyfile(ASSETS / name, own / name)


def _write_resnet(folder: Path, photographs: Sequence[Path]) -> None:
    """A ResNet-18 whose best class tells these photographs apart."""
    folder.mkdir(parents=True, exist_ok=True)
    model: onnx.ModelProto = resnet18()
    write(folder, "resnet18", model, SIZE, "classification")
    spec = load_spec(folder / "resnet18.toml")
    batches = FrameBatches(survey(list(photographs)).images, spec.input, 16)
    given = (normalised(batches[at][..., ::-1], MEAN, STD) for at in range(len(batches)))
    fit_head(model, given)
    write(folder, "resnet18", model, SIZE, "classification")


def main(arguments: Sequence[str]) -> int:
    """Prepare."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    print(f"{prepare(Path(arguments[0])) / 1e6:.1f} MB in {Path(arguments[0]) / FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
