# SPDX-License-Identifier: Apache-2.0
"""What the supervisor tells the world: events, health and statistics, to subscribers and to the service manager."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from edged.messages import DaemonState, EngineHealth
from edged.runtime import status
from edged.runtime.members import Member
from edged.runtime.monitoring import Monitoring
from edged.runtime.notify import Notifier
from edged.runtime.rings import Rings
from edged.runtime.sources import Sources
from edged.runtime.verify import Data, Verification
from edged.runtime.web import Web
from edged.runtime.web_record import shown

_LOG = logging.getLogger("edged")


class Herald:
    """Sends what there is to tell to publish, and in a line to the service manager.

    Args:
        publish: the process that has the socket.
        notifier: to the service manager.
        web: answers over HTTP.
    """

    def __init__(self, publish: Member, notifier: Notifier, web: Web) -> None:
        self._publish = publish
        self._notifier = notifier
        self._web = web
        self._started_s = time.monotonic()

    def announce(self, kind: str, source: str, severity: str, text: str, data: Data | None = None) -> None:
        """Log an event, and publish it if there is somebody who can."""
        level = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}[severity]
        _LOG.log(level, "%s", text, extra={"event": kind, "source": source})
        if self._publish.ready:
            body = {"kind": kind, "source": source, "severity": severity, "text": text, "data": data or {}}
            self._publish.tell("event", body)

    def tell(
        self,
        state: DaemonState,
        sources: Sources,
        members: Sequence[Member],
        rings: Rings,
        engine: EngineHealth | None,
        verification: Verification,
        monitoring: Monitoring,
    ) -> None:
        """Tell how things are.

        Raises:
            SharedMemoryError: a process was stopped with a lock in hand.
        """
        for handler in _LOG.handlers:
            handler.flush()  # what was folded and has not been told
        body = status.health(state, sources.names, sources.statuses, members, rings, engine)
        if state != "stopping":
            self._notifier.status(status.in_a_line(body))
        verified = verification.figures(rings.samples)
        stats = status.stats(
            self._started_s,
            [*members, *verification.members],
            rings,
            verified,
            windows=monitoring.windows(),
            sustained=monitoring.sustained(),
        )
        bodies = {"health": msgspec.to_builtins(body), "stats": msgspec.to_builtins(stats)}
        thermal = monitoring.thermal()
        if thermal is not None:
            bodies["thermal"] = thermal
        self._web.show(shown(bodies, sources.names, members, rings))
        if not self._publish.ready:
            return
        for kind, content in bodies.items():
            self._publish.tell(kind, content)
        for notice in self._web.take_notices():
            self.announce(notice.kind, "", notice.severity, notice.text)
