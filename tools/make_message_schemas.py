#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schema of every message to docs/schemas, and the examples in docs/messages.md.

    python tools/make_message_schemas.py           write them
    python tools/make_message_schemas.py --check   exit with 1 when one is out of date

The examples are the golden files of tests/fixtures/messages.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from edged.messages import BY_SCHEMA  # noqa: E402

_EXAMPLE = re.compile(r"(?P<head><!-- example: (?P<name>[a-z-]+) -->\n```json\n).*?(?P<tail>```\n)", re.DOTALL)
_NUMBERS = re.compile(r"\[\s+(?P<inner>-?[0-9][0-9.,\s-]*?)\s+\]")


def schema_of(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the message with this ``schema`` value."""
    kind = BY_SCHEMA[name]
    (body,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    definitions = dict(components)
    own = dict(definitions.pop(body["$ref"].rsplit("/", 1)[-1]))
    # The sender always writes it, although it has a default in Python.
    own["required"] = ["schema", *own.get("required", [])]
    own["properties"] = {**own["properties"], "schema": {"const": name}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name}
    rest = {key: value for key, value in own.items() if key != "title"}
    schema: dict[str, Any] = _dedented({**head, **rest, "$defs": dict(sorted(definitions.items()))})
    return schema


def _dedented(part: Any) -> Any:
    """Descriptions without the indentation of the docstrings they come from: Python 3.13 removes it, 3.10 does not."""
    if isinstance(part, list):
        return [_dedented(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    return {
        key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _dedented(value)
        for key, value in part.items()
    }


def wanted() -> dict[Path, str]:
    """Every generated file and what should stand in it."""
    files = {
        REPO / "docs" / "schemas" / f"{name.split('.')[1].split('/')[0]}.json": json.dumps(
            schema_of(name), indent=2, ensure_ascii=False
        )
        + "\n"
        for name in BY_SCHEMA
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
