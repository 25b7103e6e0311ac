# SPDX-License-Identifier: Apache-2.0
"""Imports each module of a package as if it were the first one, and prints as JSON what each said, if anything.

A module imports by itself if all that it imports does, and nothing of that imports it in turn. So modules are imported
one after the other, each behind those that it imports at its top, and circles are an error. Packages that import their
own modules are circles by nature, since Python loads a package before its modules: theirs are tried in forks.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

Graph = Mapping[str, set[str]]
LIBRARIES = ("numpy", "cv2", "msgspec", "onnx", "onnxruntime", "pydantic_settings", "rich.console", "zmq")
"""Loaded before any fork: their loading is what takes the time."""


def files_of(package: Path) -> dict[str, Path]:
    """The modules of a package, by name."""
    return {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in package.rglob("*.py")
    }


def graph_of(files: Mapping[str, Path]) -> Graph:
    """Of each module, those of its package that are loaded before it is."""
    graph = {}
    for module, path in files.items():
        names = {name for name in _imported(ast.parse(path.read_text(encoding="utf-8"))) if name in files}
        parents = {parent for name in (module, *names) for parent in _parents(name)}
        graph[module] = (names | parents) - {module}
    return graph


def in_order(graph: Graph) -> tuple[list[str], list[str]]:
    """Modules that can be imported one after the other, in that order, and those that have to be tried in forks.

    Raises:
        graphlib.CycleError: modules import one another in a circle.
    """
    busy = [name for name, needs in graph.items() if any(need.startswith(f"{name}.") for need in needs)]

    def place(module: str) -> str:
        """The package whose parts count as one, or the module."""
        return next((each for each in busy if each == module or module.startswith(f"{each}.")), module)

    places: dict[str, set[str]] = {}
    for module, needs in graph.items():
        places.setdefault(place(module), set()).update({place(need) for need in needs} - {place(module)})
    order = [each for each in TopologicalSorter(places).static_order() if each not in busy]
    return order, sorted(set(graph) - set(order))


def _imported(tree: ast.Module) -> Iterator[str]:
    """What is imported when a module is, submodules spelled out; some of it may be no module."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def main(package: Path) -> None:
    """Try each module."""
    for library in LIBRARIES:
        importlib.import_module(library)
    order, forked = in_order(graph_of(files_of(package)))
    found = {module: attempt([module])[module] for module in forked} | attempt(order)
    print(json.dumps({module: said for module, said in found.items() if said}))


def attempt(modules: list[str]) -> dict[str, str]:
    """What importing modules in this order, in a process of their own, printed: each one's, errors included."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "w") as answer:
            answer.write(json.dumps({module: _import(module) for module in modules}))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        told = answer.read()
    _, status = os.waitpid(child, 0)
    said: dict[str, str] = json.loads(told) if told else dict.fromkeys(modules, f"ended with {status}")
    return said


def _import(module: str) -> str:
    with tempfile.TemporaryFile() as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        try:
            importlib.import_module(module)
        except BaseException:  # noqa: BLE001 - the top of the process
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        told.seek(0)
        return told.read().decode(errors="replace")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
