# SPDX-License-Identifier: Apache-2.0
"""Folders of images."""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.stages.capture.readers.base import DecodeError, Picture, ReadFailedError, arrival
from edged.stages.capture.readers.opencv import to_bgr
from edged.stages.capture.uri import is_image


class FolderReader:
    """The images of a folder by byte order of their names, without folders inside.

    Images are turned the way their EXIF orientation says, 16-bit ones come as 8-bit, transparency is dropped. The list
    of names is made once: images that come later are not seen, those that go away are decode errors.

    Args:
        path: absolute, of the folder.

    Raises:
        ReadFailedError: it cannot be listed, or holds no image.
    """

    decode = "software"
    fps = None

    def __init__(self, path: str) -> None:
        self._folder = path
        self._names = image_names(path)
        self._next = 0
        self._any = False

    def read(self) -> Picture | None:
        """Take the next image; None behind the last.

        Raises:
            DecodeError: it cannot be read.
            ReadFailedError: the end came without a single image that could be read.
        """
        if self._next == len(self._names):
            if not self._any:
                raise ReadFailedError(f"none of its {len(self._names)} images can be read", permanent=True)
            return None
        name = self._names[self._next]
        self._next += 1
        picture = self._load(name)
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

    def close(self) -> None:
        """Nothing is open between two reads."""

    def _load(self, name: str) -> Picture:
        captured_ns, captured_at_ns = arrival()
        return Picture(read_image(self._folder, name), captured_ns, captured_at_ns, name_text(name))


def image_names(path: str) -> list[str]:
    """Names of a folder's images by their byte order, without folders inside.

    Raises:
        ReadFailedError: it cannot be listed, or holds no image.
    """
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries if is_image(entry.name) and entry.is_file()]
    except OSError as error:
        raise ReadFailedError(f"cannot be listed: {error.strerror}", permanent=True) from error
    if not names:
        raise ReadFailedError("holds no image", permanent=True)
    return sorted(names, key=os.fsencode)


def read_image(folder: str, name: str) -> NDArray[np.uint8]:
    """Decode one image of a folder: uint8 height×width×3, blue-green-red.

    Raises:
        DecodeError: it cannot be read, or is no image.
    """
    # Not cv2.imread: it takes no name that is not UTF-8 (and OpenCV 5.0 crashes on one).
    try:
        data = np.fromfile(os.path.join(folder, name), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except OSError as error:
        raise DecodeError(f"{name_text(name)}: {error.strerror}") from error
    except cv2.error as error:  # an empty file, more pixels than OpenCV takes
        raise DecodeError(f"{name_text(name)}: {error.err}") from error
    if image is None:
        raise DecodeError(f"{name_text(name)}: not an image")
    return to_bgr(image)


def name_text(name: str) -> str:
    """A file's name as text that fits into a message, whatever its bytes."""
    return os.fsencode(name).decode(errors="replace")
