# SPDX-License-Identifier: Apache-2.0
"""Calibration on disk: histograms, and the key of all that they depend on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import numpy as np

from edged.engine.int8.histogram import BINS, Histogram

FORMAT = 1
_NO_EXPONENT = -(1 << 20)

Sets = Mapping[str, Mapping[str, Histogram]]


def pack(sets: Sets, key: str) -> bytes:
    """The file's content.

    Args:
        sets: histograms by set and tensor, see `Calibration`.
        key: digest of the model, the images and the preprocessing.
    """
    rows = [(name, tensor, one) for name, histograms in sets.items() for tensor, one in histograms.items()]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        format=np.array(FORMAT),
        key=np.array(key),
        sets=np.array([name for name, _, _ in rows], dtype=np.str_),
        tensors=np.array([tensor for _, tensor, _ in rows], dtype=np.str_),
        counts=np.array([one.counts for _, _, one in rows], dtype=np.int64).reshape(-1, BINS),
        exponents=np.array([_NO_EXPONENT if one.exponent is None else one.exponent for _, _, one in rows], np.int64),
        largest=np.array([one.largest for _, _, one in rows], np.float64),
    )
    return content.getvalue()


def unpack(content: bytes, key: str) -> dict[str, dict[str, Histogram]] | None:
    """Read it back; None where it is damaged, of another version, or of another key: then calibrate again."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            if int(stored["format"]) != FORMAT or str(stored["key"]) != key:
                return None
            sets: dict[str, dict[str, Histogram]] = {}
            rows = (stored[name] for name in ("sets", "tensors", "counts", "exponents", "largest"))
            for name, tensor, counts, exponent, largest in zip(*rows, strict=True):
                one = Histogram()
                one.counts = counts.copy()
                one.exponent = None if exponent == _NO_EXPONENT else int(exponent)
                one.largest = float(largest)
                sets.setdefault(str(name), {})[str(tensor)] = one
            return sets
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
