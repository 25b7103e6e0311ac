# SPDX-License-Identifier: Apache-2.0
"""The end of a build: engines, recipe and report into the store, and which of them is current."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edged.engine.chain.considered import Considered
from edged.engine.describe import describe
from edged.engine.manifest import Choice, Manifest
from edged.engine.outdated import remove_outdated
from edged.engine.protocol import Done, Phase
from edged.engine.shelf import Content, Shelf
from edged.engine.summary import size
from edged.engine.workshop import Job, Workshop
from edged.errors import InternalError


@dataclass(frozen=True)
class Stored:
    """What goes into the store of one candidate.

    Attributes:
        one: the candidate.
        why: it was chosen or not, a sentence each.
        measured: further fields of its manifest.
        beside: further files of its folder, by name.
    """

    one: Considered
    why: tuple[str, ...]
    measured: Mapping[str, Any]
    beside: Mapping[str, bytes]


def store(job: Job, shelf: Shelf, workshop: Workshop, engines: Sequence[Stored], start: float, report: str) -> Done:
    """Store engines and make the first of them the one that was chosen.

    Args:
        job: the build.
        shelf: the store.
        workshop: made them.
        engines: those that hold the bound; the one that was chosen first.
        start: of the build, monotonic seconds.
        report: name of the page in the first one's folder.

    Raises:
        StateDirError: the store cannot be written; what was current still is.
    """
    request = job.request
    job.tell(Phase("storing"))
    manifests: list[Manifest] = []
    folders = []
    for engine in engines:
        one = engine.one
        if one.made is None or one.key is None or one.job is None:
            raise InternalError(f"{one.name} was chosen and never built", where="building")
        content = Content(one.made.content)
        chosen = Choice(backend_asked=request.backend, precision_asked=request.precision, why=engine.why)
        took = time.monotonic() - start
        manifest = describe(one.job, one.key, workshop, one.made, content, chosen, took, **engine.measured)
        manifests.append(manifest)
        folders.append(shelf.put(manifest, content, engine.beside))
    names = [
        shelf.make_current(manifest, chosen=request.precision == "auto" and place == 0)
        for place, manifest in enumerate(manifests)
    ]
    gone = remove_outdated(shelf.folder, request.keep)
    return Done(
        job.spec.id,
        manifests[0].key,
        str(folders[0]),
        True,
        tuple(names[0]),
        tuple(f"{engine} ({size(engine.size)}): {engine.fate}" for engine in gone),
        tuple(name for some in names[1:] for name in some),
        str(folders[0] / report) if report else "",
    )
