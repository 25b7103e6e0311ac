# SPDX-License-Identifier: Apache-2.0
"""Where samples lie, and what is written down about them.

<state_dir>/calibration/<model id>/<name>/sample.json     the record
<state_dir>/calibration/<model id>/<name>/000000123.png   a frame as it came from the source, by its number
<state_dir>/calibration/<model id>/.<name>.tmp/           one that is not finished, with progress.json
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from edged.engine.images import Pixels
from edged.engine.sampling.balance import Why
from edged.errors import EngineError
from edged.files import TEMPORARY

SAMPLES = "calibration"
RECORD_FILE = "sample.json"
PROGRESS_FILE = "progress.json"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a sample.

    Attributes:
        file: its name in the folder.
        digest: SHA-256 of its pixels and their shape, as `edged.engine.images.Image.digest`.
        frame: number of the frame at its source, from 0; goes on when the sampling does.
        seconds: since the sampling began, without the time that it was interrupted; for files and folders, which are
            read as fast as they go, the same as ``frame``.
        at: when it arrived, Unix seconds.
        brightness: mean grey level, 0 to 255.
        difference: from the most similar image that was kept at the time, grey levels; 255 for the first.
        why: it was kept.
        name: of the image at its source, for folders of images.
    """

    file: str
    digest: str
    frame: int
    seconds: float
    at: float
    brightness: float
    difference: int
    why: Why
    name: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a sample.

    Attributes:
        model_id: whose calibration it is for.
        source: its URI without credentials.
        started_at: Unix seconds.
        ended_at: Unix seconds; of an unfinished one when this was written.
        seconds: how long the source was sampled.
        target: most images that were wanted.
        seed: of the choice.
        taken: frames that came.
        alike: of those, frames that looked like one that was kept.
        broken: of those, frames that were no picture.
        resumed: how often the sampling was taken up again.
        images: in the order in which they came.
        digest: of all images in their order; empty while it is not finished.
    """

    model_id: str
    source: str
    started_at: float
    ended_at: float
    seconds: float
    target: int
    seed: int
    taken: int
    alike: int
    broken: int
    images: tuple[Kept, ...]
    resumed: int = 0
    digest: str = ""
    schema: str = "edged.calibration-sample/1"


def samples_folder(state_dir: Path, model_id: str) -> Path:
    """Where a model's samples lie."""
    return state_dir / SAMPLES / model_id


def read_record(folder: Path) -> Record:
    """The record of a finished sample.

    Raises:
        EngineError: it is not finished, its record is broken, or it is no sample.
    """
    if is_unfinished(folder):
        raise EngineError(
            "is a sample that was never finished",
            where=str(folder),
            remedy="run the same edged-build-engine --calibrate-from again: it goes on where it was ended",
        )
    path = folder / RECORD_FILE
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise EngineError(f"is no sample: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise EngineError(f"is broken: {error}", where=str(path), remedy="sample again") from error


def decode(data: bytes) -> Record:
    """A record from its bytes.

    Raises:
        ValueError: it is none.
    """
    return msgspec.json.decode(data, type=Record)


def encode(record: Record) -> bytes:
    """A record as it is stored."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def is_unfinished(folder: Path) -> bool:
    """Whether a folder is a sample that was not finished."""
    return (folder / PROGRESS_FILE).exists() or (folder.name.startswith(".") and folder.name.endswith(TEMPORARY))


def pixels_digest(pixels: Pixels) -> str:
    """What `edged.engine.images` calls the digest of an image, 64 hexadecimal digits."""
    total = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
    total.update(pixels.data)
    return total.hexdigest()


def set_digest(images: tuple[Kept, ...]) -> str:
    """Digest of images in their order, 64 hexadecimal digits."""
    return hashlib.sha256("".join(image.digest for image in images).encode()).hexdigest()
