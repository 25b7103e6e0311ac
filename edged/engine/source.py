# SPDX-License-Identifier: Apache-2.0
"""What the user gave for an engine, kept so that a later difference can be named."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edged.engine.key import Difference
from edged.engine.manifest import Source
from edged.engine.store import file_digest
from edged.graph.decoder_entries import code_digest
from edged.model import ModelSpec


def source_of(spec: ModelSpec, path: Path) -> Source:
    """What the user gave."""
    return Source(
        spec=str(path.absolute()),
        onnx=str(spec.onnx),
        onnx_sha256=file_digest(spec.onnx),
        labels_sha256=None if spec.labels is None else file_digest(spec.labels),
        fields=msgspec.to_builtins(spec.digest_fields()),
        decoder_code=code_digest(spec.decoder).hex(),
    )


def changes(old: Source, new: Source) -> list[str]:
    """What differs between what was given then and now, in words."""
    found = []
    if old.onnx_sha256 != new.onnx_sha256:
        found.append(f"the content of the ONNX file {new.onnx}")
    if old.labels_sha256 != new.labels_sha256:
        found.append("the content of the labels file")
    if old.decoder_code != new.decoder_code:
        found.append("the code of the decoder")
    return [*found, *map(str, field_changes(old.fields, new.fields))]


def field_changes(old: object, new: object, name: str = "") -> list[Difference]:
    """The fields in which two model specs differ, by dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        return [
            change
            for key in keys
            for change in field_changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [Difference(f"{name} of the model spec", str(old), str(new))]
