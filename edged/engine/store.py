# SPDX-License-Identifier: Apache-2.0
"""Finding engines in the store.

    <state_dir>/engines/<model id>/current.json          "backend/precision" → key
    <state_dir>/engines/<model id>/<key>/engine.json     the manifest
    <state_dir>/engines/<model id>/<key>/engine.plan     the engine (engine.onnx for ONNX Runtime)

Cheap to import: neither onnx nor numpy nor tensorrt. Nothing here is deserialised: an engine that does not fit this
device is never handed out.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from edged.engine.key import Backend, DeviceFacts, Difference, differences
from edged.engine.manifest import Manifest, decode
from edged.errors import EngineError

ENGINES = "engines"
CURRENT_FILE = "current.json"
MANIFEST_FILE = "engine.json"
RECIPE_FILE = "recipe.json"
"""Beside an INT8 engine: what another build needs to make the same without searching."""
OLD = ".old"
"""What an engine's folder is called while another build of the same key takes its place."""
FILES: dict[Backend, str] = {"tensorrt": "engine.plan", "onnxruntime": "engine.onnx"}
AUTO = "auto"

_BLOCK = 1 << 20


class Current(msgspec.Struct, kw_only=True):
    """``current.json``: which engine to take for a backend and a precision, by ``backend/precision``."""

    engines: dict[str, str] = {}
    schema: str = "edged.current/1"


class Found(NamedTuple):
    """An engine that is valid here.

    Attributes:
        key: its name in the store.
        path: the file to load.
        manifest: what is to be known of it.
    """

    key: str
    path: Path
    manifest: Manifest


class Mismatch(NamedTuple):
    """Why there is no engine to take.

    Attributes:
        kind: nothing was built; or what was built differs, or is broken.
        where: folder of the engine that was looked at, else of the model's engines.
        what: in a clause.
        differences: field by field; empty where there is no engine at all, or a broken one.
        command: what builds one.
    """

    kind: Literal["missing", "differs", "broken"]
    where: Path
    what: str
    differences: tuple[Difference, ...]
    command: str

    def error(self) -> EngineError:
        """The same as an error."""
        return EngineError(self.what, where=str(self.where), remedy=f"build it: {self.command}")


class Wanted(NamedTuple):
    """Which engine is looked for, and what it has to fit.

    Attributes:
        model_id: the spec's id.
        model: digest of the prepared graph.
        backend: what is going to run it.
        precision: ``auto`` for the build's own choice.
        facts: the device; None where there is none.
        max_batch: frames in a batch that it must take; None for any.
        spec: path of the model spec, for the command that builds.
    """

    model_id: str
    model: str
    backend: Backend
    precision: str = AUTO
    facts: DeviceFacts | None = None
    max_batch: int | None = None
    spec: str = "SPEC.toml"


def model_folder(state_dir: Path, model_id: str) -> Path:
    """Folder of a model's engines."""
    return state_dir / ENGINES / model_id


def find(state_dir: Path, wanted: Wanted) -> Found | Mismatch:
    """The current engine for a backend and precision, if it is valid here.

    Raises:
        EngineError: its manifest or its file is broken.
    """
    folder = model_folder(state_dir, wanted.model_id)
    command = build_command(state_dir, wanted)
    try:
        current = read_current(folder).engines
    except EngineError as error:
        raise EngineError(error.what, where=error.where, remedy=f"build again: {command}") from error
    key = current.get(f"{wanted.backend}/{wanted.precision}")
    if key is None:
        kind = wanted.backend if wanted.precision == AUTO else f"{wanted.precision} {wanted.backend}"
        return Mismatch("missing", folder, f"no {kind} engine has been built for model {wanted.model_id}", (), command)
    try:
        engine = read_engine(folder, key)
        found = unfit(engine.manifest, wanted)
        if found:
            again = rebuild_command(command, engine, wanted)
            return Mismatch("differs", engine.path.parent, _sentence(found), tuple(found), again)
        return _verified(folder, engine)
    except EngineError as error:
        raise EngineError(error.what, where=error.where, remedy=f"build again: {command} --force") from error


