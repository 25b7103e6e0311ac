# SPDX-License-Identifier: Apache-2.0
"""The face of TensorRT over stand-ins that have the names of 8.6, of 10 and of 11, and nothing else."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edged.errors import EdgedError, EngineError
from edged.gpu import load
from edged.gpu.engines import EngineInfo, ShapeRange, TensorInfo
from edged.gpu.errors import ClosedError, EngineRunError, GpuMemoryError
from edged.gpu.fake import FakeGpu
from edged.gpu.inventory import Inventory
from edged.gpu.trt import TensorRt

VERSIONS = ("8.6.0", "10.3.0", "11.4.0")


class Severity(Enum):
    """TensorRT's own."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class StandIn:
    """TensorRT's module as far as the face uses it; a test sets what it answers."""

    def __init__(self, version: str) -> None:
        old, new = version.startswith("8"), version.startswith("11")
        self.said: list[tuple[Severity, str]] = []
        self.done: list[str] = []
        self.plans: dict[bytes, Any] = {}
        module = SimpleNamespace(
            __version__=version,
            ILogger=type("ILogger", (), {}),
            NetworkDefinitionCreationFlag=SimpleNamespace(**({} if old else {"STRONGLY_TYPED": 1})),
            BuilderFlag=SimpleNamespace() if new else SimpleNamespace(FP16=1),
            TensorIOMode=SimpleNamespace(INPUT="in"),
            TensorLocation=SimpleNamespace(DEVICE="device"),
            LayerInformationFormat=SimpleNamespace(JSON="json"),
            init_libnvinfer_plugins=lambda logger, name: True,
            get_plugin_registry=self._registry,
            Builder=lambda logger: SimpleNamespace(create_network=lambda flags: None),
            OnnxParser=lambda network, logger: SimpleNamespace(supports_operator=lambda name: name == "Conv"),
            Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=self._deserialise(logger)),
        )
        if not old:
            module.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
            module.IProgressMonitor = type("IProgressMonitor", (), {})
        self.module = module
        self.old, self.new = old, new

    def _registry(self) -> Any:
        """What is registered goes by another name in each version."""
        known = [SimpleNamespace(name="EfficientNMS_TRT")]
        creators = {"plugin_creator_list": known} if self.old else {"all_creators": known}
        return SimpleNamespace(load_library=lambda path: None, **creators)

    def _deserialise(self, logger: Any) -> Any:
        def deserialise(plan: bytes) -> Any:
            for severity, text in self.said:
                logger.log(severity, text)
            return self.plans.get(plan)

        return deserialise

    def engine(self) -> Any:
        """An engine with one input, one output and two profiles."""
        shapes = {0: [(1, 4, 4, 3), (2, 4, 4, 3), (4, 4, 4, 3)], 1: [(5, 4, 4, 3), (8, 4, 4, 3), (8, 4, 4, 3)]}
        made = SimpleNamespace(
            name="net",
            num_optimization_profiles=2,
            num_io_tensors=2,
            num_layers=7,
            num_aux_streams=1,
            get_tensor_name=lambda index: ("frames", "out")[index],
            get_tensor_mode=lambda name: "in" if name == "frames" else "out",
            get_tensor_location=lambda name: "device",
            get_tensor_dtype=lambda name: SimpleNamespace(name="UINT8" if name == "frames" else "HALF"),
            get_tensor_shape=lambda name: (-1, 4, 4, 3) if name == "frames" else (-1, 5),
            get_tensor_profile_shape=lambda name, profile: shapes[profile],
            create_engine_inspector=lambda: SimpleNamespace(get_engine_information=lambda kind: '{"Layers": ["a\tb"]}'),
            create_execution_context=lambda *strategy: self.context("context", *strategy),
        )
        if self.new:
            made.get_device_memory_size_for_profile_v2 = lambda profile: (100, 200)[profile]
        elif self.old:
            made.device_memory_size = 200
        else:
            made.get_device_memory_size_for_profile_v2 = lambda profile: (100, 200)[profile]
            made.device_memory_size = 200
        if not self.new:
            made.create_execution_context_without_device_memory = lambda: self.context("without")
        return made

    def context(self, *how: str) -> Any:
        """A context that notes what is done with it."""
        self.done.append("/".join(how))
        note = self.done.append

        def noting(name: str) -> Any:
            return lambda *values: (note(f"{name} {values}"), True)[1]

        class Context:
            active_optimization_profile = 0
            set_optimization_profile_async = staticmethod(noting("profile"))
            set_input_shape = staticmethod(noting("shape"))
            set_tensor_address = staticmethod(noting("address"))
            set_input_consumed_event = staticmethod(noting("consumed"))
            set_aux_streams = staticmethod(noting("aux"))
            execute_async_v3 = staticmethod(noting("run"))

            @staticmethod
            def get_tensor_shape(name: str) -> tuple[int, ...]:
                return (3, 5)

            def __setattr__(self, name: str, value: object) -> None:
                note(f"{name} = {value}")

        made = Context()
        if not self.old:
            Context.set_device_memory = staticmethod(noting("memory"))  # type: ignore[attr-defined]
        return made


@pytest.fixture(params=VERSIONS)
def stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(request.param)
    monkeypatch.setattr(load, "tensorrt", lambda module="tensorrt": made.module)
    return made


def test_the_versions_differ_in_what_they_can(stand_in: StandIn) -> None:
    library = TensorRt()
    assert library.version == stand_in.module.__version__
    assert library.strongly_typed_only == stand_in.new
    assert library.reports_progress == (not stand_in.old)
    assert library.can_type_strongly == (not stand_in.old)


