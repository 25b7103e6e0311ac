# SPDX-License-Identifier: Apache-2.0
"""Calibration histograms and what they were made from as the bytes of a file.

A ``.npz`` of `edged.engine.int8.cache` with two additions: the key as a member of its own, and as ZIP comment the
SHA-256 of all before it. So any tool that reads ``.npz`` reads it, and no byte of it can change unseen.
"""

from __future__ import annotations

import hashlib
import io
import zipfile

import msgspec

from edged.engine.calibration.key import CalibrationKey
from edged.engine.int8 import cache
from edged.engine.int8.cache import Sets

KEY_MEMBER = "key.json"

_DIGEST_BYTES = 64


class BrokenError(ValueError):
    """The bytes are not those that were written, or of another version."""


def pack(key: CalibrationKey, sets: Sets) -> bytes:
    """Histograms and what they were made from, as bytes.

    Args:
        key: what they were made from.
        sets: histograms by folder and tensor, folders in the key's order.
    """
    buffer = io.BytesIO(cache.pack(sets, key.digest()))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(KEY_MEMBER, msgspec.json.encode(key))
        archive.comment = b"0" * _DIGEST_BYTES
    data = buffer.getvalue()[:-_DIGEST_BYTES]
    return data + _digest(data)


def unpack(data: bytes) -> tuple[CalibrationKey, Sets]:
    """The histograms of some bytes, and what they were made from.

    Raises:
        BrokenError: they are not what `pack` made, or not of this version.
    """
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not content or _digest(content) != digest:
        raise BrokenError("its checksum is wrong")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            key = msgspec.json.decode(archive.read(KEY_MEMBER), type=CalibrationKey)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BrokenError(f"it is of another version: {error}") from error
    sets = cache.unpack(data, key.digest())
    if sets is None:
        raise BrokenError("it is of another version")
    return key, sets


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
