# SPDX-License-Identifier: Apache-2.0
"""A child's side of the control channel: wait for settings, notice the request to stop, report errors."""

from __future__ import annotations

import os
from collections.abc import Callable

from edged.errors import BY_NAME, EdgedError, InternalError
from edged.runtime.channel import Channel, ChannelClosedError, Note

_LOOK_S = 60.0
_LONGEST_TEXT = 4000
"""Characters of each part of a reported error: a library's text may be longer than a message can be."""


class StoppedError(Exception):
    """The supervisor asked this child to stop, or is gone."""


class Control:
    """Receives notes; remembers that a stop was asked for.

    Args:
        channel: to the supervisor.
        on_note: called with notes that arrive while the child works.
    """

    def __init__(self, channel: Channel, on_note: Callable[[Note], None] | None = None) -> None:
        self._channel = channel
        self.on_note = on_note
        self.stopped = False

    def fileno(self) -> int:
        """The channel's descriptor."""
        return self._channel.fileno()

    def tell(self, kind: str, body: object = None) -> None:
        """Send a note to the supervisor; if it is gone, the next look at the channel says so."""
        self._channel.send(kind, body)

    def report(self, error: EdgedError) -> None:
        """Tell the supervisor why this child cannot go on."""
        parts = {"what": error.what, "where": error.where, "remedy": error.remedy}
        cut = {part: text[:_LONGEST_TEXT] for part, text in parts.items()}
        # Errors of a backend are not known to the supervisor, which never loads it; their kind, and with it the exit
        # code, is that of the nearest ancestor that is.
        known = next(kind for kind in type(error).__mro__ if BY_NAME.get(kind.__name__) is kind)
        self._channel.send("error", {"name": known.__name__, **cut})

    def expect(self, kind: str) -> Note:
        """The next note, which must be of a kind; waits as long as the supervisor lives.

        Raises:
            StoppedError: asked to stop instead, or the supervisor is gone.
            InternalError: something else came.
        """
        note = None
        while note is None:
            try:
                note = self._channel.receive(_LOOK_S)
            except ChannelClosedError as error:
                raise StoppedError from error
        if note.kind == "stop":
            raise StoppedError
        if note.kind != kind:
            raise InternalError(f"the supervisor sent {note.kind} where {kind} was expected")
        return note

    def should_stop(self) -> bool:
        """Whether to stop; takes in what has arrived, never waits."""
        return self.pause(0.0)

    def pause(self, seconds: float) -> bool:
        """Wait for a note, at most the time given; whether to stop."""
        while not self.stopped:
            try:
                note = self._channel.receive(seconds)
            except ChannelClosedError:
                self.stopped = True
                break
            if note is None:
                break
            if note.kind == "stop":
                self.stopped = True
            elif self.on_note is not None:
                self.on_note(note)
            else:
                for fd in note.fds:
                    os.close(fd)
            seconds = 0.0
        return self.stopped
