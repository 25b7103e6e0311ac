# SPDX-License-Identifier: Apache-2.0
"""``--calibrate-from SOURCE --minutes N``: a folder of varied frames of the user's own source."""

from __future__ import annotations

import contextlib
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edged.engine.evaluate.alike import ENOUGH, FEWEST, TOLERANCE
from edged.engine.images import LOOK_SIDE, Pixels, look
from edged.engine.protocol import Note, Step, Tell
from edged.engine.sampling.balance import PARTS, Balance
from edged.engine.sampling.feed import Descriptor, EndedError
from edged.engine.sampling.kept_looks import KeptLooks
from edged.engine.sampling.record import Kept, Record, pixels_digest, set_digest
from edged.engine.sampling.steady import SteadySource
from edged.engine.sampling.work_folder import WorkFolder, begin
from edged.errors import EngineError, SettingsError
from edged.stages.capture.readers.base import Picture
from edged.stages.capture.uri import parse

TARGET = 500
"""Images of a sample."""
LONGEST_MINUTES = 7 * 24 * 60.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TICK_S = 0.5
_REMEMBER_S = 2.0
_LOOKS = 8
"""Frames of a live source that are looked at for each image wanted, within these bounds, frames per second."""
_LOOK_FPS = (1.0, 30.0)


class SampleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to sample.

    Attributes:
        uri: any source that edged knows.
        state_dir: where samples lie.
        model_id: whose calibration it is for.
        minutes: how long live sources are sampled; files and folders are read to their end.
        target: most images.
        name: of the sample; default: the time.
        seed: of the choice: the same file and seed make the same sample.
        patience_s: longest time without a frame, seconds.
    """

    uri: str
    state_dir: str
    model_id: str
    minutes: float = 10.0
    target: int = TARGET
    name: str = ""
    seed: int = 0
    patience_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished sample.

    Attributes:
        folder: where the images lie, for ``--calibrate``.
        record: what is known of them.
        warnings: sentences for the user.
    """

    folder: Path
    record: Record
    warnings: tuple[str, ...]


def sample(request: SampleRequest, tell: Tell, stop: Descriptor | None = None) -> Sample:
    """Sample a source.

    Args:
        request: what to sample.
        tell: takes steps and notes.
        stop: ends it at once when it becomes readable; the next sampling of the same camera goes on from there.

    Raises:
        StoppedError: it was stopped.
        SettingsError: the URI or another value is wrong.
        SourceError: a file or folder that is not there or cannot be read.
        DeviceUnavailableError: a camera that cannot be opened, or gives no frames.
        EngineError: too few frames differ.
        StateDirError: the folder cannot be written.
        RestartWantedError: another sampling works under the same name.
    """
    source = parse(request.uri)
    _check(request)
    live = source.live_by_default
    fps = min(_LOOK_FPS[1], max(_LOOK_FPS[0], _LOOKS * request.target / (request.minutes * 60)))
    with contextlib.ExitStack() as stack:
        frames = SteadySource(source, live=live, fps=fps, patience_s=request.patience_s, stop=stop)
        stack.callback(frames.close)
        # A scene is told from others by its options, which hold no secret.
        shown = request.uri if source.kind == "synthetic" else source.shown
        work = begin(Path(request.state_dir), request.model_id, shown, name=request.name, resume=live)
        stack.callback(work.close)
        sampling = _Sampling(request, shown, frames, work, tell, live=live)
        sampling.run()
        return sampling.finish()


def _check(request: SampleRequest) -> None:
    if not 0 < request.minutes <= LONGEST_MINUTES:
        raise SettingsError(f"{request.minutes:g} minutes", where="--minutes", remedy="give 1 to 10080, a week")
    if request.target < FEWEST:
        raise SettingsError(f"{request.target} images are too few", where="--calibrate-from", remedy=f"want {FEWEST}")
    if request.name and not _NAME.fullmatch(request.name):
        raise SettingsError("the name of a sample holds letters, digits and . _ - only", where="--calibrate-from")


