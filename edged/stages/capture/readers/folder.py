# SPDX-License-Identifier: Apache-2.0
"""Folders of images."""

from __future__ import annotations

import errno
import os

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.stages.capture.readers.base import DecodeError, Picture, ReadFailedError, arrival, shown_name
from edged.stages.capture.readers.opencv import to_bgr
from edged.stages.capture.uri import is_image, is_regular

_FORBIDDEN = (errno.EACCES, errno.EPERM)


class FolderReader:
    """The images of a folder by byte order of their names, without folders inside.

    Images are turned the way their EXIF orientation says, 16-bit ones come as 8-bit, transparency is dropped. The list
    of names is made once: images that come later are not seen, those that go away are decode errors.

    Args:
        path: absolute, of the folder.

    Attributes:
        notes: what of the folder is left out, see `edged.stages.capture.readers.base.notes_of`.

    Raises:
        ReadFailedError: it cannot be listed, or holds no image.
    """

    decode = "software"
    fps = None

    def __init__(self, path: str) -> None:
        self._folder = path
        if not os.path.isdir(path):
            raise _gone()
        self._names, others = _listed(path)
        self.notes = _left_out(others)
        self._next = 0
        self._any = False
        self._only_missing = True

    def read(self) -> Picture | None:
        """Take the next image; None behind the last.

        Raises:
            DecodeError: it cannot be read.
            ReadFailedError: the end came without a single image that could be read, or the folder is gone.
        """
        if self._next == len(self._names):
            if not self._any:
                raise self._nothing()
            return None
        name = self._names[self._next]
        try:
            picture = self._load(name)
        except DecodeError as error:
            missing = isinstance(error.__cause__, OSError) and error.__cause__.errno not in _FORBIDDEN
            if missing and not os.path.isdir(self._folder):
                raise _gone() from error
            self._only_missing = self._only_missing and missing
            self._next += 1
            raise
        self._next += 1
        self._any = True
        return picture

    def skip(self, count: int) -> None:
        """Pass over so many images."""
        self._next = min(self._next + count, len(self._names))
        self._any = self._any or count > 0

    def rewind(self) -> None:
        """Start again with the first image."""
        self._next = 0
        self._any = False
        self._only_missing = True

    def close(self) -> None:
        """Nothing is open between two reads."""

    def _load(self, name: str) -> Picture:
        captured_ns, captured_at_ns = arrival()
        return Picture(read_image(self._folder, name), captured_ns, captured_at_ns, name_text(name))

    def _nothing(self) -> ReadFailedError:
        count = len(self._names)
        if self._only_missing:  # the folder of a drive that was taken out
            return ReadFailedError(f"none of its {count} images is there any more", permanent=True, gone=True)
        return ReadFailedError(f"none of its {count} images can be read", permanent=True)


def image_names(path: str) -> list[str]:
    """Names of a folder's images by their byte order, without folders inside.

    Raises:
        ReadFailedError: it cannot be listed, or holds no image.
    """
    return _listed(path)[0]


def _listed(path: str) -> tuple[list[str], list[str]]:
    """Names of a folder's images by their byte order, and of what has such a name but is no regular file."""
    names: list[str] = []
    others: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if is_image(entry.name):
                    (names if is_regular(entry) else others).append(entry.name)
    except OSError as error:
        gone = error.errno not in _FORBIDDEN
        raise ReadFailedError(f"cannot be listed: {error.strerror}", permanent=True, gone=gone) from error
    if not names:
        raise ReadFailedError("holds no image", permanent=True, gone=True)
    return sorted(names, key=os.fsencode), sorted(others, key=os.fsencode)


def _gone() -> ReadFailedError:
    return ReadFailedError("the folder is gone", permanent=True, gone=True)


def _left_out(others: list[str]) -> list[str]:
    """What to say of entries that are passed over."""
    if not others:
        return []
    first = shown_name(name_text(others[0]))
    if len(others) == 1:
        return [f"1 entry is no regular file and was left out: {first}"]
    return [f"{len(others)} entries are no regular files and were left out: {first} first"]


def read_image(folder: str, name: str) -> NDArray[np.uint8]:
    """Decode one image of a folder: uint8 height×width×3, blue-green-red.

    Raises:
        DecodeError: it cannot be read, or is no image.
    """
    file = name_text(name)
    # Not cv2.imread: it takes no name that is not UTF-8 (and OpenCV 5.0 crashes on one).
    try:
        data = np.fromfile(os.path.join(folder, name), np.uint8)
        if not data.size:
            raise DecodeError("is empty (0 bytes)", file=file)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except OSError as error:
        raise DecodeError(error.strerror or str(error), file=file) from error
    except cv2.error as error:  # more pixels than OpenCV takes
        raise DecodeError(error.err, file=file) from error
    if image is None:
        raise DecodeError("is not an image, or damaged", file=file)
    return to_bgr(image)


def name_text(name: str) -> str:
    """A file's name as text that fits into a message, whatever its bytes."""
    return os.fsencode(name).decode(errors="replace")
