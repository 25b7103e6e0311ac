# SPDX-License-Identifier: Apache-2.0
"""Whatever the user got wrong: one clear line, the right exit code, and nothing left half-started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import mistakes_around, mistakes_in_model, mistakes_in_settings
from support.daemon import Daemon, predictions
from support.mistakes import SECRET, Case, Command, lay_out, special_files, spoil

from edged.messages import Health

LOG_LINE = re.compile(r'\{"at": \d+\.\d+, "level": "(info|warning|error)", "text": "')
AS_ROOT = os.geteuid() == 0
CASES = {**mistakes_in_settings.CASES, **mistakes_in_model.CASES, **mistakes_around.CASES}


@pytest.fixture
def layout(short_folder: Path) -> Path:
    """A folder with everything that a daemon needs, all of it right."""
    lay_out(short_folder)
    return short_folder


def commands(folder: Path, case: Case) -> Iterator[tuple[int, Command]]:
    """The commands of a case, started, with the exit codes that they must end with."""
    if case.command:
        arguments = [argument.replace("FOLDER", str(folder)) for argument in case.command]
        yield case.code, Command(folder, [*arguments, *case.flags], case.environ)
        return
    for name, code in (("run", case.code), ("check", case.code if case.check is None else case.check)):
        yield code, Command(folder, [name, f"--config={folder}/edged.toml", *case.flags], case.environ)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_gets_one_line_and_leaves_nothing(layout: Path, case: Case) -> None:
    with spoil(layout, case):
        before = special_files(layout)
        # Side by side, as the two commands have nothing to do with one another.
        started = list(commands(layout, case))
        for code, (found, stderr) in [(code, command.finish()) for code, command in started]:
            lines = [line for line in stderr if not LOG_LINE.match(line)]
            assert found == code, stderr
            assert SECRET not in "".join(stderr)
            assert len(lines) == (1 if code else 0), stderr
            for line in lines:
                assert line.startswith("edged: ")
                assert line.isprintable()
                for piece in case.says:
                    assert piece.replace("FOLDER", str(layout)) in line
        assert special_files(layout) == before


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_a_state_folder_without_write_permission_is_refused(layout: Path) -> None:
    (layout / "state").mkdir(mode=0o500)
    code, stderr = Command(layout, ["run", f"--config={layout}/edged.toml"], {}).finish()
    assert code == 78, stderr
    assert f"edged: {layout}/state: cannot be created" in stderr[-1]


def test_a_good_source_runs_on_beside_a_missing_one(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons(
        {
            "sources": [
                {"name": "good", "uri": "synthetic://shapes?frames=20", "mode": "lossless"},
                {"name": "bad", "uri": "file:///absent/clip.mp4"},
            ],
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    ids: list[int] = []
    states: dict[str, str] = {}
    reasons: list[str] = []
    with daemon.subscriber() as subscriber:
        while len(ids) < 20 or states.get("good") != "ended":
            received = subscriber.receive(10)
            assert received is not None, daemon.output
            if isinstance(received.message, Health):
                states = {name: source.state for name, source in received.message.sources.items()}
                reasons += received.message.reasons
                assert received.message.state != "ready"
            elif received.topic == "v1/predictions/good/":
                ids.append(received.message.frame_id)  # type: ignore[union-attr]
    assert ids == list(range(20))
    assert states == {"good": "ended", "bad": "failed"}
    assert any(reason.startswith("source bad failed: ") and "no such file" in reason for reason in reasons)
    assert daemon.wait(10) == 78
    assert daemon.output.splitlines()[-1].startswith("edged: source bad: file:///absent/clip.mp4: no such file")


def test_a_broken_image_among_good_ones_is_counted_and_skipped(daemons: Callable[..., Daemon], layout: Path) -> None:
    photos = layout / "photos"
    photos.mkdir()
    for name in ("a.png", "c.png"):
        (photos / name).write_bytes(cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[1].tobytes())
    (photos / "b.png").write_bytes(b"no picture")
    daemon = daemons(
        {
            "sources": [{"name": "album", "uri": f"dir://{photos}"}],
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    with daemon.subscriber() as subscriber:
        seen = []
        for received in predictions(subscriber):
            seen.append((received.message.frame_id, received.message.frame.file))  # type: ignore[union-attr]
            if len(seen) == 2:
                break
        last: Health | None = None
        while last is None or last.state != "stopping":
            message = subscriber.receive(10)
            assert message is not None, daemon.output
            last = message.message if isinstance(message.message, Health) else last
    assert seen == [(0, "a.png"), (2, "c.png")]
    assert (last.sources["album"].captured, last.sources["album"].dropped.decode_error) == (3, 1)
    assert daemon.wait(10) == 0, daemon.output
