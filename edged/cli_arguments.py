# SPDX-License-Identifier: Apache-2.0
"""Reading the arguments of ``edged``; whatever is wrong with them is one line and exit code 64."""

from __future__ import annotations

import math
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from edged.cli_keys import add_keys
from edged.errors import UsageError
from edged.problems import closest, printable

DEFAULT_CONFIG = Path("/etc/edged/edged.toml")
DEFAULT_ENDPOINT = "ipc:///run/edged/predictions.sock"
DEMO_SECONDS = 20.0

_OVERVIEW = """\
usage: edged COMMAND [FLAGS]

edged captures frames, runs a model on them and publishes predictions over ZeroMQ.

commands:
  run     run the daemon
  demo    run a built-in model on synthetic sources and show what it sees
  check   check a configuration and show every setting and where it comes from
  reload  have a running daemon read its settings again, and say what came of it
  doctor  find what is wrong with this machine, and the remedy
  tail    print what a running daemon publishes
  top     watch how a running daemon is doing
  keys    key pairs for encrypted tcp endpoints, and who may subscribe there
  bench   measure an engine alone, in the pipeline and in the whole daemon
  export  turn a PyTorch model into an ONNX file and a model spec

edged COMMAND --help tells more; edged --version prints the version."""

_SETTINGS = (
    "Every key of the settings is a flag too: --engine.device 1, or lists as JSON: "
    "--publish.bind='[\"tcp://127.0.0.1:5555\"]'. They override the environment (EDGED_ENGINE__DEVICE), which "
    "overrides the file. docs/configuration.md lists them all."
)


