# SPDX-License-Identifier: Apache-2.0
"""Every error a user may meet, with the exit code it ends the process with.

    EdgedError                         70
    ├── UsageError                     64  unknown flag or command
    ├── AccuracyRefusedError           65  a build refused for accuracy
    ├── DeviceUnavailableError         69  the device or backend asked for is not here
    ├── InternalError                  70  a bug, or a process that dies repeatedly
    │   └── SharedMemoryError              a ring that is not what it should be
    ├── OutputError                    74  what a command says cannot be written
    ├── RestartWantedError             75  come back later
    │   └── EndpointInUseError             another instance holds the endpoint
    └── ConfigError                    78  what the user gave does not fit
        ├── SettingsError                  a key, a value, a missing file
        ├── ModelError                     the spec, the ONNX file, the labels
        │   └── DecoderError               the decoder does not fit the model's outputs
        ├── EngineError                    an engine that is missing, broken or not valid here, or cannot be built
        ├── StateDirError                  state_dir cannot be written
        └── SourceError                    a file or folder source that is not there or holds nothing readable

An error is one line: *where* it is, *what* is wrong, and what to *do*.
"""

from __future__ import annotations

import os
from typing import ClassVar

_LONGEST = 2000
"""Characters of an error that quotes something without end; the last ones, with the remedy, are kept."""
_TAIL = 600


class EdgedError(Exception):
    """Root of the tree.

    Args:
        what: what is wrong, as a clause without a full stop.
        where: the file, key, endpoint or source concerned; empty when there is none.
        remedy: what the user should do about it; empty when nothing can be done.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """The whole error as one printable line, whatever its parts contained."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{head}; {self.remedy}" if self.remedy else head
        line = " ".join(text.split())
        if not line.isprintable():
            line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - _TAIL]} … {line[-_TAIL:]}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[EdgedError], what: str, where: str, remedy: str) -> EdgedError:
    """Recreate an error that crossed a process boundary."""
    return kind(what, where=where, remedy=remedy)


class UsageError(EdgedError):
    """An unknown flag or command."""

    exit_code = 64


class AccuracyRefusedError(EdgedError):
    """A build whose accuracy is out of bound."""

    exit_code = 65


class DeviceUnavailableError(EdgedError):
    """The device or backend that was asked for is not available here."""

    exit_code = 69


class InternalError(EdgedError):
    """A bug, or a process that dies repeatedly."""

    exit_code = 70


class SharedMemoryError(InternalError):
    """A shared-memory region that is not what its reader expects, or a lock that is never freed."""


class OutputError(EdgedError):
    """What a command says cannot be written to standard output."""

    exit_code = 74


class RestartWantedError(EdgedError):
    """The process cannot go on now but may later: the service manager should start it again."""

    exit_code = 75


class EndpointInUseError(RestartWantedError):
    """Another instance holds the endpoint."""


class ConfigError(EdgedError):
    """What the user gave does not fit."""

    exit_code = 78


class SettingsError(ConfigError):
    """A wrong key or value in the settings, or a settings file that is missing or broken."""


class ModelError(ConfigError):
    """A model spec, ONNX file or labels file that cannot be used."""


class DecoderError(ModelError):
    """A decoder that does not fit the model's outputs."""


class EngineError(ConfigError):
    """An engine that is missing, broken, not valid on this device, or that cannot be built from what was given."""


class StateDirError(ConfigError):
    """A state directory that cannot be written."""


class SourceError(ConfigError):
    """A file or folder source that does not exist or holds nothing readable."""


BY_NAME: dict[str, type[EdgedError]] = {
    kind.__name__: kind
    for kind in (
        EdgedError,
        UsageError,
        AccuracyRefusedError,
        DeviceUnavailableError,
        InternalError,
        SharedMemoryError,
        OutputError,
        RestartWantedError,
        EndpointInUseError,
        ConfigError,
        SettingsError,
        ModelError,
        DecoderError,
        EngineError,
        StateDirError,
        SourceError,
    )
}
"""Error classes by name: how a child process tells its supervisor what went wrong."""


def folder_gone(path: str = "") -> SettingsError:
    """The error for a relative path where the working folder was removed.

    Args:
        path: empty where it is not known.
    """
    what = "the working folder does not exist any more"
    return SettingsError(
        f"{path} is a relative path, and {what}" if path else what,
        remedy="change to a folder that exists" + (", or give an absolute path" if path else ""),
    )


def told(error: Exception) -> EdgedError | None:
    """What the top of a process tells of an error in place of a traceback; None for what nobody foresaw."""
    if isinstance(error, EdgedError):
        return error
    if isinstance(error, FileNotFoundError) and error.filename is None:
        try:
            os.getcwd()
        except FileNotFoundError:
            return folder_gone()
    return None
