# SPDX-License-Identifier: Apache-2.0
"""``python -m edged.bench.tied PARENT ARGUMENT…``: ``edged ARGUMENT…`` that never outlives its parent, the bench."""

from __future__ import annotations

import sys

from edged.parent import tie_to_parent


def main(argv: list[str]) -> int:
    """Run a command of ``edged``, tied to its parent."""
    tie_to_parent(int(argv[0]))
    from edged.cli import main as run

    return run(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
