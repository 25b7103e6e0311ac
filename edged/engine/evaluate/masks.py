# SPDX-License-Identifier: Apache-2.0
"""Labels of segmentation: a folder of PNG files with a class number for each pixel."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.labels import Labels, MaskFile, Names, extra, stranger
from edged.engine.evaluate.words import some
from edged.engine.images import Image
from edged.errors import EngineError

IGNORED = 255
"""In a mask: this pixel does not count."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 33
_PALETTE = 3
_REMEDY = "write PNG files of 8 bits, grey or with a palette, whose values are class numbers; 255 is not counted"


def find_masks(path: Path, images: Sequence[Image], names: Names) -> Labels:
    """Find the mask of each image, and make sure of every one.

    Args:
        path: folder of ``<name>.png``, or of folders named like the images' with such files.
        images: whose masks are wanted.
        names: the model's classes.

    Raises:
        EngineError: a mask is none, has another size than its image, or holds class numbers that the model does not
            have.
    """
    truths: list[MaskFile | None] = []
    used: set[Path] = set()
    for image in images:
        file = f"{PurePath(image.name).stem}.png"
        found = next((one for one in (path / image.group / file, path / file) if one.is_file()), None)
        if found is None:
            truths.append(None)
            continue
        truth = MaskFile(found, image.height, image.width)
        _check_classes(read_mask(truth), names, str(found))
        truths.append(truth)
        used.add(found)
    left = sorted(one.name for one in path.glob("*.png") if one not in used)
    return Labels(tuple(truths), extra(left))


def read_mask(truth: MaskFile) -> NDArray[np.uint8]:
    """Class numbers of an image's pixels, uint8 [height, width]; `IGNORED` where a pixel does not count.

    Raises:
        EngineError: it is no mask, or of another size than the image.
    """
    where = str(truth.path)
    try:
        content = truth.path.read_bytes()
        if content[:8] != _SIGNATURE or len(content) < _IHDR_END:
            raise EngineError("it is no PNG file", where=where, remedy=_REMEDY)
        mask = cv2.imdecode(np.frombuffer(indices(content), np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise EngineError(
            f"it cannot be read ({error.strerror})", where=where, remedy="check its permissions"
        ) from error
    except cv2.error as error:
        raise EngineError(f"it cannot be decoded ({error.err})", where=where, remedy=_REMEDY) from error
    if mask is None:
        raise EngineError("it is a broken PNG file", where=where, remedy=_REMEDY)
    if mask.ndim == 3 and (mask[..., :3] == mask[..., :1]).all():
        mask = mask[..., 0]
    if mask.ndim != 2 or (mask.dtype != np.uint8 and mask.max() > IGNORED):
        kind = "a coloured picture" if mask.ndim != 2 else f"a picture with values up to {mask.max()}"
        raise EngineError(f"it is {kind}, no mask of class numbers", where=where, remedy=_REMEDY)
    if mask.shape != (truth.height, truth.width):
        raise EngineError(
            f"it is {mask.shape[1]}x{mask.shape[0]}, its image {truth.width}x{truth.height}",
            where=where,
            remedy="give masks of the images' own size",
        )
    depth = content[24]
    # OpenCV spreads the values of 1, 2 and 4 bits over 0 to 255.
    return np.asarray(mask if depth >= 8 else mask // (255 // ((1 << depth) - 1)), np.uint8)


def indices(png: bytes) -> bytes:
    """A PNG file with a palette as a grey one whose values are the palette's indices; any other as it is.

    OpenCV would look up the colours, which say nothing of the classes. The pixels are stored alike in both kinds: it is
    enough to change the kind in the header.
    """
    if png[25] != _PALETTE:
        return png
    header = png[12:25] + b"\x00" + png[26:29]
    return b"".join([png[:12], header, struct.pack(">I", zlib.crc32(header)), _without_palette(png[_IHDR_END:])])


def _without_palette(chunks: bytes) -> bytes:
    """A PNG file's chunks but for the palette and its transparency, which a grey file must not have."""
    kept = []
    while len(chunks) >= 8:
        size = 12 + struct.unpack(">I", chunks[:4])[0]
        if chunks[4:8] not in (b"PLTE", b"tRNS", b"bKGD", b"hIST"):
            kept.append(chunks[:size])
        chunks = chunks[size:]
    return b"".join(kept)


def _check_classes(mask: NDArray[np.uint8], names: Names, where: str) -> None:
    strange = [int(value) for value in np.unique(mask) if value != IGNORED and not names.has(int(value))]
    if strange:
        raise stranger(f"it holds class numbers that the model does not have: {some(map(str, strange))}", names, where)
