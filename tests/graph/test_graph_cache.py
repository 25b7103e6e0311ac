# SPDX-License-Identifier: Apache-2.0
"""The cache of prepared graphs: reuse, damage, leftovers, and what its key follows."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from edged.errors import ModelError, StateDirError
from edged.graph.prepare import prepare, spec_digest
from edged.model import ModelSpec

MakeSpec = Callable[..., ModelSpec]
MakeModel = Callable[..., Path]


@pytest.fixture
def spec(make_spec: MakeSpec, save: MakeModel, tmp_path: Path) -> ModelSpec:
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    fields = {"task": "classification", "decoder": "classification", "labels": tmp_path / "labels.txt"}
    return make_spec(save("classifier"), **fields)


def test_a_second_time_is_taken_from_the_cache(spec: ModelSpec, tmp_path: Path) -> None:
    first = prepare(spec, tmp_path / "cache")
    before = os.stat(first.path).st_mtime_ns
    assert prepare(spec, tmp_path / "cache") == first
    assert os.stat(first.path).st_mtime_ns == before
    assert sorted(os.listdir(Path(first.path).parent)) == ["graph.onnx", "report.json"]


def test_the_cache_is_read_without_onnx(spec: ModelSpec, tmp_path: Path) -> None:
    prepare(spec, tmp_path / "cache")
    code = (
        "import sys\nfrom pathlib import Path\nfrom edged.model import ModelSpec\n"
        "from edged.graph.prepare import prepare\n"
        "prepare(ModelSpec.model_validate_json(sys.argv[1], strict=False), Path(sys.argv[2]))\n"
        "assert not {'onnx', 'onnxruntime', 'cv2'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, spec.model_dump_json(), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, timeout=60, env=environment)


def test_a_moved_cache_is_still_good(spec: ModelSpec, tmp_path: Path) -> None:
    prepare(spec, tmp_path / "cache")
    (tmp_path / "cache").rename(tmp_path / "moved")
    assert prepare(spec, tmp_path / "moved").path.startswith(str(tmp_path / "moved"))


@pytest.mark.parametrize("name", ["graph.onnx", "report.json"])
@pytest.mark.parametrize("damage", ["gone", "truncated", "changed", "empty"])
def test_a_broken_entry_is_built_again(name: str, damage: str, spec: ModelSpec, tmp_path: Path) -> None:
    first = prepare(spec, tmp_path / "cache")
    file = Path(first.path).parent / name
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        half = len(whole) // 2
        changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
        file.write_bytes({"truncated": whole[:half], "changed": changed, "empty": b""}[damage])
    assert prepare(spec, tmp_path / "cache") == first
    assert (Path(first.path).parent / "graph.onnx").read_bytes()
    assert json.loads((Path(first.path).parent / "report.json").read_bytes())["prepared"]["digest"] == first.digest
    onnx.checker.check_model(first.path)


def test_a_report_of_another_format_is_not_trusted(spec: ModelSpec, tmp_path: Path) -> None:
    first = prepare(spec, tmp_path / "cache")
    report = Path(first.path).with_name("report.json")
    whole = json.loads(report.read_bytes())
    report.write_text(json.dumps({**whole, "format": 0}, separators=(",", ":")))
    prepare(spec, tmp_path / "cache")
    assert json.loads(report.read_bytes()) == whole


def test_what_a_killed_build_left_is_swept(spec: ModelSpec, tmp_path: Path) -> None:
    first = prepare(spec, tmp_path / "cache")
    folder = Path(first.path).parent
    Path(first.path).unlink()
    for name, age in ((".old.tmp", 7200), (".new.tmp", 0)):
        (folder / name).write_bytes(b"half")
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    prepare(spec, tmp_path / "cache")
    assert sorted(os.listdir(folder)) == [".new.tmp", "graph.onnx", "report.json"]


def test_the_digest_follows_everything_that_matters(spec: ModelSpec, save: MakeModel, tmp_path: Path) -> None:
    digests = [spec_digest(spec)]
    digests.append(spec_digest(spec.model_copy(update={"id": "other"})))
    digests.append(spec_digest(spec.model_copy(update={"labels": None})))
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    digests.append(spec_digest(spec))
    save("segmenter")
    digests.append(spec_digest(spec))
    assert len(set(digests)) == 5


def test_the_digest_follows_weights_beside_the_model(spec: ModelSpec, tmp_path: Path) -> None:
    onnx.save(onnx.load(spec.onnx), spec.onnx, save_as_external_data=True, location="w.bin", size_threshold=0)
    before = spec_digest(spec)
    assert prepare(spec, tmp_path / "cache").classes == 3
    weights = bytearray((tmp_path / "w.bin").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w.bin").write_bytes(weights)
    assert spec_digest(spec) != before


def test_the_digest_does_not_follow_paths(spec: ModelSpec, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    for path in (spec.onnx, tmp_path / "labels.txt"):
        (other / path.name).write_bytes(path.read_bytes())
    moved = spec.model_copy(update={"onnx": other / spec.onnx.name, "labels": other / "labels.txt"})
    assert spec_digest(moved) == spec_digest(spec)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_cache(spec: ModelSpec, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StateDirError, match="cannot be written"):
        prepare(spec, locked / "cache")


def test_a_cache_path_that_is_a_file(spec: ModelSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirError, match="cannot be written"):
        prepare(spec, tmp_path / "file")


def test_a_full_disk_wants_space(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateDirError) as caught:
        prepare(spec, tmp_path / "cache")
    assert "(No space left on device); free space there, or choose another state_dir" in str(caught.value)


@pytest.mark.parametrize("key", ["onnx", "labels"])
def test_missing_files_name_their_key(key: str, spec: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"correct the key {key} of the model spec"):
        prepare(spec.model_copy(update={key: tmp_path / "absent"}), tmp_path / "cache")
