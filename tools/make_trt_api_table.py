# SPDX-License-Identifier: Apache-2.0
"""Makes ``edged/gpu/trt_api.json``: which TensorRT versions have the names that edged uses.

    python tools/make_trt_api_table.py FOLDER [--check]

FOLDER holds one JSON file a version (``8.6.0.json``, …): the names of the Python module, each with its members. The
table keeps only what edged uses, so that the test that reads edged's code needs nothing but the repository.

What counts as use: ``trt.NAME``, ``trt.NAME.MEMBER`` (also behind ``self.``), and ``VARIABLE.MEMBER`` where the
variable's name begins with ``trt_`` and stands in `CLASSES`. Asking by ``hasattr`` or by ``getattr`` with a default
makes a name (and what is in it) optional within that function: some version must have it, not all.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CODE = ROOT / "edged" / "gpu"
TABLE = CODE / "trt_api.json"

CLASSES = {
    "trt_builder": "Builder",
    "trt_cache": "ITimingCache",
    "trt_config": "IBuilderConfig",
    "trt_context": "IExecutionContext",
    "trt_creator": "IPluginCreator",
    "trt_engine": "ICudaEngine",
    "trt_error": "ParserError",
    "trt_inspector": "EngineInspector",
    "trt_layer": "ILayer",
    "trt_network": "INetworkDefinition",
    "trt_parser": "OnnxParser",
    "trt_profile": "IOptimizationProfile",
    "trt_registry": "IPluginRegistry",
    "trt_runtime": "Runtime",
    "trt_tensor": "ITensor",
}
"""Class of what a variable holds, by the variable's name (a leading underscore does not matter)."""

ALWAYS = frozenset({"__version__", "__init__"})

Members = Mapping[str, Iterable[str]]


class Use(NamedTuple):
    """One use of a name: where, the name (``Class.member`` or ``name``), and whether the code asks before."""

    place: str
    name: str
    guarded: bool


def uses(source: str, file: str) -> list[Use]:
    """All uses of TensorRT's names in a file.

    Raises:
        ValueError: a variable that begins with ``trt_`` is not in `CLASSES`, so that its uses cannot be checked.
    """
    tree = ast.parse(source)
    asked: dict[int, set[str]] = {}
    found = []
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = set(_asked(function))
            found += [Use(f"{file}:{function.lineno}", name, True) for name in sorted(names)]
            for node in ast.walk(function):
                asked.setdefault(id(node), set()).update(names)
    for node in ast.walk(tree):
        name = _name(node)
        if name is not None:
            known = asked.get(id(node), set())
            # Who asked for a class may use what is in it.
            guarded = name in known or name.partition(".")[0] in known
            found.append(Use(f"{file}:{getattr(node, 'lineno', 0)}", name, guarded))
    return found


def all_uses(folder: Path = CODE) -> list[Use]:
    """All uses in a folder's Python files."""
    return [use for path in sorted(folder.rglob("*.py")) for use in uses(path.read_text("utf-8"), path.name)]


def table(found: Iterable[Use], versions: Mapping[str, Members]) -> dict[str, object]:
    """The compact table: names that every version has, and for the others the versions that have them."""
    have = {version: set(_flat(members)) for version, members in versions.items()}
    everywhere, partly = [], {}
    for name in sorted({use.name for use in found}):
        holders = [version for version in have if name in have[version]]
        if len(holders) == len(have):
            everywhere.append(name)
        else:
            partly[name] = holders
    return {"versions": list(have), "everywhere": everywhere, "partly": partly}


def problems(found: Iterable[Use], known: Mapping[str, object]) -> list[str]:
    """Uses that some supported version would not understand, as texts."""
    everywhere, partly, versions = known["everywhere"], known["partly"], known["versions"]
    assert isinstance(everywhere, list)
    assert isinstance(partly, dict)
    assert isinstance(versions, list)
    bad = []
    for use in found:
        holders = versions if use.name in everywhere else partly.get(use.name)
        if holders is None:
            bad.append(f"{use.place}: {use.name} is not in the table: run tools/make_trt_api_table.py")
        elif not holders:
            bad.append(f"{use.place}: no TensorRT has {use.name}")
        elif len(holders) < len(versions) and not use.guarded:
            lacking = ", ".join(version for version in versions if version not in holders)
            bad.append(f"{use.place}: {use.name} is missing in {lacking}; ask with hasattr or getattr first")
    return bad


def read(folder: Path) -> dict[str, Members]:
    """The versions' names from a folder, oldest version first, drop-ins last."""
    paths = sorted(folder.glob("*.json"), key=lambda path: _order(path.stem))
    if not paths:
        raise SystemExit(f"{folder} holds no .json file")
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def text(content: Mapping[str, object]) -> str:
    """The table as it stands in its file."""
    return json.dumps(content, indent=1) + "\n"


def _order(version: str) -> tuple[int, list[int]]:
    numbers = version.rpartition("-")[2].split(".")
    return (int("-" in version), [int(number) for number in numbers])


def _flat(members: Members) -> Iterator[str]:
    for name, inside in members.items():
        yield name
        yield from (f"{name}.{member}" for member in inside)


def _asked(function: ast.AST) -> Iterator[str]:
    """Names that a function asks for by ``hasattr`` or ``getattr`` with a default."""
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2):
            continue
        enough = {"hasattr": 2, "getattr": 3}.get(node.func.id)
        attribute = node.args[1]
        if enough == len(node.args) and isinstance(attribute, ast.Constant) and isinstance(attribute.value, str):
            owner = _owner(node.args[0])
            if owner is not None:
                yield f"{owner}.{attribute.value}".removeprefix(".")


def _name(node: ast.AST) -> str | None:
    """``Class.member`` or ``name`` if the node uses one."""
    if not isinstance(node, ast.Attribute) or node.attr in ALWAYS:
        return None
    owner = _owner(node.value)
    return None if owner is None else f"{owner}.{node.attr}".removeprefix(".")


def _owner(node: ast.AST) -> str | None:
    """The class that a node stands for, ``""`` for the module itself, None for anything else."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    plain = name.lstrip("_")
    if plain == "trt":
        return ""
    if plain.startswith("trt_"):
        if plain not in CLASSES:
            raise ValueError(f"what class is {name}? Name it in CLASSES of {Path(__file__).name}")
        return CLASSES[plain]
    if isinstance(node, ast.Attribute) and _owner(node.value) == "":
        return node.attr
    return None


def main(argv: list[str]) -> int:
    """Write the table, or compare it with what it should be."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    options = arguments.parse_args(argv)
    found = all_uses()
    made = table(found, read(options.folder))
    for problem in problems(found, made):
        print(problem, file=sys.stderr)
    if problems(found, made):
        return 1
    if options.check:
        fresh = TABLE.read_text("utf-8") == text(made)
        print(f"{TABLE.name} is {'up to date' if fresh else 'out of date'}")
        return 0 if fresh else 1
    TABLE.write_text(text(made), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