class _Parser(ArgumentParser):
    """An argument parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, remedy=f"see {self.prog} --help")


def parse(arguments: Sequence[str]) -> Namespace:
    """Read the arguments.

    Returns:
        ``command`` and its flags, with ``overrides`` holding the flags that are settings, unchecked; or ``text`` to
        print instead.

    Raises:
        UsageError: an unknown command or flag, or a flag's value that does not fit.
    """
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    before = list(arguments[: arguments.index(name)] if name is not None else arguments)
    if {"-h", "--help"}.intersection(before):
        return Namespace(text=_OVERVIEW)
    if "--version" in before:
        return Namespace(text=_version())
    if before:
        raise UsageError(f"unknown flag {_flag(before[0])}", remedy="flags follow the command; see edged --help")
    if name not in _PARSERS:
        raise _unknown_command(name)
    parser = _PARSERS[name]()
    if {"-h", "--help"}.intersection(arguments):
        return Namespace(text=parser.format_help().rstrip())
    own: list[str] = list(arguments[1:])
    overrides: list[str] = []
    if name == "bench":
        from edged.bench.arguments import split_settings

        own, overrides = split_settings(own)
    given, rest = parser.parse_known_args(own, Namespace(text=None, command=name))
    _refuse_unknown(rest, parser, settings=name in ("run", "check", "reload", "doctor"))
    given.overrides = rest + overrides
    return given


def _version() -> str:
    from edged import __version__

    return f"edged {__version__}"


def _unknown_command(name: str | None) -> UsageError:
    if name is None:
        return UsageError("no command given", remedy="see edged --help")
    match = closest(name, _PARSERS)
    return UsageError(
        f"unknown command {printable(name)}", remedy=f"did you mean {match}?" if match else "see edged --help"
    )


def _flag(argument: str) -> str:
    """The flag without its value, which may be secret."""
    return printable(argument.partition("=")[0])


def _refuse_unknown(rest: Sequence[str], parser: ArgumentParser, *, settings: bool) -> None:
    """Refuse what is neither a flag of the command nor, where it takes them, ``--section.key``."""
    known = [option for action in parser._actions for option in action.option_strings]
    left = iter(rest)
    for argument in left:
        flag = argument.partition("=")[0]
        if settings and flag.startswith("--") and ("." in flag or flag == "--sources"):
            if flag == argument:
                next(left, None)
        elif flag.startswith("-"):
            match = closest(flag, known)
            remedy = f"did you mean {match}?" if match else f"see {parser.prog} --help"
            raise UsageError(f"unknown flag {_flag(argument)} for {parser.prog}", remedy=remedy)
        else:
            raise UsageError(
                f"{parser.prog} takes no argument {printable(argument)}", remedy=f"see {parser.prog} --help"
            )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"expected seconds, 0 or more, found {printable(text)}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise ArgumentTypeError(f"expected a number from 1, found {printable(text)}")
    return int(text)


def _run_parser() -> ArgumentParser:
    parser = _settings_parser("run", "Run the daemon.")
    parser.add_argument(
        "--exit-when-done", action="store_true", help="end once every source has ended and all is published"
    )
    return parser


def _check_parser() -> ArgumentParser:
    parser = _settings_parser("check", "Check a configuration and show every setting and where it comes from.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _reload_parser() -> ArgumentParser:
    parser = _settings_parser(
        "reload", "Have the daemon that runs with these settings read them again, and say what came of it."
    )
    parser.add_argument("--pid", type=_count, help="which one, where several run with the file")
    return parser


def _doctor_parser() -> ArgumentParser:
    parser = _parser(
        "doctor", "Look for what is wrong with this machine or the settings, and tell the remedy.", epilog=_SETTINGS
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"settings (default: {DEFAULT_CONFIG}, if it is there)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", metavar="NAME,…", help="only these checks")
    parser.add_argument("--root", type=Path, default=Path("/"), help=SUPPRESS)
    return parser


def _demo_parser() -> ArgumentParser:
    parser = _parser("demo", "Run a built-in model on synthetic sources and show what it sees.")
    parser.add_argument(
        "--seconds", type=_seconds, default=DEMO_SECONDS, help="how long; 0 = until stopped (default: %(default)g)"
    )
    return parser


def _tail_parser() -> ArgumentParser:
    parser = _parser("tail", "Print what a running daemon publishes, until interrupted.")
    parser.add_argument("--connect", default=DEFAULT_ENDPOINT, metavar="ENDPOINT", help="default: %(default)s")
    add_keys(parser)
    parser.add_argument("--json", action="store_true", help="print each message as it was sent, one a line")
    parser.add_argument("--count", type=_count, help="end after so many messages")
    parser.add_argument("--seconds", type=_seconds, help="end after so many seconds")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="prefix, for example v1/predictions/; default: all")
    return parser


def _top_parser() -> ArgumentParser:
    parser = _parser("top", "Watch how a running daemon is doing, until interrupted.")
    parser.add_argument("--connect", default=DEFAULT_ENDPOINT, metavar="ENDPOINT", help="default: %(default)s")
    add_keys(parser)
    parser.add_argument("--once", action="store_true", help="print one page and end")
    return parser


def _keys_parser() -> ArgumentParser:
    parser = _parser(
        "keys",
        "Make a CURVE key pair (NAME.key to hand out, NAME.key_secret to keep), list who may subscribe over tcp, let a "
        "client in by its public key file, or shut it out. A running daemon follows within two seconds.",
    )
    parser.add_argument("action", choices=["create", "list", "authorise", "revoke"])
    parser.add_argument("name", metavar="NAME|FILE", nargs="?", help="authorise: the client's *.key file")
    parser.add_argument("--name", dest="label", metavar="NAME", help="authorise: another name than the file's")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="default: the working folder for create, else publish.curve.authorized_keys_dir",
    )
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="settings (default: %(default)s)"
    )
    return parser


def _export_parser() -> ArgumentParser:
    from edged.export.arguments import add_flags

    parser = _parser("export", "Turn a PyTorch model into a checked ONNX file and a first model spec.")
    add_flags(parser)
    return parser


def _bench_parser() -> ArgumentParser:
    from edged.bench.arguments import add_flags

    parser = _parser("bench", "Measure an engine alone, in the pipeline and in the whole daemon.", epilog=_SETTINGS)
    add_flags(parser)
    return parser


def _settings_parser(name: str, description: str) -> ArgumentParser:
    parser = _parser(name, description, epilog=_SETTINGS)
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="settings (default: %(default)s)"
    )
    return parser


def _parser(name: str, description: str, epilog: str = "") -> ArgumentParser:
    parser = _Parser(prog=f"edged {name}", description=description, epilog=epilog, allow_abbrev=False)
    parser.add_argument("--traceback", action="store_true", help=SUPPRESS)
    return parser


_PARSERS: dict[str, Callable[[], ArgumentParser]] = {
    "run": _run_parser,
    "demo": _demo_parser,
    "check": _check_parser,
    "reload": _reload_parser,
    "doctor": _doctor_parser,
    "tail": _tail_parser,
    "top": _top_parser,
    "keys": _keys_parser,
    "export": _export_parser,
    "bench": _bench_parser,
}
