#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schema of every message to docs/schemas, and the examples in docs/messages.md.

    python tools/make_message_schemas.py           write them
    python tools/make_message_schemas.py --check   exit with 1 when one is out of date

The examples are the golden files of tests/fixtures/messages.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from edged.messages import BY_SCHEMA  # noqa: E402
from tools.report_schema import schema_of  # noqa: E402

_EXAMPLE = re.compile(r"(?P<head><!-- example: (?P<name>[a-z-]+) -->\n```json\n).*?(?P<tail>```\n)", re.DOTALL)
_NUMBERS = re.compile(r"\[\s+(?P<inner>-?[0-9][0-9.,\s-]*?)\s+\]")


def wanted() -> dict[Path, str]:
    """Every generated file and what should stand in it."""
    files = {
        REPO / "docs" / "schemas" / f"{name.split('.')[1].split('/')[0]}.json": schema_of(kind, name)
        for name, kind in BY_SCHEMA.items()
    }
    guide = REPO / "docs" / "messages.md"
    files[guide] = _EXAMPLE.sub(_fill, guide.read_text(encoding="utf-8"))
    return files


def _fill(match: re.Match[str]) -> str:
    golden = (REPO / "tests" / "fixtures" / "messages" / f"{match['name']}.json").read_text(encoding="utf-8")
    # Lists of numbers read better on one line.
    text = _NUMBERS.sub(lambda found: f"[{' '.join(found['inner'].split())}]", golden)
    return f"{match['head']}{text}{match['tail']}"


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is out of date")
    check = parser.parse_args().check
    stale = [
        (path, text) for path, text in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        print(f"{path.relative_to(REPO)} {'is out of date; run tools/make_message_schemas.py' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
