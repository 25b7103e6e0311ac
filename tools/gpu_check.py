# SPDX-License-Identifier: Apache-2.0
"""What has to be shown on a machine with a GPU. Run from the root of the repository.

    python tools/gpu_check.py export --folder D     (with a Python that has PyTorch, if there is one)
    python tools/gpu_check.py all --folder D        (with a Python that has TensorRT)

Parts can be run one by one, or ``all --only fast,int8``. Each writes D/PART.json, also into ``--json``. What lies in
``--data`` (the ladder to compare with, the clip, a timing cache) is used where it is there; a part that cannot run here
says why and is no failure.
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
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

PARTS = {
    "build": 590,
    "right": 500,
    "fast": 300,
    "int8": 150,
    "ladder": 180,
    "resnet50": 300,
    "daemon": 240,
    "broken": 300,
    "steady": 420,
    "bench": 240,
    "chain": 590,
    "swap": 400,
    "sustained": 580,
}
"""Parts of ``all`` in their order, and the most seconds that each may take."""
CHAIN_STEPS = (
    "digits",
    "agree-digits",
    "measured",
    "resnet18-1",
    "resnet18-128",
    "yolox",
    "agree-yolox",
    "rest",
    "killed",
)
"""Of the part ``chain``: those that an earlier call has done are not done again."""
ANYWHERE = ("export",)
"""Parts that need no GPU."""


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
        anywhere = given.part in ANYWHERE or getattr(given, "backend", "tensorrt") != "tensorrt"
        missing = "" if anywhere else lacking()
        results = {"skipped": missing} if missing else _part(given, folder)
    except Exception as error:  # noqa: BLE001 - the top of the process: the table must say so
        traceback.print_exc()
        results = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    seconds = round(time.monotonic() - begin, 1)
    _write(given, folder, given.part, {"seconds": seconds, "results": results})
    print(table({given.part: {"seconds": seconds, "results": results}}), flush=True)
    return 0 if good(results) else 1


def lacking() -> str:
    """What this machine lacks for the parts that need a GPU; empty where all is there."""
    from edged.errors import DeviceUnavailableError
    from edged.gpu import load
    from edged.gpu.cuda import CudaGpu

    try:
        load.tensorrt()
        CudaGpu(0).close()
    except DeviceUnavailableError as error:
        return f"needs an NVIDIA GPU with TensorRT: {error.what}"
    return ""


def good(results: dict[str, Any]) -> bool:
    """Whether every result in a tree of results is as it must be, or was skipped."""
    own = results.get("ok", True)
    return bool(own) and all(good(each) for each in results.values() if isinstance(each, dict))


def table(parts: dict[str, Any]) -> str:
    """One line for each result: verdict, name, target, figures."""
    lines = []
    for part, found in parts.items():
        results = found.get("results", {})
        rows = {"": results} if "ok" in results or "skipped" in results else results
        for name, row in rows.items():
            verdict = "skip " if "skipped" in row else "ok   " if good(row) else "WRONG"
            told = [f"{key} {_short(value)}" for key, value in row.items() if key not in ("ok", "said", "target")]
            target = f"[{row['target']}] " if "target" in row else ""
            lines.append(f"{verdict} {f'{part} {name}'.strip():34s} {target}{', '.join(told)[:400]}")
        lines.append(f"      {part} took {found.get('seconds', '?')} s")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "/".join(str(value[key]) for key in ("ms", "frames_per_s", "ratio") if key in value) or str(value)
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1 else str(value)


def _part(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    # Each imports what only it needs: the export runs where edged's dependencies are not installed.
    module, function, arguments = {
        "export": ("models", "export", ()),
        "build": ("building", "build_all", ("only", "data")),
        "right": ("right", "right", ("batches",)),
        "fast": ("fast", "fast", ("rounds",)),
        "int8": ("int8", "int8", ("rounds",)),
        "ladder": ("rungs", "rungs", ("data", "rounds")),
        "resnet50": ("table", "resnet50", ("torch_python",)),
        "daemon": ("daemon", "daemon_parts", ("data",)),
        "broken": ("broken", "broken_parts", ()),
        "steady": ("steady", "steady", ("seconds",)),
        "bench": ("bench", "bench", ()),
        "sustained": ("sustained", "sustained", ("minutes", "data")),
        "chain": ("chain", "chain", ("data", "json", "seconds", "steps")),
        "swap": ("swap", "swap", ("backend", "rounds", "data")),
    }[given.part]
    work = getattr(import_module(f"tools.gpu.{module}"), function)
    results: dict[str, Any] = work(folder, *(getattr(given, name) for name in arguments))
    return results


def _all(given: argparse.Namespace, folder: Path) -> int:
    """Every part in a process of its own: one that crashes or hangs does not stop the others."""
    from tools.gpu.results import NOTES, noted

    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for part, limit in PARTS.items():
        if part in given.skip or (given.only and part not in given.only):
            continue
        own = folder / f"{part}.json"
        own.unlink(missing_ok=True)
        print(f"--- {part}", flush=True)
        begin, code = time.monotonic(), -1
        notes = folder / f"{part}.notes"
        notes.unlink(missing_ok=True)
        try:
            command = [sys.executable, "-u", str(Path(__file__).resolve()), part, "--folder", str(folder)]
            command += ["--data", str(given.data)]
            surroundings = os.environ | {NOTES: str(notes)}
            code = subprocess.run(command, cwd=ROOT, timeout=limit, check=False, env=surroundings).returncode
            why = f"ended with {code}"
        except subprocess.TimeoutExpired:
            why = f"not done within {limit} s"
        seconds = round(time.monotonic() - begin, 1)
        found[part] = json.loads(own.read_text()) if own.is_file() else {"seconds": seconds, "results": noted(notes)}
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


def _names(text: str) -> list[str]:
    return text.split(",")


def _parts(text: str) -> list[str]:
    for name in _names(text):
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"there is no part {name}, only {', '.join(PARTS)}")
    return _names(text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--folder", type=Path, required=True, help="models, engines and results")
    common.add_argument("--data", type=Path, default=ROOT / ".gpu" / "data", help="default: %(default)s")
    common.add_argument("--json", type=Path, metavar="DIR", help="write results here too")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("export", "broken", "daemon", "bench"):
        parts.add_parser(name, parents=[common])
    build = parts.add_parser("build", parents=[common])
    build.add_argument("--only", type=_names, metavar="ENGINES", help="such as number-fp32,resnet18-fp16")
    right = parts.add_parser("right", parents=[common])
    right.add_argument("--batches", type=int, default=20_000, help="of numbers, for each way (default: %(default)s)")
    for name, rounds in (("fast", 12), ("int8", 12), ("ladder", 10)):
        measured = parts.add_parser(name, parents=[common])
        measured.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    resnet50 = parts.add_parser("resnet50", parents=[common])
    resnet50.add_argument("--torch-python", default="python3", help="a Python with PyTorch (default: %(default)s)")
    steady = parts.add_parser("steady", parents=[common])
    steady.add_argument("--seconds", type=float, default=300.0, help="default: %(default)s")
    chain = parts.add_parser("chain", parents=[common], help="INT8 from images to the engine that is chosen")
    chain.add_argument("--seconds", type=float, default=560.0, help="of this call (default: %(default)s)")
    chain.add_argument("--steps", type=_names, default=CHAIN_STEPS, metavar="STEPS", help="such as digits,yolox")
    swap = parts.add_parser("swap", parents=[common], help="another engine takes over under load; kill -9; sources")
    swap.add_argument("--backend", choices=("tensorrt", "onnxruntime", "fake"), default="tensorrt")
    swap.add_argument("--rounds", type=int, default=5, help="there and back (default: %(default)s)")
    sustained = parts.add_parser("sustained", parents=[common], help="minutes at full load; run it twice")
    sustained.add_argument("--minutes", type=float, default=6.0, help="default: %(default)s")
    everything = parts.add_parser("all", parents=[common])
    everything.add_argument("--only", type=_parts, default=[], metavar="PARTS", help="such as fast,int8")
    everything.add_argument("--skip", type=_parts, default=[], metavar="PARTS", help="such as build,steady")
    case = parts.add_parser("case", parents=[common], help="one broken thing, in this process")
    case.add_argument("--name", required=True)
    return parser


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # the parts are modules below tools
    sys.exit(main())
