# SPDX-License-Identifier: Apache-2.0
"""The arguments of ``edged-build-engine``; whatever is wrong with them is one line and exit code 64."""

from __future__ import annotations

import json
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from msgspec.structs import replace

from edged.config import Loaded, load
from edged.engine import trust_options
from edged.engine.key import Three
from edged.engine.protocol import BuildRequest
from edged.engine.request import request_of
from edged.errors import ModelError, UsageError
from edged.problems import closest, printable

PROGRAM = "edged-build-engine"
EXPLAIN = "explain"
LARGEST_BATCH = 1024

_NO_SOURCE = ["--sources", json.dumps([{"name": "none", "uri": "synthetic://shapes"}])]
"""The settings want a source; a build has none."""


class _Parser(ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy=f"see {self.prog} --help")


def parse(arguments: Sequence[str]) -> Namespace:
    """Read the arguments.

    Returns:
        The flags, with ``explain`` saying which command it is; or ``text`` to print instead.

    Raises:
        UsageError: an unknown flag, or a flag's value that does not fit.
    """
    explain = bool(arguments) and arguments[0] == EXPLAIN
    parser = _explain_parser() if explain else _build_parser()
    if {"-h", "--help"}.intersection(arguments):
        return Namespace(text=parser.format_help().rstrip())
    if "--version" in arguments:
        from edged import __version__

        return Namespace(text=f"{PROGRAM} {__version__}")
    blank = Namespace(text=None, explain=explain)
    given, rest = parser.parse_known_args(list(arguments[1:] if explain else arguments), blank)
    if rest:
        raise _unknown(rest[0], parser)
    if given.model is None and given.config is None:
        raise UsageError("a model is required", remedy="name its spec, or give --config for the model of the settings")
    if not explain:
        if given.profile and given.max_batch is not None:
            raise UsageError("--profile and --max-batch both say how large batches get", remedy="give one of them")
        trust_options.check(given)
    return given


def _unknown(argument: str, parser: ArgumentParser) -> UsageError:
    flag = argument.partition("=")[0]
    if not flag.startswith("-"):
        return UsageError(f"one model is enough; what is {printable(argument)}?", remedy=f"see {PROGRAM} --help")
    known = [option for action in parser._actions for option in action.option_strings]
    match = closest(flag, known)
    return UsageError(
        f"unknown flag {printable(flag)}", remedy=f"did you mean {match}?" if match else f"see {parser.prog} --help"
    )


def spec_path(model: Path) -> Path:
    """The model spec: the file itself, or the one beside an ONNX file.

    Raises:
        ModelError: an ONNX file without a spec.
    """
    if model.suffix.lower() != ".onnx":
        return model
    spec = model.with_suffix(".toml")
    if spec.is_file():
        return spec
    raise ModelError(
        "an ONNX file alone does not say what its input and outputs mean",
        where=str(model),
        remedy=f"write {spec} with id, onnx, task, decoder and [input] size (docs/models.md has an example)",
    )


