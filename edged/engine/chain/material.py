# SPDX-License-Identifier: Apache-2.0
"""The images of a build: those that ranges are taken from, those that judge, and what is known of these."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.chain import counted
from edged.engine.evaluate.alike import alike, overlap, refuse_overlap
from edged.engine.evaluate.evaluator import names_of
from edged.engine.evaluate.labels import Labels, load_labels
from edged.engine.images import Survey, survey
from edged.engine.protocol import Note, Phase
from edged.engine.sampling.record import is_unfinished, read_record
from edged.engine.store import file_digest
from edged.engine.workshop import Job
from edged.errors import EngineError

_HELD_OUT = 4
"""One image of so many judges, where no others are given."""


@dataclass(frozen=True)
class Material:
    """What a build measures with.

    Attributes:
        calibration: None where nothing is calibrated.
        evaluation: None where nothing is evaluated.
        labels: None to hold the result against FP32.
        notes: what the user should know of the evaluation, a sentence each.
        digest: of all of it.
    """

    calibration: CalibrationSet | None
    evaluation: Survey | None
    labels: Labels | None
    notes: tuple[str, ...]
    digest: str


def gather(job: Job) -> Material:
    """Look at the images of a build.

    Raises:
        SourceError: a folder is missing or holds no image that can be read.
        EngineError: images are too few, too much alike, or judge what they have made; or the labels do not fit.
    """
    trust = job.request.trust
    job.tell(Phase("looking at the images"))
    for folder in map(Path, trust.calibrate):
        if is_unfinished(folder):
            read_record(folder)  # says what to do about it
    tell = counted.images(job.tell, "images")
    found = survey([Path(one) for one in trust.calibrate], tell) if trust.calibrate else None
    evaluation = survey([Path(one) for one in trust.evaluate], tell) if trust.evaluate else None
    notes: list[str] = []
    if found is not None and evaluation is None:
        found, evaluation = hold_out(found)
        notes.append(
            f"no --evaluate: {len(evaluation.images)} of the calibration images were held out and judge the result; "
            "frames of another day would show more"
        )
    calibration = None if found is None else CalibrationSet(found)
    for note in (*notes, *(() if calibration is None else calibration.warnings)):
        job.tell(Note(note))
    if calibration is not None and evaluation is not None:
        refuse_overlap(evaluation.images, calibration.images)
    labels = None
    if trust.labels is not None and evaluation is not None:
        labels = load_labels(Path(trust.labels), job.spec.task, evaluation.images, names_of(job.prepared))
    return Material(calibration, evaluation, labels, tuple(notes), _digest(calibration, evaluation, trust.labels))


def hold_out(found: Survey) -> tuple[Survey, Survey]:
    """Split images into those to calibrate with and a quarter that judges, the same ones every time.

    Images that look alike stay together; those of a quarter that look like one that calibrates judge nothing.

    Raises:
        EngineError: none is left to judge.
    """
    groups = sorted(alike(found.images), key=lambda group: group[0].digest)
    apart = {image for group in groups[::_HELD_OUT] for image in group}
    rest = tuple(image for image in found.images if image not in apart)
    seen = overlap([image for image in found.images if image in apart], rest)
    known = {image for image, _ in (*seen.same, *seen.near)}
    judging = tuple(image for image in found.images if image in apart and image not in known)
    if not judging or not rest:
        raise EngineError(
            f"of {len(found.images)} calibration images none can be held out to judge the result",
            where="evaluation",
            remedy="give images that differ, and others to judge by: --evaluate DIR",
        )
    return Survey(rest, found.unreadable), Survey(judging)


def _digest(calibration: CalibrationSet | None, evaluation: Survey | None, labels: str | None) -> str:
    total = hashlib.sha256()
    for images in (() if calibration is None else calibration.images, () if evaluation is None else evaluation.images):
        total.update(b"images")
        for image in images:
            total.update(f"{image.group}\0{image.digest}\n".encode())
    total.update(b"labels" if labels is None else _labels_digest(Path(labels)).encode())
    return total.hexdigest()


def _labels_digest(path: Path) -> str:
    if not path.is_dir():
        return file_digest(path)
    files = sorted(one for one in path.iterdir() if one.is_file())
    return hashlib.sha256("".join(f"{one.name}\0{file_digest(one)}\n" for one in files).encode()).hexdigest()
