# SPDX-License-Identifier: Apache-2.0
"""What is measured: an engine with its settings, from a spec, a configuration, an engine's key or its current name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edged.bench.apart import apart
from edged.config import Settings, load
from edged.engine.here import facts_here
from edged.engine.manifest import Manifest
from edged.engine.store import Found, Wanted, model_folder, read_engine, unfit, verify
from edged.errors import EngineError, ModelError, UsageError
from edged.graph.prepare import PreparedModel, prepare
from edged.model import DynamicSize, ModelSpec
from edged.model_file import load_spec
from edged.problems import printable
from edged.runtime.choose import choose
from edged.runtime.plans import ChosenEngine, EngineWish
from edged.runtime.setup import ready_state_dir
from edged.stages.infer.ort import threads_of_a_run
from edged.toml_file import read_toml

_CURRENT_NAME = re.compile(r"(tensorrt|onnxruntime)/(auto|int8|fp16|tf32|fp32)")
_KEY = re.compile(r"[0-9a-f]{6,64}")
_SHOWN = 12
_PLACEHOLDER = json.dumps([{"name": "none", "uri": "synthetic://shapes"}])
_MOST_ON_CPU = 8
_MOST_BY_DEFAULT = 8


@dataclass(frozen=True)
class Request:
    """What the user asked to measure.

    Attributes:
        spec: the model spec; None for the configuration's.
        config: the settings file; None for defaults.
        overrides: flags ``--section.key value``.
    """

    spec: Path | None
    config: Path | None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """An engine in a configuration, ready to be opened.

    Attributes:
        label: short, unique in a run.
        spec: path of the model spec.
        model: its content.
        settings: of the daemon.
        own_sources: whether the sources are the user's, not a stand-in.
        prepared: the prepared graph.
        engine: what runs.
        manifest: of an engine that was built.
    """

    label: str
    spec: Path
    model: ModelSpec
    settings: Settings
    own_sources: bool
    prepared: PreparedModel
    engine: ChosenEngine
    manifest: Manifest | None

    @property
    def on_gpu(self) -> bool:
        """Whether TensorRT runs it."""
        return self.engine.backend == "tensorrt"

    @property
    def frame(self) -> tuple[int, int]:
        """Height, width of the frames that are measured, pixels: the size that a dynamic model is tuned for."""
        size = self.model.input.size
        if not isinstance(size, DynamicSize):
            return self.prepared.input_size
        height, width = (
            min(max(round(best / size.multiple) * size.multiple, -(-low // size.multiple) * size.multiple), high)
            for best, low, high in zip(size.opt, size.min, size.max, strict=True)
        )
        return height, width

    @property
    def limit(self) -> int:
        """The largest batch that can be measured."""
        fixed = self.prepared.fixed_batch
        if fixed is not None:
            return fixed
        return self.engine.max_batch or max(_MOST_ON_CPU, self.settings.engine.max_batch or 0)

    @property
    def usual(self) -> int:
        """The largest batch that a daemon with these settings would make."""
        if self.prepared.fixed_batch is not None:
            return self.prepared.fixed_batch
        return min(self.limit, self.settings.engine.max_batch or _MOST_BY_DEFAULT)

    @property
    def slots(self) -> int:
        """Batches under way at a time."""
        return self.settings.engine.slots

    @property
    def parallel(self) -> int:
        """Runs of ONNX Runtime at a time, as the daemon arranges them where more than one frame waits."""
        return 1 if self.on_gpu else max(1, min(self.slots, len(os.sched_getaffinity(0))))

    @property
    def threads(self) -> int:
        """Threads of a run of ONNX Runtime; 0 on a GPU."""
        return 0 if self.on_gpu else self.settings.engine.threads or threads_of_a_run(self.parallel)


def resolve(request: Request, environ: Mapping[str, str]) -> Subject:
    """The first contestant.

    Raises:
        UsageError: neither a spec nor a configuration was given.
        EdgedError: settings, model or engine cannot be used.
    """
    if request.spec is None and request.config is None:
        raise UsageError("what is to be measured?", where="edged bench", remedy="give a model spec, or --config FILE")
    from edged.engine.options import expect_spec

    spec = None if request.spec is None else _spec_path(request.spec)
    overrides = [*request.overrides]
    if spec is not None:
        overrides += ["--model.spec", str(spec.absolute())]
    if request.config is None:
        overrides += ["--sources", _PLACEHOLDER]
    settings = load(request.config, overrides, environ).settings
    if spec is not None:
        expect_spec(spec)
    label = (request.spec or request.config or Path("bench")).stem
    return _subject(label, settings, own_sources=request.config is not None)


def against(text: str, request: Request, first: Subject, environ: Mapping[str, str]) -> Subject:
    """A further contestant: a spec or settings file, ``backend/precision``, or the key of an engine of the same model.

    Raises:
        UsageError: it is none of these.
        EdgedError: it cannot be used.
    """
    path = Path(text)
    if path.suffix.lower() == ".onnx" or path.is_file():
        return _from_file(path, request, environ)
    engine = first.settings.engine
    if _CURRENT_NAME.fullmatch(text):
        backend, precision = text.split("/")
        changed = engine.model_copy(update={"backend": backend, "precision": precision})
        settings = first.settings.model_copy(update={"engine": changed})
        return _subject(text, settings, own_sources=first.own_sources)
    if _KEY.fullmatch(text):
        return _pinned(text, first)
    raise UsageError(
        f"--against {printable(text)} is no file, no key of an engine and no name like tensorrt/fp16",
        where="edged bench",
        remedy="see edged bench --help",
    )


def unique(subjects: Sequence[Subject]) -> list[str]:
    """A label for each, with what tells them apart where two have the same."""
    labels: list[str] = []
    for subject in subjects:
        label = subject.label
        if label in labels:
            label = f"{label} {subject.engine.backend}/{subject.engine.precision}"
        number, plain = 2, label
        while label in labels:
            label, number = f"{plain} ({number})", number + 1
        labels.append(label)
    return labels


def _from_file(path: Path, request: Request, environ: Mapping[str, str]) -> Subject:
    spec = _spec_path(path)
    data = read_toml(spec, ModelError, kind="model spec or settings file", remedy="give the right path").data
    if "onnx" in data:
        other = Request(spec, request.config, request.overrides)
    else:
        other = Request(None, path, request.overrides)
    return resolve(other, environ)


def _spec_path(path: Path) -> Path:
    from edged.engine.options import spec_path

    return spec_path(path)


def _subject(label: str, settings: Settings, *, own_sources: bool) -> Subject:
    spec = settings.model.spec
    model = load_spec(spec)
    state = settings.daemon.state_dir
    prepared = prepare(model, ready_state_dir(state))
    engine = settings.engine
    # The engine's own limit counts, not the settings': a sweep goes beyond what the daemon is set to.
    wish = EngineWish(backend=engine.backend, precision=engine.precision, device=engine.device, max_batch=None)
    if engine.backend == "onnxruntime":
        chosen = choose(wish, prepared, state, spec)
    else:
        chosen = apart(choose, wish, prepared, state, spec)
    manifest = None
    if Path(chosen.path) != Path(prepared.path):
        manifest = read_engine(model_folder(state, prepared.model_id), chosen.key).manifest
    return Subject(label, spec, model, settings, own_sources, prepared, chosen, manifest)


def _pinned(text: str, first: Subject) -> Subject:
    """An engine of the first contestant's model by the beginning of its key."""
    found = _by_key(text, model_folder(first.settings.daemon.state_dir, first.prepared.model_id))
    manifest = found.manifest
    fields = manifest.fields
    facts = apart(facts_here, fields.backend, first.settings.engine.device)
    wanted = Wanted(first.prepared.model_id, first.prepared.digest, fields.backend, fields.precision, facts)
    differing = unfit(manifest, wanted)
    if differing:
        raise EngineError(
            "the engine is not valid here (" + "; ".join(map(str, differing)) + ")",
            where=str(found.path.parent),
            remedy="build it again with edged-build-engine",
        )
    chosen = ChosenEngine(
        backend=fields.backend,
        precision=fields.precision,
        key=found.key,
        path=str(found.path),
        max_batch=manifest.max_batch,
        plugins=tuple(plugin.path for plugin in manifest.plugins),
    )
    return replace(first, label=text[:_SHOWN], engine=chosen, manifest=manifest)


def _by_key(text: str, folder: Path) -> Found:
    keys = [path.name for path in sorted(folder.glob(f"{text}*")) if path.is_dir() and "." not in path.name]
    if len(keys) != 1:
        what = f"{len(keys)} engines' keys begin" if keys else "no engine's key begins"
        raise EngineError(
            f"{what} with {text}", where=str(folder), remedy="edged-build-engine explain lists the current ones"
        )
    found = read_engine(folder, keys[0])
    verify(found)
    return found