def _verified(folder: Path, engine: Found) -> Found:
    """The engine, once its file is known to be whole."""
    try:
        verify(engine)
    except EngineError:
        again = read_engine(folder, engine.key)
        if again.manifest == engine.manifest:
            raise
        # A build of the same key has taken its place since the manifest was read.
        verify(again)
        return again
    return engine


def unfit(manifest: Manifest, wanted: Wanted) -> list[Difference]:
    """What keeps an engine from being valid here, as far as a start can know; empty when it is."""
    found = differences(manifest.fields, manifest.fields.found_here(wanted.model, wanted.facts))
    limit = manifest.max_batch
    if wanted.max_batch is not None and limit is not None and wanted.max_batch > limit:
        found.append(Difference("largest batch", str(limit), str(wanted.max_batch)))
    for plugin in manifest.plugins:
        here = _plugin_digest(Path(plugin.path))
        if here != plugin.sha256:
            found.append(Difference(f"plugin {plugin.path}", plugin.sha256[:12], here[:12]))
    return found


def read_current(folder: Path) -> Current:
    """Which engines of a model are current; none where nothing was built.

    Raises:
        EngineError: the file is broken or cannot be read.
    """
    path = folder / CURRENT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Current)
    except FileNotFoundError:
        return Current()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineError(f"is broken: {error}", where=str(path)) from error
    except OSError as error:
        raise EngineError(f"cannot be read: {error.strerror}", where=str(path)) from error


def read_engine(folder: Path, key: str) -> Found:
    """An engine by its key; its file is not looked at, see `verify`.

    Args:
        folder: of the model's engines.
        key: the engine's name.

    Raises:
        EngineError: it is not there, or its manifest is broken.
    """
    # A build that was killed while it replaced an engine has left the old one under its other name.
    places = [folder / key / MANIFEST_FILE, folder / f"{key}{OLD}" / MANIFEST_FILE]
    for path in places:
        try:
            manifest = decode(path.read_bytes())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise EngineError(f"the manifest cannot be read: {error.strerror}", where=str(path)) from error
        except ValueError as error:
            raise EngineError(f"the manifest is broken: {error}", where=str(path)) from error
        if manifest.key != key or manifest.file != FILES[manifest.fields.backend]:
            raise EngineError("the manifest belongs to another engine", where=str(path))
        return Found(key, path.with_name(manifest.file), manifest)
    raise EngineError("the engine that is named as current is not there", where=str(places[0].parent))


def verify(engine: Found) -> None:
    """Make sure that an engine's file is the one that was built.

    Raises:
        EngineError: it is missing, truncated or changed.
    """
    path, manifest = engine.path, engine.manifest
    try:
        size = path.stat().st_size
        whole = size == manifest.size and file_digest(path) == manifest.sha256
    except OSError as error:
        raise EngineError(f"the engine cannot be read: {error.strerror}", where=str(path)) from error
    if size != manifest.size:
        raise EngineError(f"the engine has {size} bytes instead of {manifest.size}", where=str(path))
    if not whole:
        raise EngineError("the engine's content is not what was built", where=str(path))


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            total.update(block)
    return total.hexdigest()


def build_command(state_dir: Path, wanted: Wanted) -> str:
    """The command that builds what is wanted."""
    words: list[Any] = ["edged-build-engine", wanted.spec, "--backend", wanted.backend]
    if wanted.precision != AUTO:
        words += ["--precision", wanted.precision]
    if wanted.max_batch is not None and wanted.backend == "tensorrt":
        words += ["--max-batch", wanted.max_batch]
    return shlex.join(map(str, [*words, "--state-dir", state_dir]))


def rebuild_command(command: str, engine: Found, wanted: Wanted) -> str:
    """The command that builds an engine again; what calibration has found is still good if the model is the same."""
    recipe = engine.path.with_name(RECIPE_FILE)
    if engine.manifest.fields.model != wanted.model or not recipe.is_file():
        return command
    return f"{command} --recipe {shlex.quote(str(recipe))}"


def _sentence(found: Iterable[Difference]) -> str:
    return "the engine is not valid here (" + "; ".join(map(str, found)) + ")"


def _plugin_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return "not there"
