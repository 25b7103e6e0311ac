# SPDX-License-Identifier: Apache-2.0
"""Stands in for the nvtx package, with the part of its interface that edged uses: notes every range in a file.

The file is ``$FAKE_NVTX_FOLDER/<process id>``; a line is ``domain begin MESSAGE COLOR`` or ``domain end``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class EventAttributes(NamedTuple):
    message: str
    color: str


class Domain:
    def __init__(self, name: str) -> None:
        self._name = name
        # Not buffered: what a killed process has noted counts as well.
        path = Path(os.environ["FAKE_NVTX_FOLDER"]) / str(os.getpid())
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def get_event_attributes(self, message: str, color: str) -> EventAttributes:
        return EventAttributes(message, color)

    def push_range(self, attributes: EventAttributes) -> None:
        os.write(self._fd, f"{self._name} begin {attributes.message} {attributes.color}\n".encode())

    def pop_range(self) -> None:
        os.write(self._fd, f"{self._name} end\n".encode())


def get_domain(name: str) -> Domain:
    return Domain(name)
