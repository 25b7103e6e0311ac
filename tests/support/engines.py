# SPDX-License-Identifier: Apache-2.0
"""For tests of the engine builder: a small model, a TensorRT that is none, and manifests to store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edged.engine.key import DeviceFacts, EngineKey
from edged.engine.manifest import Choice, GpuMemory, Manifest, Source
from edged.engine.ort_workshop import session_run
from edged.engine.protocol import BuildRequest, Event
from edged.engine.race.entrant import Course, Stand
from edged.engine.race.stands import on_onnxruntime
from edged.engine.shelf import Content
from edged.engine.store import FILES
from edged.engine.toolkit import Inspected
from edged.engine.workshop import Run
from edged.errors import EdgedError
from edged.gpu.engines import EngineInfo, ShapeRange, TensorInfo
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.engine import FakeEngine
from edged.gpu.plain import PlainRun
from edged.gpu.plan_file import unpacked_plan
from edged.gpu.trt.build import BuildOptions, BuiltEngine
from edged.gpu.trt.progress import Progress
from edged.graph.builder import default_opset
from edged.graph.prepare import PreparedModel

FACTS = DeviceFacts(runtime="tensorrt 10.3.0", gpu="Orin", compute_capability=(8, 7), driver="12.6")
SPEC = """\
id = "tiny"
onnx = "tiny.onnx"
task = "classification"
decoder = "classification"
[input]
size = {size}
std = [0.5, 0.25, 0.5]
"""


def tiny_model(
    *, opset: int = 17, quantized: bool = False, operator: str = "Relu", batch: int | str = "n"
) -> onnx.ModelProto:
    """A convolution, an operator without attributes, a mean: [N, 3, H, W] to [N, 4]."""
    weights = np.random.default_rng(1).normal(0, 0.2, (4, 3, 8, 8)).astype(np.float32)
    nodes, constants, image = [], [numpy_helper.from_array(weights, "w")], "image"
    if quantized:
        constants += [
            numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ]
        nodes.append(helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"], name="q"))
        nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"], name="dq"))
        image = "dq"
    nodes += [
        helper.make_node("Conv", [image, "w"], ["features"], name="conv", strides=[8, 8]),
        helper.make_node(operator, ["features"], ["active"], name="act"),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["logits"], name="flat"),
    ]
    info = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, "h", "w"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 4])
    graph = helper.make_graph(nodes, "tiny", [info], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write_model(folder: Path, size: str = "[32, 48]", **options: Any) -> Path:
    """The small model and its spec in a folder; returns the spec's path."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(tiny_model(**options), folder / "tiny.onnx")
    spec = folder / "tiny.toml"
    spec.write_text(SPEC.format(size=size))
    return spec


def request(spec: Path, state: Path, **fields: Any) -> BuildRequest:
    """A request with a timing cache in the state folder."""
    return BuildRequest(spec=str(spec), state_dir=str(state), timing_cache=str(state / "timing.cache"), **fields)


def manifest(content: bytes, *, precision: Any = "fp16", backend: Any = "tensorrt", **fields: Any) -> Manifest:
    """A manifest for an engine that is only bytes; ``fields`` go into the key, ``extra`` into the manifest."""
    extra = fields.pop("extra", {})
    whole = {"model": "m" * 64, "precision": precision, "backend": backend, **msgspec.structs.asdict(FACTS), **fields}
    key = EngineKey(**whole)
    measured = Content(content)
    values: dict[str, Any] = {
        "key": key.digest(),
        "fields": key,
        "model_id": "tiny",
        "task": "classification",
        "decoder": "classification",
        "file": FILES[key.backend],
        "size": measured.size,
        "sha256": measured.sha256,
        "tensors": (),
        "fixed_batch": None,
        "max_batch": 8,
        "preprocessing": {},
        "labels": (),
        "memory": GpuMemory(),
        "source": Source(spec="s", onnx="o", onnx_sha256="x", labels_sha256=None, fields={}),
        "versions": {},
        "chosen": Choice(backend_asked="auto", precision_asked="auto", why=()),
        "built_in_s": 1.0,
        "created_at": 1.0,
    }
    return Manifest(**{**values, **extra})


