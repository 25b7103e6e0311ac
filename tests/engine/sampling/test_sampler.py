# SPDX-License-Identifier: Apache-2.0
"""Sampling real videos, folders and live scenes: varied frames, written down, or a clear refusal."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.daemon import wait_until
from support.data import shared_data

from edged.engine.evaluate.alike import alike
from edged.engine.images import survey
from edged.engine.protocol import Event, Note, Step
from edged.engine.sampling.feed import StoppedError
from edged.engine.sampling.record import RECORD_FILE, is_unfinished, read_record, samples_folder, set_digest
from edged.engine.sampling.sampler import Sample, SampleRequest, sample
from edged.errors import DeviceUnavailableError, EngineError, SettingsError, SourceError, StateDirError
from edged.shm.wake import Wake

SIDE = 64


def _picture(seed: int, bright: bool = False) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Coarse noise, which no compression takes away: any two differ; dark, or bright."""
    low = 160 if bright else 10
    small = np.random.RandomState(seed).randint(low, low + 80, (8, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)


def _video(path: Path, seeds: list[int], bright: range = range(0)) -> str:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (SIDE, SIDE))
    for index, seed in enumerate(seeds):
        writer.write(_picture(seed, index in bright))
    writer.release()
    return f"file://{path}"


def _sample(
    folder: Path, uri: str, events: list[Event] | None = None, stop: Wake | None = None, **values: object
) -> Sample:
    request = SampleRequest(uri=uri, state_dir=str(folder / "state"), model_id="demo", **values)  # type: ignore[arg-type]
    return sample(request, (events if events is not None else []).append, stop)


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in samples_folder(folder / "state", "demo").glob("*"))


