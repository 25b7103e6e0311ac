# SPDX-License-Identifier: Apache-2.0
"""Entry point of every child process: ``python -m edged.runtime.child ROLE NAME FD PARENT``.

Nothing heavy is imported before the process is tied to its parent.
"""

from __future__ import annotations

import ctypes
import faulthandler
import resource
import signal
import socket
import sys
import traceback
from importlib import import_module

from edged.errors import EdgedError, InternalError
from edged.parent import tie_to_parent
from edged.runtime.channel import Channel
from edged.runtime.control import Control, StoppedError
from edged.runtime.signals import GROUP_SIGNALS, STACKS_SIGNAL
from edged.stages.capture.redact import redact

_PR_SET_NAME = 15
_TRACEBACK_CHARS = 20_000
_MOST_DESCRIPTORS = {"publish": 16384}
"""Each connection to the publisher takes one, and some 5 KB: strangers shall not have as many as the unit allows."""
_ROLES = {
    "prepare": "edged.runtime.prepare_main",
    "capture": "edged.runtime.capture_main",
    "infer": "edged.runtime.infer_main",
    "publish": "edged.runtime.publish_main",
    "verify": "edged.runtime.verify_main",
    "judge": "edged.runtime.judge_main",
    "build": "edged.runtime.build_main",
}


def serve(role: str, name: str, sock: socket.socket) -> None:
    """Do a child's work over its control channel; returns when told to stop.

    Errors that a user can do something about are reported over the channel; the exit status then means little.
    """
    control = Control(Channel(sock))
    try:
        import_module(_ROLES[role]).serve(name, control)
    except StoppedError:
        return
    except EdgedError as error:
        control.report(error)
    except Exception as error:  # noqa: BLE001 - the top of the process: the supervisor says it in one line
        control.tell("traceback", redact(traceback.format_exc())[-_TRACEBACK_CHARS:])
        control.report(InternalError(f"{type(error).__name__}: {redact(str(error))}", where=f"{role} {name}"))
    finally:
        sock.close()


def main(argv: list[str]) -> int:
    """Run one child process."""
    role, name, fd, parent = argv
    # Ctrl-C and many a service manager's SIGTERM reach the whole group; the supervisor alone decides who stops when.
    # They came in blocked (see launch), for an interpreter that still starts would die of them, with a traceback.
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    tie_to_parent(int(parent))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"edged:{role}".encode()[:15], 0, 0, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, _MOST_DESCRIPTORS.get(role, soft)), hard))
    serve(role, name, socket.socket(fileno=int(fd)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
