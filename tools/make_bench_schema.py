#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schema of what ``edged bench --json`` writes to docs/schemas/bench.json.

python tools/make_bench_schema.py           write it
python tools/make_bench_schema.py --check   exit with 1 when it is out of date
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from edged.bench.report import SCHEMA, Report  # noqa: E402

FILE = REPO / "docs" / "schemas" / "bench.json"


def wanted() -> str:
    """What should stand in the file."""
    (body,), components = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    definitions = dict(components)
    own = dict(definitions.pop(body["$ref"].rsplit("/", 1)[-1]))
    # Always written, although it has a default in Python.
    own["required"] = ["schema", *own.get("required", [])]
    own["properties"] = {**own["properties"], "schema": {"const": SCHEMA}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, "title": SCHEMA}
    return json.dumps(_dedented({**head, "$defs": dict(sorted(definitions.items()))}), indent=2) + "\n"


def _dedented(part: Any) -> Any:
    """Descriptions without the indentation of the docstrings they come from, which Python 3.13 removes by itself."""
    if isinstance(part, list):
        return [_dedented(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    return {
        key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _dedented(value)
        for key, value in part.items()
    }


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description="Write the JSON Schema of edged bench --json.")
    parser.add_argument("--check", action="store_true", help="exit with 1 when it is out of date")
    text = wanted()
    if parser.parse_args().check:
        current = FILE.is_file() and FILE.read_text(encoding="utf-8") == text
        if not current:
            print(f"{FILE.relative_to(REPO)} is out of date; run tools/make_bench_schema.py", file=sys.stderr)
        return int(not current)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