class _Sampling:
    """One sampling under way."""

    def __init__(
        self, request: SampleRequest, shown: str, frames: SteadySource, work: WorkFolder, tell: Tell, *, live: bool
    ) -> None:
        self._request = request
        self._shown = shown
        self._frames = frames
        self._work = work
        self._tell = tell
        self._live = live
        self._total_s = request.minutes * 60 if self._live else 0.0
        self._balance = Balance(request.target, self._total_s / PARTS if self._live else 1.0, request.seed)
        self._looks = KeptLooks(request.target)
        self._kept: dict[str, Kept] = {}
        self._alike = 0
        self._start: float | None = None
        self._before = work.before
        self._told = self._remembered = time.monotonic()
        self._started_at = time.time()
        if self._before is not None:
            self._started_at = self._before.started_at
            self._resume(self._before)

    def run(self) -> None:
        """Take frames until the source or the time ends."""
        try:
            while not self._live or self._seconds() < self._total_s:
                taken = self._frames.take(min(_TICK_S, self._left()))
                if taken is not None:
                    self._start = self._start or time.monotonic()
                    self._look_at(*taken)
                self._report()
        except EndedError:
            return
        finally:
            self._tell(Step("frames kept", 0, 0))
            self._tell(Step("seconds", 0, 0))
            if self._kept:
                self._work.remember(self._record())
            else:
                self._work.remove()

    def finish(self) -> Sample:
        """Store the sample, unless it is of no use."""
        record = self._record()
        if len(self._kept) < FEWEST:
            self._work.remove()
            raise EngineError(
                f"only {len(self._kept)} of {record.taken} frames differ{self._lost(record)}; {FEWEST} are the least, "
                f"{ENOUGH} are good",
                where=self._shown,
                remedy="sample for longer, at a time when something happens and the light changes",
            )
        warnings = []
        if len(self._kept) < min(ENOUGH, self._request.target):
            warnings.append(
                f"{len(self._kept)} of {record.taken} frames differ{self._lost(record)}: ranges are better known from "
                f"{ENOUGH}"
            )
        record = msgspec.structs.replace(record, digest=set_digest(record.images))
        return Sample(self._work.finish(record), record, tuple(warnings))

    def _resume(self, before: Record) -> None:
        """Take in what an earlier sampling has kept."""
        shape = (LOOK_SIDE, LOOK_SIDE)
        for image, pixels in self._work.recall(before.images[: self._request.target]):
            self._kept[image.file] = image
            self._looks.add(image.file, np.frombuffer(pixels, np.uint8).reshape(shape))
            self._balance.restore(image.file, image.seconds, image.brightness)
        self._work.remember(self._record())
        self._tell(
            Note(f"goes on with a sampling that was ended after {before.seconds:.0f} s: {len(self._kept)} frames kept")
        )

    def _look_at(self, number: int, picture: Picture) -> None:
        """Keep a frame if it is worth it."""
        small = look(picture.image)
        difference = self._looks.difference(small)
        if difference <= TOLERANCE:
            self._alike += 1
            return
        frame = number + (self._before.taken if self._before else 0)
        moment = self._seconds() if self._live else float(number)
        brightness = float(small.mean())
        file = f"{frame:09d}.png"
        verdict = self._balance.offer(file, moment, brightness)
        if verdict is None:
            return
        if verdict.instead_of is not None:
            loser = str(verdict.instead_of)
            self._looks.remove(loser)
            del self._kept[loser]
            self._work.drop(loser)
        self._store(file, picture.image)
        self._looks.add(file, small)
        self._kept[file] = Kept(
            file=file,
            digest=pixels_digest(picture.image),
            frame=frame,
            seconds=round(moment, 3),
            at=picture.captured_at_ns / 1e9,
            brightness=round(brightness, 1),
            difference=difference,
            why=verdict.why,
            name=picture.file,
        )

    def _store(self, file: str, pixels: Pixels) -> None:
        # PNG, so that every build sees the very pixels. Level 1 takes a third of the time of level 6 (720p: 33 ms), for
        # files a fifth larger.
        _, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not self._kept:
            self._work.check_room(data.size * self._request.target)
        self._work.put(file, data.tobytes())

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._told >= _TICK_S:
            self._told = now
            self._tell(Step("frames kept", len(self._kept), self._request.target))
            if self._live:
                total = math.ceil(self._total_s)
                self._tell(Step("seconds", min(int(self._seconds()), total), total))
        if self._kept and now - self._remembered >= _REMEMBER_S:
            self._remembered = now
            self._work.remember(self._record())

    def _seconds(self) -> float:
        """How long the source has been sampled, without interruptions."""
        before = self._before.seconds if self._before else 0.0
        return before + (time.monotonic() - self._start if self._start is not None else 0.0)

    def _left(self) -> float:
        return self._total_s - self._seconds() if self._live else _TICK_S

    def _lost(self, record: Record) -> str:
        """What became of the other frames, as a clause."""
        if record.alike:
            return f", {record.alike} were too much alike"
        return ""

    def _record(self) -> Record:
        before = self._before
        return Record(
            model_id=self._request.model_id,
            source=self._shown,
            started_at=self._started_at,
            ended_at=time.time(),
            seconds=round(self._seconds(), 3),
            target=self._request.target,
            seed=self._request.seed,
            taken=self._frames.taken + (before.taken if before else 0),
            alike=self._alike + (before.alike if before else 0),
            broken=self._frames.broken + (before.broken if before else 0),
            images=tuple(self._kept.values()),
            resumed=before.resumed + 1 if before else 0,
        )
