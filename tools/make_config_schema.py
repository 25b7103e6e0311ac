# SPDX-License-Identifier: Apache-2.0
"""Write configs/schema.json, the JSON Schema of the settings, and the table of keys in docs/configuration.md.

python tools/make_config_schema.py           write them
python tools/make_config_schema.py --check   exit 1 if one of them is not up to date
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.config import Settings

REPO = Path(__file__).resolve().parent.parent
SCHEMA = REPO / "configs" / "schema.json"
MANUAL = REPO / "docs" / "configuration.md"
BEGIN, END = "<!-- keys: begin (tools/make_config_schema.py writes this) -->\n", "<!-- keys: end -->"


def schema_text() -> str:
    """The schema as it should stand in its file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def manual_text(current: str) -> str:
    """The manual with the table as it should be."""
    before, _, rest = current.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = ["| key | values | default | meaning |", "|---|---|---|---|", *_rows(Settings.model_json_schema())]
    return before + BEGIN + "\n".join(rows) + "\n" + END + after


def _rows(schema: dict[str, Any]) -> Iterator[str]:
    definitions = schema["$defs"]
    for key, node, required in _leaves(schema, definitions, ""):
        default = "required" if required else _code(node["default"]) if node.get("default") is not None else "-"
        yield f"| `{key}` | {_values(node)} | {default} | {node['description']} |"


def _leaves(
    node: dict[str, Any], definitions: dict[str, Any], prefix: str
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Dotted key, schema and whether it is required, for every key that takes a value."""
    for name, inner in node["properties"].items():
        table = _table(inner, definitions)
        if table is None:
            yield prefix + name, inner, name in node.get("required", ())
        else:
            marker = "[]." if inner.get("type") == "array" else "."
            yield from _leaves(table, definitions, prefix + name + marker)


def _table(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The table that a key holds, or that its list consists of; None for a value."""
    for part in (node, *node.get("anyOf", ()), *node.get("allOf", ()), node.get("items", {})):
        if "$ref" in part:
            table: dict[str, Any] = definitions[part["$ref"].rpartition("/")[2]]
            return table
    return None


def _values(node: dict[str, Any]) -> str:
    """The values that a key takes, in words."""
    node = next((part for part in node.get("anyOf", ()) if part.get("type") != "null"), node)
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if node.get("format") == "path":
        return "path"
    if "pattern" in node:
        return f"`{node['pattern'].removeprefix('^').removesuffix('$')}`"
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "array": "list",
        "string": "text",
    }
    low, above, high = (node.get(bound) for bound in ("minimum", "exclusiveMinimum", "maximum"))
    bounds = [f"from {_figure(low)}"] if low is not None else [f"above {_figure(above)}"] if above is not None else []
    bounds += [f"to {_figure(high)}"] if high is not None else []
    return " ".join([words[node["type"]], *bounds])


def _figure(value: float) -> str:
    return str(int(value) if value == int(value) else value)


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def main() -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the JSON Schema of the settings and the table in the manual.")
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    outdated = []
    for path, text in ((SCHEMA, schema_text()), (MANUAL, manual_text(MANUAL.read_text(encoding="utf-8")))):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        outdated.append(path)
        if not check:
            path.write_text(text, encoding="utf-8")
    for path in outdated if check else ():
        print(f"{path} is out of date; run python tools/make_config_schema.py", file=sys.stderr)
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
