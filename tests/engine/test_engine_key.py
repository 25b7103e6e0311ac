# SPDX-License-Identifier: Apache-2.0
"""The key: equal for what is equal, different for what is different, and the difference in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.key import BuilderOptions, DeviceFacts, EngineKey, Profile, differences

OPTIONS = BuilderOptions(workspace_mb=1024, optimization_level=3)
PROFILE = Profile((1, 4, 8), (640, 640, 640), (256, 512, 640))
KEY = EngineKey(
    model="a" * 64,
    precision="fp16",
    backend="tensorrt",
    runtime="tensorrt 10.3.0",
    profiles=(PROFILE,),
    options=OPTIONS,
    gpu="Orin",
    compute_capability=(8, 7),
    driver="12.6",
)
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"model": "b" * 64}, "model, its spec or its labels: built for aaaaaaaaaaaa, here bbbbbbbbbbbb"),
    ({"precision": "int8"}, "precision: built for fp16, here int8"),
    ({"backend": "onnxruntime"}, "backend: built for tensorrt, here onnxruntime"),
    ({"runtime": "tensorrt 10.7.0"}, "runtime: built for tensorrt 10.3.0, here tensorrt 10.7.0"),
    ({"profiles": ()}, "shapes: built for batch 1-4-8 of 640 x 256-512-640, here any shape"),
    ({"gpu": "Thor"}, "GPU: built for Orin, here Thor"),
    ({"compute_capability": None}, "compute capability: built for 8.7, here none"),
    ({"driver": "13.0"}, "driver's CUDA version: built for 12.6, here 13.0"),
    ({"calibration": "c" * 64}, "calibration: built for none, here cccccccccccc"),
    ({"format": 9}, "format of the key: built for 3, here 9"),
]
OPTION_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"workspace_mb": 64}, "workspace, MiB: built for 1024, here 64"),
    ({"optimization_level": 0}, "optimisation level: built for 3, here 0"),
    ({"aux_streams": 0}, "auxiliary streams: built for none, here 0"),
    ({"plugins": ("d" * 64,)}, "plugins: built for none, here dddddddddddd"),
    ({"input_step": "graph"}, "input step: built for kernel, here graph"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_every_field_counts_and_is_named(change: dict[str, Any], words: str) -> None:
    other = msgspec.structs.replace(KEY, **change)
    assert [str(found) for found in differences(KEY, other)] == [words]
    assert other.digest() != KEY.digest()


@pytest.mark.parametrize(("change", "words"), OPTION_CHANGES)
def test_every_option_counts_and_is_named(change: dict[str, Any], words: str) -> None:
    other = msgspec.structs.replace(KEY, options=msgspec.structs.replace(OPTIONS, **change))
    assert [str(found) for found in differences(KEY, other)] == [words]
    assert other.digest() != KEY.digest()


def test_no_field_is_forgotten_here() -> None:
    changed = {name for change, _ in CHANGES for name in change}
    assert changed | {"options"} == set(EngineKey.__struct_fields__)
    assert {name for change, _ in OPTION_CHANGES for name in change} == set(BuilderOptions.__struct_fields__)


three = st.tuples(*[st.integers(1, 9)] * 3)
keys = st.builds(
    EngineKey,
    model=st.sampled_from(["a", "b"]),
    precision=st.sampled_from(["int8", "fp16", "tf32", "fp32"]),
    backend=st.sampled_from(["tensorrt", "onnxruntime"]),
    runtime=st.sampled_from(["x 1", "x 2"]),
    profiles=st.lists(st.builds(Profile, three, three, three), max_size=2).map(tuple),
    options=st.none() | st.builds(BuilderOptions, workspace_mb=st.integers(1, 2), optimization_level=st.integers(0, 1)),
    gpu=st.sampled_from(["", "Orin"]),
)


@settings(max_examples=100, deadline=None)
@given(keys, keys)
def test_digest_and_differences_agree(one: EngineKey, two: EngineKey) -> None:
    assert (one == two) == (one.digest() == two.digest())
    if one.options is not None and two.options is not None:
        assert (one == two) == (not differences(one, two))
    assert msgspec.json.decode(msgspec.json.encode(one), type=EngineKey).digest() == one.digest()


def test_a_start_compares_what_it_can_know() -> None:
    facts = DeviceFacts(runtime="tensorrt 10.3.0", gpu="Orin", compute_capability=(8, 7), driver="12.6")
    assert KEY.found_here(KEY.model, facts) == KEY
    elsewhere = DeviceFacts(runtime="tensorrt 8.6.0", gpu="H200", compute_capability=(9, 0), driver="12.6")
    names = [found.field for found in differences(KEY, KEY.found_here("b", elsewhere))]
    assert names == ["model, its spec or its labels", "GPU", "compute capability", "runtime"]
    plain = EngineKey(model="a", precision="fp32", backend="onnxruntime", runtime="onnxruntime 1.20")
    assert plain.found_here("a", elsewhere) == plain
