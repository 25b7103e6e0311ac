# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edged.errors import ModelError
from edged.fields import leaves
from edged.model import DynamicSize, ModelSpec
from edged.model_file import load_spec

REPO = Path(__file__).resolve().parent.parent
LEAST = 'id = "m"\nonnx = "m.onnx"\ntask = "detection"\ndecoder = "yolox"\n[input]\nsize = [416, 640]\n'


def written(folder: Path, text: str) -> Path:
    (folder / "m.onnx").touch()
    path = folder / "m.toml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, LEAST))
    assert spec.model_dump() == {
        "id": "m",
        "onnx": tmp_path / "m.onnx",
        "task": "detection",
        "decoder": "yolox",
        "labels": None,
        "input": {
            "size": [416, 640],
            "color": "rgb",
            "resize": "letterbox",
            "pad": 114,
            "align": "center",
            "interpolation": "linear",
            "scale": 255.0,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
        },
        "output": {
            "score_threshold": 0.3,
            "iou_threshold": 0.5,
            "pre_nms": 1000,
            "max_detections": 100,
            "activation": "none",
        },
    }


def test_paths_start_at_the_folder_of_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "names").touch()
    path = written(tmp_path, 'labels = "names"\n' + LEAST)
    monkeypatch.chdir(tmp_path)
    assert load_spec(Path(path.name)).labels == tmp_path / "names"


def test_a_size_that_follows_the_source(tmp_path: Path) -> None:
    text = LEAST.replace("[416, 640]", "{min = [256, 256], opt = [512, 512], max = [1024, 1024], multiple = 32}")
    size = load_spec(written(tmp_path, text)).input.size
    assert isinstance(size, DynamicSize)
    assert (size.max, size.multiple) == ([1024, 1024], 32)


# What to replace in the least spec, by what, and the message after the path.
WRONG: dict[str, tuple[str, str, str]] = {
    "syntax": ("size =", "size", ":6: not valid TOML: Expected '=' after a key in a key/value pair (column 6)"),
    "unknown key": ("[input]", 'decodr = "x"\n[input]', ":5: unknown key decodr; did you mean decoder?"),
    "typo in place of a key": ("decoder", "decodr", ":4: unknown key decodr; did you mean decoder? (and 1 more)"),
    "unknown section": ("[input]", "[inputs]", ":5: unknown key inputs; did you mean input? (and 1 more)"),
    "unknown key of a section": ("size =", "pads = 3\nsize =", ":6: unknown key input.pads; did you mean input.pad?"),
    "key of another section": (
        "size =",
        "score_threshold = 3\nsize =",
        ":6: unknown key input.score_threshold; did you mean output.score_threshold?",
    ),
    "no id": ('id = "m"', "", ": id is missing; add it above the first [table]"),
    "no size": ("size = [416, 640]", "", ":5: input.size is missing; add it under [input]"),
    "task": (
        '"detection"',
        '"detect"',
        ":3: task: expected 'classification', 'detection', 'segmentation' or 'raw', found the text \"detect\"",
    ),
    "number for text": ('"m"', "3", ":1: id: expected text, found 3"),
    "path in the id": ('"m"', '"../m"', ":1: id: expected text of the form "),
    "size as text": ("[416, 640]", '"416x640"', ":6: input.size: expected a list or a table, found the text"),
    "one side": ("[416, 640]", "[416]", ":6: input.size: expected a list of at least 2, found a list of 1"),
    "no side": ("[416, 640]", "[416, 0]", ":6: input.size[1]: expected at least 1, found 0"),
    "half a range": (
        "[416, 640]",
        "{min = [1, 1], opt = [2, 2]}",
        ":6: input.size.max is missing; add it under [input.size]",
    ),
    "range out of order": (
        "[416, 640]",
        "{min = [9, 9], opt = [2, 2], max = [3, 3]}",
        ":6: input.size: min <= opt <= max must hold for height and width",
    ),
    "unknown key of a range": (
        "[416, 640]",
        "{min = [1, 1], opt = [2, 2], max = [3, 3], mutiple = 2}",
        ":6: unknown key input.size.mutiple; did you mean input.size.multiple?",
    ),
    "quoted number": (
        "size =",
        'pad = "114"\nsize =',
        ':6: input.pad: expected a whole number, found the text "114"; rem',
    ),
    "two means": (
        "size =",
        "mean = [1, 2]\nsize =",
        ":6: input.mean: expected a list of at least 3, found a list of 2",
    ),
    "std of zero": ("size =", "std = [1, 1, 0]\nsize =", ":6: input.std[2]: expected a number above 0, found 0"),
    "threshold": (
        "[input]",
        "[output]\niou_threshold = 1.5\n[input]",
        ":6: output.iou_threshold: expected at most 1, found",
    ),
    "top k": ("[input]", "[output]\npre_nms = 4000\n[input]", ":6: output.pre_nms: expected at most 3840, found 4000"),
    "no model": ('"m.onnx"', '"x.onnx"', ":2: onnx: ONNX file {}/x.onnx does not exist; correct onnx; a relative path"),
    "folder for a model": ('"m.onnx"', '"."', ":2: onnx: ONNX file {} is not a file; correct onnx"),
    "empty path": ('"m.onnx"', '""', ":2: onnx: ONNX file {} is not a file; correct onnx"),
    "zero byte in a path": ('"m.onnx"', '"m\\u0000"', ":2: onnx: expected a path; correct onnx"),
    "no labels": ('id = "m"', 'labels = "x"\nid = "m"', ":1: labels: labels file {}/x does not exist; correct labels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_spec_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    old, new, message = WRONG[case]
    path = written(tmp_path, LEAST.replace(old, new, 1))
    with pytest.raises(ModelError) as caught:
        load_spec(path)
    assert caught.value.exit_code == 78
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{path}{message.format(tmp_path)}")


def test_a_missing_spec_and_an_onnx_file_in_its_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.toml: model spec not found; model\.spec in the settings names"):
        load_spec(tmp_path / "absent.toml")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\x07\xff\xfe")
    with pytest.raises(ModelError, match=r"m\.onnx:1: not UTF-8 text; a model spec is TOML text"):
        load_spec(tmp_path / "m.onnx")


def test_the_manual_has_every_key() -> None:
    manual = (REPO / "docs/models.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w.]+)` \|", manual, flags=re.MULTILINE))
    known: dict[str, Any] = leaves(ModelSpec)
    assert {key for key in known if not key.startswith("input.size.")} | {"input.size"} <= rows
