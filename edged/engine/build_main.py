# SPDX-License-Identifier: Apache-2.0
"""The building child: ``python -m edged.engine.build_main PARENT``, request on stdin, events on stdout.

A build runs in a process of its own because nothing else can end it at once: while TensorRT builds, Python gets no word
in. Nothing heavy is imported before the process is tied to its parent.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, BinaryIO

from edged.parent import tie_to_parent

if TYPE_CHECKING:
    from edged.engine.protocol import BuildRequest, Done, Tell

_TRACEBACK_CHARS = 20_000


def serve(request: BinaryIO, events: BinaryIO) -> None:
    """Build what is asked for, and tell how it goes."""
    import msgspec

    from edged.engine.memory import is_shortage
    from edged.engine.protocol import BuildRequest, Event, Failed, to_line
    from edged.errors import EdgedError, InternalError

    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            events.write(to_line(event))
            events.flush()

    try:
        tell(_engine(msgspec.json.decode(request.read(), type=BuildRequest), tell))
    except EdgedError as error:
        tell(Failed.of(error, memory=is_shortage(error)))
    except Exception as error:  # noqa: BLE001 - the top of the process: the parent says it in one line
        text = traceback.format_exc()[-_TRACEBACK_CHARS:]
        failure = InternalError(f"{type(error).__name__}: {error}", where="building")
        tell(Failed.of(failure, text, memory=is_shortage(error)))


def _engine(request: BuildRequest, tell: Tell) -> Done:
    """The engine that is there already, or the one that is built now."""
    if request.serving is not None:
        from edged.engine.standing import standing

        found = standing(request, request.serving, tell)
        if found is not None:
            return found
    # Only now: a daemon whose engine is there should not wait for onnx and onnxruntime to load.
    from edged.engine.build import build

    return build(request, tell)


def main(argv: list[str]) -> int:
    """Run one build."""
    # Ctrl-C reaches the whole group; the parent alone decides who stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tie_to_parent(int(argv[0]))
    # Libraries write to stdout now and then: events go out by a descriptor of their own.
    with os.fdopen(os.dup(1), "wb") as events:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, events)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
