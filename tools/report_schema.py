# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of what edged writes as JSON: messages, and the reports of commands."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec


def schema_of(report: type[msgspec.Struct], name: str) -> str:
    """The schema (2020-12) of what always holds ``name`` in its field ``schema``."""
    (body,), components = msgspec.json.schema_components([report], ref_template="#/$defs/{name}")
    definitions = dict(components)
    own = dict(definitions.pop(body["$ref"].rsplit("/", 1)[-1]))
    # Always written, although it has a default in Python.
    own["required"] = ["schema", *own.get("required", [])]
    own["properties"] = {**own["properties"], "schema": {"const": name}}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name}
    rest = {key: value for key, value in own.items() if key != "title"}
    whole = _dedented({**head, **rest, "$defs": dict(sorted(definitions.items()))})
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def main(tool: str, file: Path, text: str) -> int:
    """Write the file; with ``--check`` exit with 1 when it is out of date."""
    parser = argparse.ArgumentParser(description=f"Write the JSON Schema {file.name}.")
    parser.add_argument("--check", action="store_true", help="exit with 1 when it is out of date")
    if not parser.parse_args().check:
        file.write_text(text, encoding="utf-8")
        return 0
    current = file.is_file() and file.read_text(encoding="utf-8") == text
    if not current:
        print(f"{file.name} is out of date; run {tool}", file=sys.stderr)
    return 0 if current else 1


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
