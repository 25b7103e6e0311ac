# SPDX-License-Identifier: Apache-2.0
"""Builds that end themselves by SIGKILL: ``python -m support.chain_sweep FOLDER`` kills one at every event it tells.

Each build goes on with what the one before has left. Prints a JSON list: for each, what it told, and the engines that
were current afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from edged.engine.build import build
from edged.engine.protocol import Event, Note, Phase
from edged.engine.shelf import tidy
from edged.engine.store import model_folder, read_current
from support.chains import Rig

_MOST = 60


def killed_at(rig: Rig, number: int) -> tuple[list[str], bool]:
    """Run a build in a child that dies at an event; all that it told, and whether the build ended before."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        seen = 0

        def tell(event: Event) -> None:
            nonlocal seen
            if isinstance(event, Phase | Note):
                seen += 1
                os.write(writer, f"{event}\n".encode())
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        build(rig.request(), tell)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the build that was to end at event {number} failed")
    return told, not os.WIFSIGNALED(status)


def main(folder: Path) -> None:
    """Kill builds until one is through."""
    rig = Rig(folder, folder / "net.toml", folder / "calib", folder / "val", folder / "state")
    found = []
    for number in range(1, _MOST):
        told, through = killed_at(rig, number)
        tidy(rig.state)
        found.append((told, dict(read_current(model_folder(rig.state, "net")).engines)))
        if through:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
