#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the JSON Schema of what ``edged doctor --json`` prints to docs/schemas/doctor.json.

python tools/make_doctor_schema.py           write it
python tools/make_doctor_schema.py --check   exit with 1 when it is out of date
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

from edged.doctor.finding import SCHEMA, Report  # noqa: E402

FILE = REPO / "docs" / "schemas" / "doctor.json"


def wanted() -> str:
    """What should stand in the file."""
    (body,), components = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    definitions = dict(components)
    own = dict(definitions.pop(body["$ref"].rsplit("/", 1)[-1]))
    own["required"] = ["schema", *own.get("required", [])]
    own["properties"] = {**own["properties"], "schema": {"const": SCHEMA}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own, "title": SCHEMA}
    return json.dumps(_dedented({**head, "$defs": definitions}), indent=2) + "\n"


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
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        return 0 if FILE.exists() and FILE.read_text() == wanted() else 1
    FILE.write_text(wanted())
    return 0


if __name__ == "__main__":
    sys.exit(main())
