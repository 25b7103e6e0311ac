# SPDX-License-Identifier: Apache-2.0
"""What calibration histograms were made from, and how two of them differ, in words."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edged.engine.evaluate.words import some
from edged.engine.images import Image
from edged.engine.int8.histogram import BINS

FORMAT = 1
"""Raised whenever the same inputs would make other histograms."""

_ABSENT = "not set"


class ImageId(msgspec.Struct, frozen=True, array_like=True):
    """An image: which folder it is from, what it is called there, and what counts, the digest of its pixels."""

    folder: str
    name: str
    digest: str


class CalibrationKey(msgspec.Struct, frozen=True, kw_only=True):
    """All that histograms depend on: two keys of the same digest stand for the same histograms.

    Attributes:
        model: digest of the prepared graph.
        images: in their order, folder by folder.
        preprocessing: the model spec's ``input``.
        settings: of what collects, see `collector_settings`.
        format: of this record.
    """

    model: str
    images: tuple[ImageId, ...]
    preprocessing: dict[str, Any]
    settings: dict[str, Any]
    format: int = FORMAT

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders, in their order."""
        return tuple(dict.fromkeys(image.folder for image in self.images))

    def digest(self) -> str:
        """SHA-256 over all that counts, 64 hexadecimal digits. What folders and images are called does not."""
        folders: dict[str, list[str]] = {}
        for image in self.images:
            folders.setdefault(image.folder, []).append(image.digest)
        content = [self.format, self.model, list(folders.values()), self.preprocessing, self.settings]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def image_ids(images: Iterable[Image]) -> tuple[ImageId, ...]:
    """Images as a key holds them."""
    return tuple(ImageId(image.group, image.name, image.digest) for image in images)


def collector_settings(tensors: Sequence[str], **more: str | int | float) -> dict[str, Any]:
    """The settings of what collects histograms.

    Args:
        tensors: those with histograms.
        more: what else makes a difference, for example what runs the model.
    """
    asked = msgspec.json.encode(list(tensors))
    return {"bins": BINS, "tensors": hashlib.sha256(asked).hexdigest(), **more}


def differences(cached: CalibrationKey, wanted: CalibrationKey) -> list[str]:
    """In what two keys differ, a clause each; empty where their digests are the same."""
    if cached.digest() == wanted.digest():
        return []
    found = _images(cached.images, wanted.images)
    found += _values("preprocessing", cached.preprocessing, wanted.preprocessing)
    found += _values("settings", cached.settings, wanted.settings)
    # A model's digest covers its spec: another preprocessing is another model, of which no more is known.
    if cached.model != wanted.model:
        found.append(f"model, its spec or its labels: {cached.model[:12]} then, {wanted.model[:12]} now")
    if cached.format != wanted.format:
        found.append("version of edged")
    return found


def _images(cached: Sequence[ImageId], wanted: Sequence[ImageId]) -> list[str]:
    """Added, removed and changed images; one that only has another name or place counts as neither."""
    then, now = Counter(one.digest for one in cached), Counter(one.digest for one in wanted)
    gone, new = _only(cached, then - now), _only(wanted, now - then)
    changed = {(one.folder, one.name) for one in gone} & {(one.folder, one.name) for one in new}
    parts = []
    for what, images in (("added", new), ("removed", gone)):
        names = [f"{one.folder}/{one.name}" for one in images if (one.folder, one.name) not in changed]
        if names:
            parts.append(f"{len(names)} {what} ({some(names)})")
    if changed:
        parts.append(f"{len(changed)} changed ({some(sorted(f'{folder}/{name}' for folder, name in changed))})")
    if parts:
        return ["images: " + ", ".join(parts)]
    if _grouped(cached) != _grouped(wanted):
        return ["images: the same ones in other folders"]
    if [one.digest for one in cached] != [one.digest for one in wanted]:
        return ["images: the same ones in another order"]
    return []


def _only(images: Sequence[ImageId], extra: Counter[str]) -> list[ImageId]:
    left = extra.copy()
    found = []
    for image in reversed(images):
        if left[image.digest] > 0:
            left[image.digest] -= 1
            found.append(image)
    return found[::-1]


def _grouped(images: Sequence[ImageId]) -> set[frozenset[str]]:
    folders: dict[str, set[str]] = {}
    for image in images:
        folders.setdefault(image.folder, set()).add(image.digest)
    return set(map(frozenset, folders.values()))


def _values(what: str, cached: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{what}: {name} was {_shown(cached.get(name, _ABSENT))}, is {_shown(wanted.get(name, _ABSENT))}"
        for name in sorted({*cached, *wanted})
        if cached.get(name, _ABSENT) != wanted.get(name, _ABSENT)
    ]


def _shown(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text
