# SPDX-License-Identifier: Apache-2.0
"""Who listens: what publish knows of its clients, in its row of the board, so that the supervisor can tell it too."""

from __future__ import annotations

from edged.shm.board import Row

_SUBSCRIBERS, _FAILURES = 4, 5  # words 0 to 3 are sequence numbers, see `edged.runtime.sequences`


class Audience:
    """Two words with one writer, the publish process.

    Args:
        row: publish's row.
    """

    def __init__(self, row: Row) -> None:
        self._row = row

    def note(self, subscribers: int, handshake_failures: int) -> None:
        """Tell how many clients are connected, and how many came without a handshake since this process began."""
        self._row.set_word(_SUBSCRIBERS, subscribers)
        self._row.set_word(_FAILURES, handshake_failures)

    @property
    def subscribers(self) -> int:
        """Clients connected, as last told."""
        return self._row.word(_SUBSCRIBERS)

    @property
    def handshake_failures(self) -> int:
        """Connections without a handshake, as last told."""
        return self._row.word(_FAILURES)
