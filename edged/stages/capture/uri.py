# SPDX-License-Identifier: Apache-2.0
"""Source URIs: what they mean, and whether what they name is there. Cheap: no OpenCV, no network."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from edged.errors import SettingsError, SourceError
from edged.stages.capture.camera_options import CSI_FORM, V4L2_FORM, CameraOptions, parse_csi, parse_v4l2
from edged.stages.capture.redact import redact
from edged.stages.capture.synthetic_options import SyntheticOptions, parse_options

Kind = Literal["file", "dir", "rtsp", "v4l2", "csi", "gst", "synthetic"]

KNOWN = "file://, dir://, rtsp://, rtsps://, v4l2://, csi://, gst: and synthetic://"
ENCODE = (
    "percent-encode what is special in user and password: / is %2F, ? is %3F, # is %23, @ is %40"
    " (and an @ or # elsewhere in the URL)"
)
"""What to do about a password that was not percent-encoded."""
_NO_HTTP = "take the camera's rtsp:// URL, or gst:souphttpsrc as docs/sources.md says"
_LONGEST_NUMBER = 3
_LONGEST_SHOWN = 300
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A source URI, taken apart.

    Attributes:
        kind: which reader it takes; ``rtsps`` is kind ``rtsp``.
        target: what the reader opens: a path, a whole ``rtsp://`` URL with its credentials, a device, a sensor number,
            a pipeline, the name of a scene. Never show it: show ``shown``.
        options: of synthetic sources.
        camera: of device cameras.
        query: the options of a device camera as they were written.
        live_by_default: mode where none is set: live (latest wins), else lossless.
    """

    kind: Kind
    target: str = field(repr=False)
    options: SyntheticOptions = field(default_factory=SyntheticOptions)
    live_by_default: bool = True
    camera: CameraOptions = field(default_factory=CameraOptions)
    query: str = ""

    @property
    def shown(self) -> str:
        """The source as text for people, without credentials."""
        heads = {"rtsp": "", "gst": "gst:"}
        return redact(heads.get(self.kind, f"{self.kind}://") + self.target + (f"?{self.query}" if self.query else ""))

    @property
    def on_disk(self) -> bool:
        """Whether it lies on this machine's disk, where it can be checked before the start and read again."""
        return self.kind in ("file", "dir")


def parse(uri: str, base: Path | None = None) -> SourceUri:
    """Take a source URI apart.

    Paths after ``file://`` and ``dir://`` are taken literally: ``%20``, ``#``, ``?`` and spaces are part of the name.

    Args:
        uri: as it stands in the settings.
        base: folder where relative paths start; default: the working directory.

    Returns:
        Its parts.

    Raises:
        SettingsError: it is not the URI of a source; the message never holds a credential.
    """
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if "\0" in uri or not _is_utf8(uri):
        raise SettingsError("a source URI holds a character that is no text", where="uri", remedy="write it in UTF-8")
    if not colon or scheme not in _PARSERS:
        raise _unknown(uri)
    if scheme == "gst":
        return _gst(rest)
    if not rest.startswith("//"):
        raise SettingsError(
            "the scheme of a source URI is followed by //", where=f"{scheme}:", remedy=f"write {scheme}://…"
        )
    return _PARSERS[scheme](uri, rest[2:], base)


def check_exists(source: SourceUri) -> None:
    """Check that a file or folder source is there and may hold something readable; other kinds pass.

    Looks at names, sizes and permissions only, so that it is cheap: a damaged video is found when it is opened.

    Args:
        source: as parsed.

    Raises:
        SourceError: it is not there, is of the wrong kind, may not be read, is empty, or is a folder without images.
    """
    if not source.on_disk:
        return
    try:
        status = os.stat(source.target)
    except OSError as error:
        raise SourceError(_os_reason(error), where=source.shown, remedy=_check_path(source)) from error
    if source.kind == "dir":
        _check_folder(source, status)
    else:
        _check_file(source, status)


def is_image(name: str) -> bool:
    """Whether a folder source takes a file of this name for an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file, or a link to one: no pipe, no device, and nothing that the kernel makes
    up, such as ``/proc/self/mem``, which calls itself a file."""
    if not entry.is_file():
        return False
    return not entry.is_symlink() or not os.path.realpath(entry.path).startswith(("/proc/", "/sys/"))