def test_an_engine_describes_itself(stand_in: StandIn) -> None:
    stand_in.plans[b"plan"] = stand_in.engine()
    inventory = Inventory()
    engine = TensorRt().load(inventory, "key", b"plan")
    frame = (4, 4, 3)
    ranges = (
        ShapeRange((1, *frame), (2, *frame), (4, *frame)),
        ShapeRange((5, *frame), (8, *frame), (8, *frame)),
    )
    assert engine.info == EngineInfo(
        "net",
        (
            TensorInfo("frames", True, "uint8", (-1, *frame), ranges),
            TensorInfo("out", False, "float16", (-1, 5)),
        ),
        profiles=2,
        activation_bytes=(200, 200) if stand_in.old else (100, 200),
        layers=7,
        aux_streams=1,
        plan_bytes=4,
    )
    assert engine.layers() == {"Layers": ["a\tb"]}
    assert [it.kind for it in inventory.live()] == ["engine"]
    engine.close()
    assert inventory.live() == ()
    with pytest.raises(ClosedError):
        engine.context("late")


def test_a_context_is_used_the_way_the_version_wants(stand_in: StandIn) -> None:
    stand_in.plans[b"plan"] = stand_in.engine()
    gpu = FakeGpu()
    engine = TensorRt().load(gpu.machine.inventory, "key", b"plan")
    memory, stream, event = gpu.device_buffer("m", 256), gpu.stream("s"), gpu.event("e")
    context = engine.context("c", own_memory=False)
    context.use_memory(memory)
    context.use_profile(1, stream)
    for _ in range(2):
        # Said twice, told once.
        context.set_shape("frames", (3, 4, 4, 3))
        context.bind("frames", 4096)
    context.on_input_consumed(event)
    context.use_aux_streams([stream])
    context.enqueue(stream)
    given = f"device_memory = {memory.address}" if stand_in.old else f"memory ({memory.address}, 256)"
    assert stand_in.done == [
        "without" if stand_in.old else "context/user",
        given,
        f"profile (1, {stream.handle})",
        "shape ('frames', (3, 4, 4, 3))",
        "address ('frames', 4096)",
        f"consumed ({event.handle},)",
        f"aux ([{stream.handle}],)",
        f"run ({stream.handle},)",
    ]
    assert context.shape("out") == (3, 5)
    assert context.profile == 1
    context.close()
    with pytest.raises(ClosedError, match="context c"):
        context.enqueue(stream)
    for thing in (engine, memory, stream, event):
        thing.close()
    assert gpu.close() == ()


def test_a_refusal_carries_the_loggers_last_lines(stand_in: StandIn) -> None:
    library = TensorRt()
    stand_in.said = [(Severity.INFO, "hello"), (Severity.ERROR, "magic tag\n does not match")]
    with pytest.raises(EngineError, match="magic tag does not match; build it again") as caught:
        library.load(Inventory(), "the key", b"broken")
    assert caught.value.exit_code == 78
    assert "the key" in str(caught.value)
    stand_in.said = [(Severity.WARNING, "only a warning")]
    with pytest.raises(EngineError, match="only a warning"):
        library.load(Inventory(), "key", b"broken")
    stand_in.said = []
    with pytest.raises(EngineError, match="does not say why"):
        library.load(Inventory(), "key", b"broken")
    stand_in.said = [(Severity.ERROR, "Cuda Runtime (out of memory)")]
    with pytest.raises(GpuMemoryError):
        library.load(Inventory(), "key", b"broken")


def test_a_failed_run_is_told_with_the_reason(stand_in: StandIn) -> None:
    trt_engine = stand_in.engine()
    made = stand_in.context("x")
    type(made).execute_async_v3 = staticmethod(lambda handle: False)
    trt_engine.create_execution_context = lambda *strategy: made
    stand_in.plans[b"plan"] = trt_engine
    gpu = FakeGpu()
    library = TensorRt()
    engine = library.load(gpu.machine.inventory, "key", b"plan")
    context, stream = engine.context("c"), gpu.stream("s")
    library.messages.add("ERROR", "no address for out")
    with pytest.raises(EngineRunError, match="no address for out"):
        context.enqueue(stream)
    # If the GPU is gone, that is what is said.
    gpu.fail_at("query", 1, 719)
    with pytest.raises(EdgedError, match="LAUNCH_FAILED"):
        context.enqueue(stream)
    trt_engine.create_execution_context = lambda *strategy: None
    with pytest.raises(EngineError, match="no context"):
        engine.context("d")


def test_a_plugin_that_cannot_be_loaded_is_named(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such plugin library"):
        TensorRt([tmp_path / "absent.so"])
    (tmp_path / "present.so").write_bytes(b"")
    with pytest.raises(EngineError, match="cannot be loaded"):
        TensorRt([tmp_path / "present.so"])


def test_a_registered_plugin_is_an_operator(stand_in: StandIn) -> None:
    assert TensorRt().unsupported(["Conv", "EfficientNMS_TRT", "Strange"]) == ["Strange"]


def test_messages_are_passed_on(stand_in: StandIn) -> None:
    seen: list[tuple[str, str]] = []
    library = TensorRt(on_message=lambda message: seen.append((message.severity, message.text)))
    library.logger.log(Severity.INFO, "hello")
    library.logger.log(Severity.VERBOSE, "tactic 1 of a million")
    assert seen == [("INFO", "hello")]
