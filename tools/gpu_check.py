# SPDX-License-Identifier: Apache-2.0
"""What has to be shown on a machine with a GPU. Run from the root of the repository.

    python tools/gpu_check.py export --folder D     (with a Python that has PyTorch, if there is one)
    python tools/gpu_check.py all --folder D        (with a Python that has TensorRT)

Parts can be run one by one: build, right, fast, steady, broken, daemon. Each writes D/PART.json, also into ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

PARTS = {"build": 590, "right": 560, "fast": 300, "steady": 200, "broken": 400, "daemon": 300}
"""Parts of ``all`` in their order, and the most seconds that each may take."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a part; returns 0 where everything was as it must be."""
    given = _parser().parse_args(arguments)
    folder: Path = given.folder.resolve()
    # Whatever a part starts finds edged, wherever it starts it.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if given.part == "all":
        return _all(given, folder)
    if given.part == "case":
        from tools.gpu.broken import one

        return one(folder, given.name)
    begin = time.monotonic()
    try:
        results = _part(given, folder)
    except Exception as error:  # noqa: BLE001 - the top of the process: the table must say so
        traceback.print_exc()
        results = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    seconds = round(time.monotonic() - begin, 1)
    _write(given, folder, given.part, {"seconds": seconds, "results": results})
    print(table({given.part: {"seconds": seconds, "results": results}}), flush=True)
    return 0 if good(results) else 1


def good(results: dict[str, Any]) -> bool:
    """Whether every result in a tree of results is as it must be."""
    own = results.get("ok", True)
    return bool(own) and all(good(each) for each in results.values() if isinstance(each, dict))


def table(parts: dict[str, Any]) -> str:
    """One line for each result."""
    lines = []
    for part, found in parts.items():
        results = found.get("results", {})
        rows = {"": results} if "ok" in results else results
        for name, row in rows.items():
            verdict = "ok   " if good(row) else "WRONG"
            told = ", ".join(f"{key} {_short(value)}" for key, value in row.items() if key not in ("ok", "said"))
            lines.append(f"{verdict} {f'{part} {name}'.strip():28s} {told[:300]}")
        lines.append(f"      {part} took {found.get('seconds', '?')} s")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "/".join(str(value[key]) for key in ("ms", "frames_per_s", "ratio") if key in value) or str(value)
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1 else str(value)


def _part(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    # Each imports what only it needs: the export runs where edged's dependencies are not installed.
    if given.part == "export":
        from tools.gpu.models import export

        return export(folder)
    if given.part == "build":
        from tools.gpu.building import build_all

        return build_all(folder, given.only)
    if given.part == "right":
        from tools.gpu.right import right

        return right(folder, given.batches)
    if given.part == "fast":
        from tools.gpu.fast import fast

        return fast(folder, given.rounds)
    if given.part == "steady":
        from tools.gpu.steady import steady

        return steady(folder, given.seconds)
    if given.part == "broken":
        from tools.gpu.broken import broken

        return broken(folder)
    from tools.gpu.daemon import daemon_parts

    return daemon_parts(folder)


def _all(given: argparse.Namespace, folder: Path) -> int:
    """Every part in a process of its own: one that crashes or hangs does not stop the others."""
    found: dict[str, Any] = {}
    for part, limit in PARTS.items():
        if part in given.skip:
            continue
        own = folder / f"{part}.json"
        own.unlink(missing_ok=True)
        print(f"--- {part}", flush=True)
        begin, code = time.monotonic(), -1
        try:
            command = [sys.executable, "-u", str(Path(__file__).resolve()), part, "--folder", str(folder)]
            code = subprocess.run(command, cwd=ROOT, timeout=limit, check=False).returncode
            why = f"ended with {code}"
        except subprocess.TimeoutExpired:
            why = f"not done within {limit} s"
        seconds = round(time.monotonic() - begin, 1)
        found[part] = json.loads(own.read_text()) if own.is_file() else {"seconds": seconds, "results": _failed(why)}
        if code not in (0, 1):
            found[part]["results"]["exit"] = _failed(why)
        _write(given, folder, "all", found)
    print(table(found), flush=True)
    return 0 if all(good(each["results"]) for each in found.values()) else 1


def _failed(why: str) -> dict[str, Any]:
    return {"ok": False, "error": why}


def _write(given: argparse.Namespace, folder: Path, name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, default=str)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(text)
    if given.json is not None:
        given.json.mkdir(parents=True, exist_ok=True)
        (given.json / f"{name}.json").write_text(text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--folder", type=Path, required=True, help="models, engines and results")
    common.add_argument("--json", type=Path, metavar="DIR", help="write results here too")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("export", "broken", "daemon"):
        parts.add_parser(name, parents=[common])
    build = parts.add_parser("build", parents=[common])
    build.add_argument("--only", action="append", metavar="ENGINE", help="such as number-fp32; may be repeated")
    right = parts.add_parser("right", parents=[common])
    right.add_argument("--batches", type=int, default=20_000, help="of numbers, for each way (default: %(default)s)")
    fast = parts.add_parser("fast", parents=[common])
    fast.add_argument("--rounds", type=int, default=12, help="default: %(default)s")
    steady = parts.add_parser("steady", parents=[common])
    steady.add_argument("--seconds", type=float, default=60.0, help="default: %(default)s")
    everything = parts.add_parser("all", parents=[common])
    everything.add_argument("--skip", action="append", default=[], choices=list(PARTS), help="may be repeated")
    case = parts.add_parser("case", parents=[common], help="one broken thing, in this process")
    case.add_argument("--name", required=True)
    return parser


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # the parts are modules below tools
    sys.exit(main())
