# SPDX-License-Identifier: Apache-2.0
"""What limits a layer, whether INT8 would help it, and what stands out in a list of layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.bench.layers.analyse import report
from edged.bench.layers.findings import findings
from edged.bench.layers.measured import Measured
from edged.bench.layers.records import Ceilings, Layer, Weighted
from edged.bench.layers.report import LayerReport
from edged.bench.layers.verdict import bound_of, int8_for, judge, raised, unsuited

# 100 GB/s and 1000 Gop/s: the ridge lies at 10 operations a byte.
CEILINGS = Ceilings(100e9, {"fp32": 1000e9})
WIDE = Weighted("conv", 64, 64, kernel=(3, 3))


def conv(**changed: Any) -> Layer:
    """5 GMAC and 100 MB in 20 ms: half of the arithmetic, a twentieth of the bandwidth."""
    made = Layer("conv", "Conv", ms=20.0, precision="fp32", macs=5 * 10**9, nbytes=10**8, weighted=WIDE)
    return replace(made, **changed)


def judged(*layers: Layer) -> LayerReport:
    return report(Measured("tensorrt", layers, runs=3, plain_ms=10.0), 4, CEILINGS)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "compute"),
        ({"nbytes": 15 * 10**8}, "memory"),
        ({"macs": 0, "nbytes": 10**9}, "memory"),
        ({"ms": 200.0}, "latency"),
        ({"nbytes": None}, "unknown"),
        ({"precision": "fp16"}, "unknown"),
        ({"ms": 0.0}, "unknown"),
    ],
)
def test_what_limits_a_layer(changed: dict[str, Any], expected: str) -> None:
    assert bound_of(conv(**changed), CEILINGS) == expected


def test_without_a_bandwidth_nothing_is_said() -> None:
    assert bound_of(conv(), Ceilings(None, {"fp32": 1e12})) == "unknown"
    assert Ceilings(None, {"fp32": 1e12}).ridge("fp32") is None


@pytest.mark.parametrize(
    ("changed", "share", "expected"),
    [
        ({}, 0.3, "yes"),
        ({"nbytes": 15 * 10**8}, 0.3, "traffic"),
        ({"ms": 200.0}, 0.3, "no"),
        ({}, 0.001, "no"),
        ({"precision": "int8"}, 0.3, "already"),
        ({"macs": 0, "weighted": None}, 0.3, "no"),
        ({"precision": ""}, 0.3, "unknown"),
        ({"nbytes": None}, 0.3, "unknown"),
        ({"weighted": Weighted("conv", 3, 8, kernel=(3, 3))}, 0.3, "no"),
    ],
)
def test_whether_int8_helps(changed: dict[str, Any], share: float, expected: str) -> None:
    layer = conv(**changed)
    answer, why = int8_for(layer, share, bound_of(layer, CEILINGS))
    assert answer == expected
    assert why


@pytest.mark.parametrize(
    ("weighted", "fits"),
    [
        (Weighted("conv", 16, 16), True),
        (Weighted("conv", 15, 64), False),
        (Weighted("conv", 8, 16, kernel=(3, 3)), True),
        (Weighted("conv", 64, 8, kernel=(1, 1)), True),
        (Weighted("conv", 8, 16, kernel=(1, 3)), False),
        (Weighted("conv", 8, 8, kernel=(3, 3)), False),
        (Weighted("conv", 8, 8, kernel=(3, 3), first=True), True),
        (Weighted("conv", 3, 32, kernel=(3, 3), first=True), False),
        (Weighted("conv", 8, 8, groups=8, kernel=(3, 3)), True),
        (Weighted("conv", 8, 8, groups=8, kernel=(1, 1)), False),
        (Weighted("product", 512, 1000, rows=8), True),
        (Weighted("product", 512, 1000, rows=1), False),
        (Weighted("product", 512, 10, rows=8), False),
    ],
)
def test_channels(weighted: Weighted, fits: bool) -> None:
    assert (unsuited(weighted) == "") == fits


def test_a_ceiling_is_no_lower_than_what_a_layer_reached() -> None:
    fast = conv(name="fast", ms=5.0)
    known = raised(CEILINGS, [conv(), fast, conv(precision="int8", ms=1.0), conv(precision="")])
    assert known.ops_per_s == {"fp32": 2000e9, "int8": 10_000e9}
    assert any(line.startswith("fp32: ") and "fast" in line for line in known.how)
    assert len(known.how) == 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 1e3), st.integers(0, 10**12), st.one_of(st.none(), st.integers(0, 10**12))),
        min_size=1,
        max_size=6,
    )
)
def test_shares_and_bounds_hold_for_any_layers(values: list[tuple[float, int, int | None]]) -> None:
    layers = [conv(ms=ms, macs=macs, nbytes=nbytes) for ms, macs, nbytes in values]
    known = raised(CEILINGS, layers)
    rows = judge(layers, known)
    assert sum(row.share for row in rows) == pytest.approx(1.0 if any(ms for ms, _, _ in values) else 0.0)
    for row in rows:
        assert row.layer.ops_per_s <= known.ops_per_s["fp32"] * 1.000001
        assert (row.bound == "unknown") == (row.layer.nbytes is None or row.layer.ms == 0)


def chain(*precisions: str, **roles: str) -> list[Layer]:
    """Layers that read what the one before wrote, 1 ms each; ``l2="reformat"`` gives layer 2 that role."""
    return [
        Layer(
            f"l{index}",
            "x",
            ms=1.0,
            precision=precision,
            role="reformat" if f"l{index}" in roles else "work",
            reads=(f"t{index}",),
            writes=(f"t{index + 1}",),
        )
        for index, precision in enumerate(precisions)
    ]


def kinds(layers: list[Layer]) -> dict[str, tuple[str, ...]]:
    return {found.kind: found.layers for found in findings(judge(layers, CEILINGS))}


def test_islands_lie_between_narrower_layers() -> None:
    assert kinds(chain("fp16", "fp32", "fp32", "int8")) == {"island": ("l1", "l2")}
    assert kinds(chain("fp32", "fp16", "fp16", "fp32")) == {}
    assert kinds(chain("fp16", "fp32", "fp32")) == {}
    frames = replace(chain("uint8")[0], nodes=("edged/input/Transpose_1",))
    assert "island" not in kinds([frames, *chain("uint8", "fp32", "int8")[1:]])


def test_islands_are_seen_through_reformats() -> None:
    layers = chain("int8", "int8→fp32", "fp32", "fp32→int8", "int8", l1="reformat", l3="reformat")
    found = kinds(layers)
    assert found["island"] == ("l2",)
    assert found["reformat"] == ("l1", "l3")


def test_a_batch_normalisation_within_a_convolution_is_none() -> None:
    alone = Layer("bn", "Scale", ms=1.0, operators=("BatchNormalization", "Relu"), nodes=("bn", "relu"))
    fused = Layer("conv + bn", "CaskConvolution", ms=1.0, operators=("Conv", "BatchNormalization"), nodes=("c", "b"))
    own = Layer("s", "Scale", ms=0.01, operators=("BatchNormalization",), nodes=("edged/input/BatchNormalization_3",))
    assert kinds([alone, fused, own]) == {"batch-norm": ("bn",)}


def test_quantizers_and_the_input_step_are_named() -> None:
    layers = [
        Layer("q", "Reformat", ms=1.0, role="reformat", operators=("QuantizeLinear",), nodes=("q",)),
        Layer("cast", "Cast", ms=2.0, role="reformat", operators=("Cast",), nodes=("edged/input/Cast_0",)),
        Layer("edged/input (kernel)", "", ms=1.0),
    ]
    assert kinds(layers) == {"quantizer": ("q",), "input-step": ("cast", "edged/input (kernel)")}


def test_the_report_sums_up_and_says_what_timing_adds() -> None:
    slow = Layer("a [bold]name[/bold] that is longer than any column of the table may be wide", "k", ms=9.0)
    found = judged(conv(ms=5.0), slow, conv(name="other", ms=1.0))
    lines = found.lines(top=2)
    assert found.layers_ms == 15.0
    assert any("timing each layer adds 50%" in line for line in lines)
    assert any(line.split()[:2] == ["1", "more"] for line in lines)
    assert any("[bold]name" in line and "60.0%" in line for line in lines)
    assert all(len(line) <= 140 for line in lines[:4])
    assert (
        "a batch takes 20.000 ms end to end: its layers are 50% of that" in replace(found, end_to_end_ms=20.0).lines()
    )
    assert "33% of a run lies between the layers" in replace(found, plain_ms=22.5).summary()[0]


def test_what_is_not_known_is_said() -> None:
    measured = Measured("tensorrt", (Layer("x", "", 1.0),), 1, 1.0, detailed=False, uncounted=("c1",))
    found = {finding.kind: finding.line() for finding in report(measured, 1, Ceilings()).findings}
    assert "built without details" in found["no-details"]
    assert "c1" in found["uncounted"]
    assert "unknown bandwidth" in " ".join(report(measured, 1, Ceilings()).summary())
