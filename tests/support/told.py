# SPDX-License-Identifier: Apache-2.0
"""A record of how a daemon is, with everything in it: the messages that are kept as examples."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from edged.messages import Health, Stats, Thermal
from edged.monitor.record import Record

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "messages"
_Kind = TypeVar("_Kind", Health, Stats, Thermal)


def example(name: str, kind: type[_Kind]) -> _Kind:
    """An example message."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=kind)


def full_record() -> Record:
    """One of everything, all of one start of the daemon."""
    health = example("health", Health)
    stats = msgspec.structs.replace(example("stats-verified", Stats), boot=health.boot)
    plain = example("stats", Stats)
    stats = msgspec.structs.replace(stats, windows=plain.windows, sustained=plain.sustained, processes=plain.processes)
    thermal = msgspec.structs.replace(example("thermal", Thermal), boot=health.boot)
    return Record(health, stats, thermal, handshake_failures=3)
