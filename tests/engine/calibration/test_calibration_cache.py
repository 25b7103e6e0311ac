# SPDX-License-Identifier: Apache-2.0
"""Histograms of earlier builds: taken where all is the same, and where not it is said what differs."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.calibration.cache import KEEP, CalibrationCache
from edged.engine.calibration.key import CalibrationKey, ImageId, collector_settings, differences
from edged.engine.calibration.packed import BrokenError, pack, unpack
from edged.engine.int8.cache import Sets
from edged.engine.int8.histogram import Histogram
from edged.model import InputSpec

IMAGES = tuple(ImageId(folder, f"{index}.png", f"{folder}{index}") for folder in ("a", "b") for index in range(4))
KEY = CalibrationKey(
    model="0" * 64,
    images=IMAGES,
    preprocessing=InputSpec(size=[64, 64]).model_dump(mode="json"),
    settings=collector_settings(["conv1", "conv2"], runs_on="onnxruntime"),
)


def _with(**values: Any) -> CalibrationKey:
    return msgspec.structs.replace(KEY, **values)


def _sets(seed: int = 0, folders: tuple[str, ...] = ("a", "b")) -> Sets:
    rng = np.random.default_rng(seed)
    sets: dict[str, dict[str, Histogram]] = {}
    for folder in folders:
        full, empty = Histogram(), Histogram()
        full.add(rng.normal(size=1000).astype(np.float32))
        sets[folder] = {"conv1": full, "conv2": empty}
    return sets


def _plain(sets: Sets | None) -> object:
    """Histograms as what can be compared."""
    assert sets is not None
    return {
        folder: {name: (one.counts.tolist(), one.exponent, one.largest) for name, one in histograms.items()}
        for folder, histograms in sets.items()
    }


CAUSES: dict[str, tuple[CalibrationKey, str]] = {
    "model": (_with(model="1" * 64), r"^model, its spec or its labels: 000000000000 then, 111111111111 now$"),
    "added": (_with(images=(*IMAGES, ImageId("b", "9.png", "new"))), r"^images: 1 added \(b/9\.png\)$"),
    "removed": (_with(images=IMAGES[2:]), r"^images: 2 removed \(a/0\.png, a/1\.png\)$"),
    "changed": (_with(images=(ImageId("a", "0.png", "new"), *IMAGES[1:])), r"^images: 1 changed \(a/0\.png\)$"),
    "all three": (
        _with(images=(ImageId("a", "0.png", "x"), *IMAGES[2:], ImageId("b", "7.png", "y"))),
        r"^images: 1 added \(b/7\.png\), 1 removed \(a/1\.png\), 1 changed \(a/0\.png\)$",
    ),
    "order": (_with(images=IMAGES[4:] + IMAGES[:4]), "^images: the same ones in another order$"),
    "regrouped": (
        _with(images=(ImageId("b", "0.png", "a0"), *IMAGES[1:])),
        "^images: the same ones in other folders$",
    ),
    "preprocessing": (
        _with(preprocessing=InputSpec(size=[64, 64], resize="stretch").model_dump(mode="json")),
        "^preprocessing: resize was letterbox, is stretch$",
    ),
    "tensors": (_with(settings=collector_settings(["conv1"], runs_on="onnxruntime")), "^settings: tensors was "),
    "settings": (
        _with(settings=collector_settings(["conv1", "conv2"], runs_on="tensorrt")),
        "^settings: runs_on was onnxruntime, is tensorrt$",
    ),
    "format": (_with(format=99), "^version of edged$"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_nothing_stale_is_taken_and_the_cause_is_told(tmp_path: Path, cause: str) -> None:
    wanted, words = CAUSES[cause]
    cache = CalibrationCache(tmp_path, "demo")
    assert cache.store(KEY, _sets()) == ""
    (difference,) = differences(KEY, wanted)
    assert re.search(words, difference), difference
    found = cache.look_up(wanted)
    assert found.sets is None
    assert found.notes == (f"ranges known from before cannot be used: {difference}",)
    assert _plain(cache.look_up(KEY).sets) == _plain(_sets())


def test_an_empty_cache_has_nothing_to_say(tmp_path: Path) -> None:
    assert CalibrationCache(tmp_path, "demo").look_up(KEY) == (None, ())


def test_names_do_not_count(tmp_path: Path) -> None:
    """A folder or an image that is called otherwise is the same image; the histograms come under the new name."""
    cache = CalibrationCache(tmp_path, "demo")
    cache.store(KEY, _sets())
    moved = _with(images=tuple(ImageId(f"new {one.folder}", f"x{one.name}", one.digest) for one in IMAGES))
    assert differences(KEY, moved) == []
    found = cache.look_up(moved)
    assert list(found.sets or ()) == ["new a", "new b"]
    assert found.notes == ("the ranges of 8 images are known from before",)


def test_the_nearest_entry_is_told_of(tmp_path: Path) -> None:
    cache = CalibrationCache(tmp_path, "demo")
    cache.store(_with(model="2" * 64, images=IMAGES[:3]), _sets(folders=("a",)))
    cache.store(CAUSES["preprocessing"][0], _sets())
    assert cache.look_up(KEY).notes == (
        "ranges known from before cannot be used: preprocessing: resize was stretch, is letterbox",
    )


def test_only_the_last_used_are_kept(tmp_path: Path) -> None:
    cache = CalibrationCache(tmp_path, "demo")
    keys = [_with(model=f"{number:064d}") for number in range(KEEP + 2)]
    for number, key in enumerate(keys[:KEEP]):
        cache.store(key, _sets(number))
        os.utime(cache.folder / f"{key.digest()}.npz", (number, number))
    assert cache.look_up(keys[0]).sets is not None
    for number, key in enumerate(keys[KEEP:], KEEP):
        cache.store(key, _sets(number))
    assert sorted(path.stem for path in cache.folder.iterdir()) == sorted(key.digest() for key in (keys[0], *keys[3:]))
    assert _plain(cache.look_up(keys[0]).sets) == _plain(_sets(0))


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "renamed"])
def test_a_broken_file_is_measured_anew(tmp_path: Path, damage: str) -> None:
    cache = CalibrationCache(tmp_path, "demo")
    cache.store(KEY, _sets())
    (path,) = cache.folder.iterdir()
    data = path.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 4
    if damage == "renamed":
        # Another key's file under this key's name is not taken for it.
        path.write_bytes(pack(_with(model="3" * 64), _sets()))
    else:
        path.write_bytes({"empty": b"", "cut": data[:-10], "flipped": bytes(changed), "foreign": b"PK" * 500}[damage])
    found = cache.look_up(KEY)
    assert found.sets is None
    assert len(found.notes) == 1
    assert ("broken" in found.notes[0]) == (damage != "renamed")
    assert cache.store(KEY, _sets()) == ""
    assert cache.look_up(KEY).sets is not None


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_no_byte_changes_unseen(seed: int) -> None:
    data = bytearray(pack(KEY, _sets()))
    rng = random.Random(seed)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with pytest.raises(BrokenError):
        unpack(bytes(data))


def test_any_tool_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(pack(KEY, _sets()))
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["counts"].sum() == 2000


def test_what_cannot_be_kept_does_not_fail_the_build(tmp_path: Path) -> None:
    (tmp_path / "calibration-cache").write_text("a file")
    cache = CalibrationCache(tmp_path, "demo")
    assert "could not be kept" in cache.store(KEY, _sets())
    assert cache.look_up(KEY).sets is None


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    cache = CalibrationCache(tmp_path, "demo")
    cache.folder.mkdir(parents=True)
    (cache.folder / f".{KEY.digest()}.npz.abc.tmp").write_bytes(b"half")
    assert cache.look_up(KEY) == (None, ())
    cache.store(KEY, _sets())
    assert [path.name for path in cache.folder.iterdir()] == [f"{KEY.digest()}.npz"]
