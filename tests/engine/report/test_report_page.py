# SPDX-License-Identifier: Apache-2.0
"""``report.html``: whole, safe, the same each time, and useful with parts missing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import msgspec
import pytest
from engine.report.report_rig import CPU, candidate, full, scene, small
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.report import palette, pictures
from edged.engine.report.data import CurvePoint, Layer, ReportData, WorstFrame
from edged.engine.report.markup import element, safe
from edged.engine.report.page import page
from edged.engine.report.plots.layers import SHOWN
from edged.engine.report.write import FILE, write_report
from edged.errors import StateDirError

VOID = {"img", "meta"}
HOSTILE = (
    "<script>alert(1)</script> ' onload='x --><svg/onload=x>]]> $",
    '"><img src=http://x.invalid/ onerror=a> id="a href="#b $x_{',
    "\x1b[31mred\x07\x00 \u202egnp.exe half \udcff 猫 🐈 عربى line\nbreak\r" + "a" * 3000,
)


class Checker(HTMLParser):
    """Reads a page; fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(text: str) -> Checker:
    """The page, read; it must be well-formed and refer to nothing outside itself."""
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(checker.tags)
    ids = [value for _, name, value in checker.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for tag, name, value in checker.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith("data:image/png;base64,") or value.removeprefix("#") in ids, value[:80]
        assert name != "style" or value.replace("url(#", "").count("url(") == 0
    for found in re.findall(r"url\(#([^)]*)\)", text):
        assert found in ids
    assert "@import" not in text
    return checker


@pytest.fixture(scope="module")
def whole() -> str:
    return page(full())


def test_a_whole_page_is_well_formed_and_shows_everything(whole: str) -> None:
    checker = checked(whole)
    said = " ".join(checker.text)
    assert checker.tags.count("svg") == 5
    assert checker.tags.count("img") == 4
    for words in (
        "INT8 was chosen: 1.62× the speed of FP16 at batch 8, 0.4 ± 0.3 points of AP below FP32.",
        "Deployment checklist",
        "not measured yet: edged bench --sustained 30m",
        "edged 0.1.0, onnx 1.17.0, onnxruntime 1.23.0, tensorrt 10.3.0",
        "calib/night",
        "traffic light",
        "/backbone/stage1/act/Mul_output_0",
        "frames/s at batch 8",
        "multiply-adds in INT8, %",
        "Orin Nano",
        "15W",
    ):
        assert words in said, words
    assert set(re.findall(r"var\(--(\w+)\)", whole)) <= {*palette.TONES, "font"}
    assert "dark" in whole
    assert "@media print" in whole


def test_the_same_data_give_the_same_page_whatever_matplotlib_is_set_to(whole: str) -> None:
    with matplotlib.rc_context({"font.size": 33, "axes.facecolor": "red", "svg.fonttype": "path"}):
        before = dict(matplotlib.rcParams)
        assert page(full()) == whole
        assert dict(matplotlib.rcParams) == before


def test_a_page_needs_no_display_and_the_terminal_no_matplotlib() -> None:
    code = """
import sys
import edged.engine.report.verdict, edged.engine.report.write, edged.engine.report.page
assert "matplotlib" not in sys.modules
sys.path.insert(0, "tests")
from engine.report.report_rig import full
edged.engine.report.page.page(full(layers=3))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)


def renamed(data: Any, name: str) -> Any:
    """The same with every text replaced, except those that are one of a few."""
    if isinstance(data, msgspec.Struct):
        kept = {"precision", "asked", "kind", "state"}
        fields = {field: getattr(data, field) for field in data.__struct_fields__}
        return type(data)(**{key: value if key in kept else renamed(value, name) for key, value in fields.items()})
    if isinstance(data, tuple):
        return tuple(renamed(it, name) for it in data)
    if isinstance(data, dict):
        return {name: name}
    return name if isinstance(data, str) else data


def test_no_name_becomes_markup() -> None:
    plain = msgspec.structs.replace(full(pictures=1, layers=2), scores=None)
    tags = checked(page(renamed(plain, "name"))).tags
    for name in HOSTILE:
        text = page(renamed(plain, name))
        text.encode()
        assert checked(text).tags == tags
        assert not set("\x00\x07\x1b\u202e") & set(text)


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(), max_size=80))
def test_any_text_is_text(text: str) -> None:
    checker = Checker()
    checker.feed(element("p", element("b", text), title=text))
    checker.close()
    assert checker.tags == ["p", "b"]
    assert [name for _, name, _ in checker.attributes] == ["title"]
    assert safe(safe(text)) == safe(text)


@pytest.mark.parametrize(
    "lost",
    [
        {"candidates": ()},
        {"curve": (), "layers": (), "saturation": (), "calibration": None},
        {"evaluation": None, "classes": (), "scores": None, "worst": ()},
        {"versions": {}, "worst": (WorstFrame(name="a"), WorstFrame(name="b", reference=b"no picture")), "frame": None},
    ],
    ids=lambda lost: "+".join(lost),
)
def test_parts_may_be_missing(lost: dict[str, Any]) -> None:
    checked(page(msgspec.structs.replace(full(layers=3), **lost)))


def test_least_there_can_be() -> None:
    said = " ".join(checked(page(small())).text)
    assert "No engine was chosen: there was no candidate." in said
    assert "Accuracy was not measured" in said


def test_onnx_runtime_alone_has_no_gpu_memory() -> None:
    slow, fast = candidate("int8", 40, 0.2, refused="slower than fp32"), candidate("fp32", 30, 0.0, chosen=True)
    text = page(msgspec.structs.replace(small(slow, fast), device=CPU))
    said = " ".join(checked(text).text)
    assert "FP32 was chosen: INT8 is slower on this device at batch 8 (40.00 ms against 30.00)." in said
    assert "GPU memory" not in said
    assert "<svg" in text


def test_odd_figures_can_be_drawn() -> None:
    inf = float("inf")
    layers = tuple(
        Layer(name=str(it), operator="Conv", error=it, share=0.0, precision="int8") for it in (None, inf, 0.0)
    )
    data = msgspec.structs.replace(
        small(
            candidate("int8", 5, -3.0, error=None), candidate("fp16", 5, -3.0, error=None), candidate("fp32", 1e-9, 0)
        ),
        layers=layers,
        curve=(CurvePoint(share=0.0, loss=0.0),),
        bound=0.0,
    )
    checked(page(data))


def test_the_page_stays_small() -> None:
    noise = scene(1, 360, 480, noise=160)
    data = full(pictures=0, layers=3000)
    frames = tuple(WorstFrame(name="n" * 4000, reference=noise, value=noise) for _ in range(40))
    text = page(msgspec.structs.replace(data, worst=frames, curve=data.curve * 200))
    assert len(text) < 5.5e6
    assert checked(text).tags.count("img") == 2 * pictures.SHOWN


def test_a_picture_is_made_to_fit_or_left_out() -> None:
    noise = scene(1, 300, 400, noise=160)
    found = pictures.fitted(noise, 100_000)
    assert found is not None
    assert len(found) <= 100_000 < len(noise)
    assert pictures.fitted(noise, 500) is None
    assert pictures.fitted(b"", 500) is None
    tiny = scene(1, 70, 70)
    assert pictures.fitted(tiny, 100_000) is not None


def test_only_the_worst_layers_are_drawn() -> None:
    text = page(msgspec.structs.replace(small(), layers=full().layers))
    assert f"The {SHOWN} worst of 62 layers" in text
    assert "…/dark1/m.0/conv/Conv" in text


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / FILE
    data: ReportData = small(candidate("fp16", 5, 0.0, chosen=True))
    write_report(data, file)
    assert file.read_text() == page(data)
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StateDirError, match="the report cannot be written"):
        write_report(data, tmp_path / "missing" / "report.html")