def test_a_video_is_sampled_over_its_whole_length(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", list(range(600)), bright=range(300, 310))
    events: list[Event] = []
    found = _sample(tmp_path, uri, events, target=64)
    images = found.record.images
    assert found.record.taken == 600
    assert len(images) == 64
    shares = Counter(image.frame * 4 // 600 for image in images)
    assert all(shares[part] >= 10 for part in range(4)), shares
    assert sum(image.brightness > 150 for image in images) >= 2
    assert {image.why for image in images} >= {"rare", "lot"} or {image.why for image in images} >= {"room", "rare"}
    assert any(isinstance(event, Step) for event in events)


def test_what_is_stored_is_what_was_written_down(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", list(range(80)))
    found = _sample(tmp_path, uri, name="first", target=40)
    assert found.folder == samples_folder(tmp_path / "state", "demo") / "first"
    assert read_record(found.folder) == found.record
    seen = survey([found.folder])
    assert [(image.file, image.digest) for image in seen.images] == [
        (image.file, image.digest) for image in found.record.images
    ]
    assert found.record.digest == set_digest(found.record.images)
    assert len(alike(seen.images)) == len(seen.images)
    assert sorted(path.name for path in found.folder.iterdir() if path.suffix != ".png") == [RECORD_FILE]
    assert _left(tmp_path) == ["first"]


def test_the_same_file_and_seed_make_the_same_sample(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", list(range(150)))
    first, second, other = (_sample(tmp_path, uri, target=40, seed=seed) for seed in (0, 0, 1))
    assert first.folder != second.folder
    assert first.record.digest == second.record.digest != other.record.digest


def test_near_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", [index // 5 for index in range(250)])
    found = _sample(tmp_path, uri)
    assert (len(found.record.images), found.record.alike) == (50, 200)
    assert len(found.warnings) == 1
    assert "50 of 250 frames differ, 200 were too much alike" in found.warnings[0]


def test_a_scene_that_never_changes_is_refused(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", [7] * 100)
    with pytest.raises(EngineError, match="only 1 of 100 frames differ, 99 were too much alike; 32 are the least"):
        _sample(tmp_path, uri)
    assert _left(tmp_path) == []


def test_a_folder_of_one_repeated_image_is_refused(tmp_path: Path) -> None:
    for index in range(40):
        cv2.imwrite(str(tmp_path / f"{index}.png"), _picture(1))
    with pytest.raises(EngineError, match="only 1 of 40 frames differ"):
        _sample(tmp_path, f"dir://{tmp_path}")


def test_a_folder_keeps_names_and_passes_over_what_is_no_image(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(40):
        cv2.imwrite(str(photos / f"{index:02d}.png"), _picture(index))
    (photos / "05.png").write_bytes(b"broken")
    found = _sample(tmp_path, f"dir://{photos}")
    assert (found.record.taken, found.record.broken) == (40, 1)
    assert [image.name for image in found.record.images] == [f"{index:02d}.png" for index in range(40) if index != 5]


def test_a_live_scene_is_sampled_for_its_time(tmp_path: Path) -> None:
    for attempt in range(3):
        begin = time.monotonic()
        found = _sample(tmp_path / str(attempt), "synthetic://shapes?size=160x120&fps=60", minutes=0.05, target=40)
        took = time.monotonic() - begin
        shares = Counter(min(2, int(image.seconds)) for image in found.record.images)
        if all(shares[second] >= 4 for second in range(3)) and found.record.seconds < 3.7:
            break  # else a busy machine may have stopped this process for most of a second
    assert 2.5 < took < 10
    assert found.record.seconds == pytest.approx(3.0, abs=0.7)
    assert all(shares[second] >= 4 for second in range(3)), shares


def test_a_static_camera_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"only 1 of \d+ frames differ, \d+ were too much alike"):
        _sample(tmp_path, "synthetic://shapes?size=64x48&cache=1", minutes=0.01)


def test_a_stop_ends_it_at_once_and_leaves_it_to_the_next(tmp_path: Path) -> None:
    uri = "synthetic://shapes?size=160x120&fps=60"
    stop, parent, asked = Wake(), samples_folder(tmp_path / "state", "demo"), [0.0]

    def stop_when_there_is_a_frame() -> None:
        try:
            wait_until(lambda: any(parent.glob(".*/*.png")), 30, "frame")
        finally:
            asked[0] = time.monotonic()
            stop.set()

    stopper = threading.Thread(target=stop_when_there_is_a_frame)
    stopper.start()
    with pytest.raises(StoppedError):
        _sample(tmp_path, uri, stop=stop, minutes=60, target=40)
    assert time.monotonic() - asked[0] < 5
    stopper.join()
    stop.close()
    (left,) = samples_folder(tmp_path / "state", "demo").glob(".*")
    assert is_unfinished(left)
    with pytest.raises(EngineError, match="never finished"):
        read_record(left)
    events: list[Event] = []
    found = _sample(tmp_path, uri, events, minutes=0.05, target=40)
    assert found.record.resumed == 1
    assert any(isinstance(event, Note) and "goes on" in event.text for event in events)
    assert _left(tmp_path) == [found.folder.name]


def test_no_credential_is_written_down(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailableError) as caught:
        _sample(tmp_path, "rtsp://admin:S3cr@127.0.0.1:1/x")
    assert "S3cr" not in str(caught.value)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"uri": "file:///nowhere/a.mp4"}, SourceError),
        ({"uri": "ftp://nowhere"}, SettingsError),
        ({"uri": "synthetic://shapes", "minutes": 0.0}, SettingsError),
        ({"uri": "synthetic://shapes", "target": 3}, SettingsError),
        ({"uri": "synthetic://shapes", "name": "../x"}, SettingsError),
    ],
)
def test_wrong_values(tmp_path: Path, values: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        _sample(tmp_path, **values)  # type: ignore[arg-type]
    assert _left(tmp_path) == []


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateDirError):
        _sample(tmp_path, "synthetic://shapes?size=64x48")


def test_a_name_is_not_taken_twice(tmp_path: Path) -> None:
    uri = _video(tmp_path / "a.avi", list(range(40)))
    _sample(tmp_path, uri, name="gate")
    with pytest.raises(StateDirError, match="there is a sample of this name"):
        _sample(tmp_path, uri, name="gate")


@pytest.mark.data
def test_a_real_scene(tmp_path: Path) -> None:
    """People who walk through a fixed picture are reason enough to keep a frame; a real video, made small and short."""
    capture = cv2.VideoCapture(str(next((shared_data() / "video").glob("*.avi"))), cv2.CAP_FFMPEG)
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (320, 180))
    for _ in range(100):
        good, image = capture.read()
        assert good
        writer.write(cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA))
    writer.release()
    capture.release()
    record = _sample(tmp_path, f"file://{tmp_path}/a.avi", target=40).record
    assert len(record.images) == 40
    assert record.images[-1].frame > 80