class Heard(list[Event]):
    """Keeps what a build tells."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def fake_engine(gpu: FakeGpu, graph: onnx.ModelProto, options: BuildOptions) -> FakeEngine:
    """A graph as an engine of the accounting GPU, with one optimisation profile."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    dtypes = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(int32)": "int32"}
    (profile,) = options.profiles
    tensors = []
    for given in session.get_inputs():
        fixed = tuple(given.shape)
        span = profile.get(given.name) or ShapeRange(fixed, fixed, fixed)
        shape = tuple(one if isinstance(one, int) else -1 for one in given.shape)
        tensors.append(TensorInfo(given.name, True, dtypes[given.type], shape, (span,)))
    tensors += [TensorInfo(one.name, False, dtypes[one.type], ()) for one in session.get_outputs()]
    names = [one.name for one in session.get_outputs()]
    known: dict[object, dict[str, tuple[int, ...]]] = {}

    def run(values: Any) -> dict[str, Any]:
        return dict(zip(names, session.run(names, dict(values)), strict=True))

    def infer(shapes: Any) -> dict[str, tuple[int, ...]]:
        key = tuple(sorted(shapes.items()))
        if key not in known:
            kinds = {one.name: one.dtype for one in tensors}
            known[key] = {
                name: value.shape for name, value in run({n: np.ones(s, kinds[n]) for n, s in shapes.items()}).items()
            }
        return known[key]

    info = EngineInfo("plain", tuple(tensors), 1, (1 << 16,), 1, 0, 1)
    return FakeEngine(gpu.machine, info, run, infer=infer)


class FakeToolkit:
    """A GPU with a TensorRT that is none: its plans are descriptions of what it was asked for.

    Args:
        facts: what it claims to be.
        opset: the newest that its parser takes.
        strongly_typed: whether precision can come from the graph.
        weakly_typed: whether it can be left to the builder; by default where it cannot come from the graph.
        lacks: operators it does not know.
        free: bytes.
        failure: raised by the build.
    """

    def __init__(
        self,
        facts: DeviceFacts = FACTS,
        *,
        opset: int = 20,
        strongly_typed: bool = False,
        weakly_typed: bool | None = None,
        lacks: Iterable[str] = (),
        free: int = 1 << 30,
        failure: EdgedError | None = None,
    ) -> None:
        self.facts = facts
        self.device = {"name": facts.gpu}
        self.parser_opset = opset
        self.strongly_typed = strongly_typed
        self.weakly_typed = not strongly_typed if weakly_typed is None else weakly_typed
        self.reports_progress = True
        self.closed = False
        self.built: list[tuple[onnx.ModelProto, BuildOptions]] = []
        self._lacks = set(lacks)
        self._free = free
        self._failure = failure

    def budget_bytes(self) -> int:
        return self._free

    def unsupported(self, operators: Iterable[str]) -> list[str]:
        return [operator for operator in operators if operator in self._lacks]

    def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
        if self._failure is not None:
            self._failure.where = str(model)
            raise self._failure
        graph = onnx.load(model)
        assert default_opset(graph) <= self.parser_opset
        self.built.append((graph, options))
        progress.start("Tactics", None, 2)
        assert progress.step("Tactics", 0)
        assert progress.step("Tactics", 1)
        progress.finish("Tactics")
        plan = f"plan {options.precision} {options.profiles}".encode()
        return BuiltEngine(plan, options.timing_cache + b"+", (), len(graph.graph.node))

    def inspect(self, plan: bytes) -> Inspected:
        graph, options = self.built[-1]
        front, _ = unpacked_plan(plan, "plan")
        (given,) = {name for profile in options.profiles for name in profile}
        spans = tuple(profile[given] for profile in options.profiles)
        assert all(isinstance(span, ShapeRange) for span in spans)
        if front is not None:
            assert options.takes_image
            assert given == graph.graph.input[0].name
            spans = tuple(ShapeRange(*((n, h, w, 3) for n, _, h, w in span)) for span in spans)
        outputs = [TensorInfo(info.name, False, "float32", (-1, 4, 2)) for info in graph.graph.output]
        tensors = (TensorInfo("frames", True, "uint8", (-1, 32, 48, 3), spans), *outputs)
        info = EngineInfo("tiny", tensors, len(spans), (1000,) * len(spans), 5, 1, len(plan))
        return Inspected(info, 2000)

    @contextlib.contextmanager
    def open(self, plan: bytes, prepared: PreparedModel, max_batch: int) -> Iterator[Run]:
        """Runs the graph that the plan was built from, in ONNX Runtime."""
        yield session_run(Path(prepared.path))

    @contextlib.contextmanager
    def plain(self, plan: bytes) -> Iterator[PlainRun]:
        """Runs the graph that was built last on the accounting GPU, computed by ONNX Runtime."""
        gpu = FakeGpu()
        graph, options = self.built[-1]
        engine = fake_engine(gpu, graph, options)
        with PlainRun(gpu, engine) as run:
            yield run
        engine.close()
        assert not gpu.close()

    def stand(self, plan: bytes, prepared: PreparedModel) -> Callable[[Course], Stand]:
        return on_onnxruntime(Path(prepared.path))

    def close(self) -> None:
        self.closed = True