def expect_spec(path: Path) -> None:
    """Say it here where a spec that was named on the command line is not there: later the settings would be blamed.

    Raises:
        ModelError: it is not there.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            "model spec not found",
            where=str(path.absolute()),
            remedy="give the right path; a model spec is a TOML file, docs/models.md describes it",
        ) from None
    except OSError:
        pass  # whoever reads it says why


def chosen_spec(given: Namespace, environ: Mapping[str, str]) -> Path:
    """The spec of the model that was named, or that of the settings.

    Raises:
        ModelError: an ONNX file without a spec.
        SettingsError: the settings file or a variable is wrong.
    """
    if given.model is not None:
        return spec_path(given.model)
    return settings_for(given, Path(), environ).settings.model.spec


def settings_for(given: Namespace, spec: Path, environ: Mapping[str, str]) -> Loaded:
    """The settings that a build goes by: the file where one is given, the environment, defaults.

    Raises:
        SettingsError: the file or a variable is wrong.
    """
    overrides = [] if given.state_dir is None else ["--daemon.state_dir", str(given.state_dir)]
    if given.config is None:
        overrides += [*_NO_SOURCE, "--model.spec", str(spec.absolute())]
    return load(given.config, overrides, environ)


def request_for(given: Namespace, environ: Mapping[str, str]) -> BuildRequest:
    """What to build: the command line over the settings.

    Raises:
        ModelError: no spec, or an ONNX file without one.
        SettingsError: the settings file or a variable is wrong.
    """
    spec = chosen_spec(given, environ)
    loaded = settings_for(given, spec, environ)
    usual = request_of(loaded.settings, spec)
    if given.config is None:
        usual = replace(usual, sources=None)  # the settings hold a stand-in
    over: dict[str, Any] = {
        "backend": given.backend,
        "precision": given.precision,
        "workspace_mb": given.workspace_mb,
        "optimization_level": given.optimization_level,
        "aux_streams": given.aux_streams,
        "keep": given.keep,
        "max_batch": given.max_batch,
        "memory_mb": given.memory_mb,
        "timing_cache": given.timing_cache and str(given.timing_cache.absolute()),
        "plugins": given.plugin and tuple(str(path.absolute()) for path in given.plugin),
    }
    trust = trust_options.over(usual.trust, given)
    request = replace(
        usual, force=given.force, trust=trust, **{name: value for name, value in over.items() if value is not None}
    )
    return replace(request, batches=tuple(given.profile), max_batch=None) if given.profile else request


def _number(low: int, high: int) -> type[int]:
    """A converter of whole numbers within bounds."""

    def convert(text: str) -> int:
        if text.isascii() and text.isdecimal() and low <= int(text) <= high:
            return int(text)
        raise ArgumentTypeError(f"expected a whole number from {low} to {high}, found {printable(text)}")

    return convert  # type: ignore[return-value]


def _batch_limit(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else _number(1, LARGEST_BATCH)(text)


def _profile(text: str) -> Three:
    parts = text.split(",")
    if len(parts) != 3:
        raise ArgumentTypeError(f"expected MIN,OPT,MAX, found {printable(text)}")
    low, best, high = (_number(1, LARGEST_BATCH)(part.strip()) for part in parts)
    if not low <= best <= high:
        raise ArgumentTypeError(f"MIN <= OPT <= MAX must hold, found {printable(text)}")
    return low, best, high


def _build_parser() -> ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} SPEC.toml|MODEL.onnx [FLAGS]\n       {PROGRAM} --config FILE [FLAGS]\n"
        f"       {PROGRAM} {EXPLAIN} SPEC.toml [FLAGS]",
        description="Build an engine for a model on this device and make it the one that edged run takes.",
        epilog="Defaults come from the settings ([build] and [engine]). docs/engines.md tells more.",
        allow_abbrev=False,
    )
    _common(parser)
    trust_options.add(parser)
    parser.add_argument("--force", action="store_true", help="build even where the engine is there already")
    parser.add_argument(
        "--plugin", action="append", type=Path, metavar="LIB", help="library of custom operators; may be repeated"
    )
    parser.add_argument(
        "--profile",
        action="append",
        type=_profile,
        metavar="MIN,OPT,MAX",
        help="batch sizes of an optimisation profile; may be repeated (default: 1,4,8)",
    )
    parser.add_argument(
        "--max-batch", type=_batch_limit, metavar="N|auto", help="most frames in a batch; auto: what the GPU takes"
    )
    parser.add_argument(
        "--workspace-mb", type=_number(16, 1 << 20), metavar="MIB", help="GPU memory that a layer may use"
    )
    parser.add_argument(
        "--optimization-level", type=_number(0, 5), metavar="0..5", help="0 builds fast, 5 searches long"
    )
    parser.add_argument("--aux-streams", type=_number(0, 64), metavar="N", help="streams beside the main one")
    parser.add_argument(
        "--keep", type=_number(0, 1000), metavar="N", help="earlier engines of each precision to keep (default: 1)"
    )
    parser.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="earlier measurements (default: STATE_DIR/timing.cache)"
    )
    return parser


def _explain_parser() -> ArgumentParser:
    parser = _Parser(
        prog=f"{PROGRAM} {EXPLAIN}",
        description="Say which engine of a model is current and why, or why it is not valid here.",
        allow_abbrev=False,
    )
    _common(parser)
    return parser


def _common(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="SPEC.toml|MODEL.onnx",
        help="the model spec, or the file beside it (default with --config: that of the settings)",
    )
    parser.add_argument("--precision", choices=("auto", "int8", "fp16", "tf32", "fp32"), help="default: auto")
    parser.add_argument("--backend", choices=("auto", "tensorrt", "onnxruntime"), help="default: auto")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="where engines lie")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's settings")
    parser.add_argument("--traceback", action="store_true", help=SUPPRESS)
