# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` in the middle of a sampling: what is there is seen to be unfinished, and the next one goes on with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.daemon import wait_until

from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.images import survey
from edged.engine.sampling.record import PROGRESS_FILE, Record, decode, is_unfinished, samples_folder
from edged.engine.sampling.sampler import SampleRequest, sample
from edged.engine.sampling.work_folder import begin
from edged.errors import EngineError

REPOSITORY = Path(__file__).parents[3]
URI = "synthetic://shapes?size=160x120&fps=60"
CODE = """
import os, sys
from edged.parent import tie_to_parent
tie_to_parent(int(sys.argv[1]))
from edged.engine.sampling.sampler import SampleRequest, sample
sample(SampleRequest(uri=sys.argv[2], state_dir=sys.argv[3], model_id="demo", minutes=60, target=100), lambda _: None)
"""


@contextmanager
def _sampling(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sampling in a process of its own, of an hour if it is not killed."""
    command = [sys.executable, "-c", CODE, str(os.getpid()), URI, str(state)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _killed(state: Path) -> tuple[Path, Record]:
    """An unfinished sample that a kill has left, with what was written down."""
    parent = samples_folder(state, "demo")
    with _sampling(state):
        wait_until(lambda: any(parent.glob(f".*/{PROGRESS_FILE}")), 30, "progress")
    (left,) = parent.iterdir()
    return left, decode((left / PROGRESS_FILE).read_bytes())


def _go_on(state: Path, minutes: float) -> Record:
    return sample(
        SampleRequest(uri=URI, state_dir=str(state), model_id="demo", minutes=minutes, target=100), lambda _: None
    ).record


def test_the_next_sampling_goes_on(tmp_path: Path) -> None:
    left, before = _killed(tmp_path)
    assert is_unfinished(left)
    with pytest.raises(EngineError, match="never finished"):
        CalibrationSet.of([left])
    # As a loss of power may leave it: an image cut off, and one that nothing is written down about.
    torn = left / before.images[0].file
    torn.write_bytes(torn.read_bytes()[:100])
    (left / "999999999.png").write_bytes(b"half")
    record = _go_on(tmp_path, before.seconds / 60 + 0.05)
    (folder,) = samples_folder(tmp_path, "demo").iterdir()
    assert not is_unfinished(folder)
    assert record.resumed == 1
    assert record.started_at == before.started_at
    assert record.taken > before.taken
    earlier = {image.digest for image in before.images[1:]}
    assert len(earlier & {image.digest for image in record.images}) > len(earlier) // 3
    assert {image.file for image in survey([folder]).images} == {image.file for image in record.images}


def test_another_camera_begins_anew_and_leaves_it_alone(tmp_path: Path) -> None:
    left, _ = _killed(tmp_path)
    work = begin(tmp_path, "demo", "synthetic://shapes?seed=5", resume=True)
    assert work.before is None
    assert work.path != left
    assert left.is_dir()
    work.remove()


def test_what_is_too_old_or_broken_is_removed(tmp_path: Path) -> None:
    left, _ = _killed(tmp_path)
    (left / PROGRESS_FILE).write_bytes(b"{")
    work = begin(tmp_path, "demo", "synthetic://shapes", resume=True)
    assert not left.exists()
    assert list(samples_folder(tmp_path, "demo").iterdir()) == [work.path]
    work.remove()


def test_one_that_is_under_way_is_left_alone(tmp_path: Path) -> None:
    parent = samples_folder(tmp_path, "demo")
    with _sampling(tmp_path) as process:
        wait_until(lambda: any(parent.glob(".*/*.png")), 30, "frame")
        (busy,) = parent.iterdir()
        work = begin(tmp_path, "demo", "synthetic://shapes", resume=True)
        assert work.path != busy
        assert work.before is None
        work.remove()
        assert busy.is_dir()
        assert process.poll() is None
