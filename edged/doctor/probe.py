# SPDX-License-Identifier: Apache-2.0
"""The child that asks one library: ``python -m edged.doctor.probe NAME PARENT``, its arguments as JSON on stdin.

It tells what it learns at once, line by line, so that what it knew and did survives a crash.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Any

from edged.parent import tie_to_parent


def main(argv: list[str]) -> int:
    """Run one probe."""
    name, parent = argv
    tie_to_parent(int(parent))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is expected to be possible; nobody wants its dump
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is not an answer
    import msgspec

    from edged.doctor.probes import PROBES
    from edged.errors import EdgedError

    def tell(**facts: Any) -> None:
        os.write(out, msgspec.json.encode(facts) + b"\n")

    request = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, Any])
    try:
        PROBES[name](tell, request)
    except EdgedError as error:
        tell(failed=error.what, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - the top of the process; what a library raises is what was asked for
        tell(failed=f"{type(error).__name__}: {error}")
    else:
        tell(done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