def _check_file(source: SourceUri, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise SourceError("is a folder", where=source.shown, remedy="write dir:// for a folder of images")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError("is not a file", where=source.shown, remedy="write v4l2:// for a camera device")
    if status.st_size == 0:
        raise SourceError("is empty (0 bytes)", where=source.shown, remedy="check the path of this source")
    if not os.access(source.target, os.R_OK):
        raise SourceError("may not be read", where=source.shown, remedy="check its permissions")


def _check_folder(source: SourceUri, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise SourceError("is not a folder", where=source.shown, remedy="write file:// for a video")
    try:
        with os.scandir(source.target) as entries:
            found = any(is_image(entry.name) and is_regular(entry) for entry in entries)
    except OSError as error:
        raise SourceError(_os_reason(error), where=source.shown, remedy="check its permissions") from error
    if not found:
        raise SourceError(
            "holds no image",
            where=source.shown,
            remedy=f"images end in {', '.join(IMAGE_SUFFIXES)}; folders inside are not searched",
        )


def _check_path(source: SourceUri) -> str:
    """What to do about a path where nothing is: perhaps it was written as web addresses are."""
    plain = unquote(source.target)
    if plain == source.target or not os.path.exists(plain):
        return "check the path of this source"
    spaces = plain == source.target.replace("%20", " ")
    wanted = "a space, not %20" if spaces else redact(f"{source.kind}://{plain}")
    return f"the path is taken literally: write {wanted}"


def _os_reason(error: OSError) -> str:
    """What the system says, as a clause."""
    return (error.strerror or str(error)).lower()


def _is_utf8(text: str) -> bool:
    """Whether the text can be handed to a C library; lone surrogates can't (OpenCV 5.0 crashes on them)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown(uri: str) -> SettingsError:
    """The error for a scheme that edged does not know; without ``://`` only what is a path is safe to quote."""
    scheme, separator, _ = uri.partition("://")
    if separator and scheme.isascii() and scheme.isalnum():
        instead = f"{_NO_HTTP}; " if scheme.lower() in ("http", "https") else ""
        what, remedy = f"unknown source scheme {scheme}://", f"{instead}known are {KNOWN}"
        return SettingsError(what, where=redact(uri), remedy=remedy)
    what, remedy = "a source URI starts with a scheme", f"known are {KNOWN}"
    meant = _meant(uri)
    if not meant:
        return SettingsError(what, where="uri", remedy=remedy)
    return SettingsError(what, where=uri, remedy=f"write {meant} ({remedy})")


def _meant(text: str) -> str:
    """The URI of a path, or of a camera's number, that was written without a scheme; empty for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER:
        return f"v4l2:///dev/video{int(text)}"
    rooted = text.startswith(("/", "./", "../")) and not text.startswith("//")
    # An address without its scheme may hold a password, and a token behind a ?; a path hardly holds any of these.
    if len(text) > _LONGEST_SHOWN or re.search("[@:?&%]", text) or redact(text) != text:
        return ""
    if not rooted and not (text and os.path.exists(text)):
        return ""
    if text.startswith("/dev/"):
        return f"v4l2://{text}"
    return f"dir://{text}" if os.path.isdir(text) else f"file://{text}"


def _path(uri: str, rest: str, base: Path | None) -> SourceUri:
    kind: Kind = "dir" if uri[:3].lower() == "dir" else "file"
    if not rest:
        raise SettingsError("no path after the scheme", where=redact(uri), remedy=f"write {kind}:///path")
    return SourceUri(kind, str(((base or Path()) / rest).absolute()), live_by_default=False)


def _rtsp(uri: str, rest: str, base: Path | None) -> SourceUri:
    del rest, base
    advice = "write rtsp://user:password@host:port/path with special characters of the password percent-encoded"
    if misplaced_at(uri):
        # What looks like user, host and path may all be parts of the password: nothing of it is shown.
        raise SettingsError("an rtsp URL with an @ or a # where none may stand", where="uri", remedy=ENCODE)
    if not uri.isprintable() or " " in uri:
        raise SettingsError("an rtsp URL holds a space or a control character", where="uri", remedy=advice)
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text may quote the password
        host = None
    if not host:
        raise SettingsError("an rtsp URL without a usable host and port", where=redact(uri), remedy=advice)
    return SourceUri("rtsp", uri)


def misplaced_at(url: str) -> bool:
    """Whether a camera's URL cannot mean what it says: an ``@`` behind the host, or a ``#``.

    RTSP has no fragments, and an ``@`` ends the password. Where they stand further behind, the password holds a ``/``,
    ``?`` or ``#`` that was not percent-encoded.
    """
    rest = url.partition("//")[2]
    return "#" in url or "@" in rest[len(re.split("[/?]", rest, maxsplit=1)[0]) :]


def _v4l2(uri: str, rest: str, base: Path | None) -> SourceUri:
    del base
    device, _, query = rest.partition("?")
    if not device.startswith("/dev/"):
        raise SettingsError("not a device", where=redact(uri), remedy=f"write {V4L2_FORM}")
    return SourceUri("v4l2", device, camera=parse_v4l2(query, where=redact(uri)), query=query)


def _csi(uri: str, rest: str, base: Path | None) -> SourceUri:
    del base
    sensor, _, query = rest.partition("?")
    if not (sensor.isascii() and sensor.isdigit() and len(sensor) <= 3):
        raise SettingsError("not a sensor number", where=redact(uri), remedy=f"write {CSI_FORM}")
    return SourceUri("csi", str(int(sensor)), camera=parse_csi(query, where=redact(uri)), query=query)


def _gst(pipeline: str) -> SourceUri:
    if not pipeline.strip():
        raise SettingsError("no pipeline after gst:", where="gst:", remedy="write gst:<source> ! … ! appsink")
    return SourceUri("gst", pipeline.strip())


def _synthetic(uri: str, rest: str, base: Path | None) -> SourceUri:
    del base
    scene, _, query = rest.partition("?")
    if scene != "shapes":
        raise SettingsError("unknown scene", where=redact(uri), remedy="write synthetic://shapes")
    return SourceUri("synthetic", scene, parse_options(query, where=redact(uri)))


_PARSERS: dict[str, Callable[[str, str, Path | None], SourceUri]] = {
    "file": _path,
    "dir": _path,
    "rtsp": _rtsp,
    "rtsps": _rtsp,
    "v4l2": _v4l2,
    "csi": _csi,
    "synthetic": _synthetic,
    "gst": lambda uri, rest, base: _gst(rest),  # noqa: ARG005
}
