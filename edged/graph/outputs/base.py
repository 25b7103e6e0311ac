# SPDX-License-Identifier: Apache-2.0
"""What a decoder is, and how one is found by its name.

A decoder is the output step of the prepared graph: it checks that a model's outputs are what it reads, and adds the
ONNX nodes that turn them into what postprocess takes. Users add their own by an entry point in the group
``edged.decoders`` whose value is a subclass of :class:`Decoder`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import ClassVar, NamedTuple

from edged.errors import DecoderError
from edged.graph.builder import Dimension, GraphBuilder
from edged.graph.decoder_entries import BUILT_IN, GROUP, find_entry
from edged.model import ModelSpec, Task
from edged.records import TensorSpec

MAX_TOP_K = 3840
"""TensorRT's largest k of a top-k."""


class ModelOutput(NamedTuple):
    """One output of the user's model, as declared and as seen when it ran.

    Attributes:
        name: tensor name.
        dtype: numpy dtype name.
        declared: dimensions as the file declares them, batch first; may be empty.
        smallest: shape of one frame's part at the smallest input size.
        largest: the same at the largest input size.
        fixed: whether every frame gives this shape.
    """

    name: str
    dtype: str
    declared: tuple[Dimension, ...]
    smallest: tuple[int, ...]
    largest: tuple[int, ...]
    fixed: bool = True

    def __str__(self) -> str:
        batch = self.declared[0] if self.declared else "N"
        declared = self.declared[1:] if len(self.declared) == len(self.largest) + 1 else self.largest
        dims = self.largest if self.fixed else declared
        kind = "" if self.dtype == "float32" else f" of {self.dtype}"
        return f"{self.name} [{', '.join(str(dim) for dim in (batch, *dims))}]{kind}"


class Decoder(ABC):
    """The output step of one family of models.

    Attributes:
        name: what the model spec calls it.
        task: what it yields.
        expects: the outputs it reads, for messages.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    expects: ClassVar[str]

    @abstractmethod
    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int | None:
        """Check that the model's outputs are what this decoder reads.

        Returns:
            Number of classes, None where the outputs do not tell.

        Raises:
            DecoderError: they are not; says what was expected and what was found.
        """

    @abstractmethod
    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """Add the nodes and declare the outputs of the prepared graph; everything is computed in float32.

        Returns:
            The outputs declared, in order.
        """

    def misfit(self, outputs: Sequence[ModelOutput], spec: ModelSpec, why: str = "") -> DecoderError:
        """The error that says what was expected and what was found."""
        found = ", ".join(str(output) for output in outputs) or "none"
        noun = "output" if len(outputs) == 1 else f"{len(outputs)} outputs"
        return DecoderError(
            f"decoder {self.name} expects {self.expects}; found {noun} {found}{f' ({why})' if why else ''}",
            where=str(spec.onnx),
            remedy="choose the decoder that reads these outputs, or export the model with the outputs expected",
        )

    def only(self, outputs: Sequence[ModelOutput], spec: ModelSpec, ranks: Sequence[int]) -> ModelOutput:
        """The one output, of numbers, with one of these ranks (batch included).

        Raises:
            DecoderError: it is not so.
        """
        if len(outputs) != 1 or len(outputs[0].largest) + 1 not in ranks or outputs[0].dtype == "bool":
            raise self.misfit(outputs, spec)
        return outputs[0]


def known_decoders() -> list[str]:
    """Names of all decoders, edged's own and the user's."""
    return sorted({entry.name for entry in (*BUILT_IN, *entry_points(group=GROUP))})


def find_decoder(spec: ModelSpec) -> Decoder:
    """The decoder that a model spec names; edged's own cannot be replaced.

    Raises:
        DecoderError: there is none of this name, it cannot be loaded, or it is for another task.
    """
    entry = find_entry(spec.decoder)
    if entry is None:
        raise DecoderError(
            f"there is no decoder {spec.decoder!r}; known are {', '.join(known_decoders())}",
            where=f"model {spec.id}",
            remedy="correct the key decoder of the model spec, or install the package that brings it",
        )
    where = f"decoder {entry.name} ({entry.value})"
    remedy = f"correct the entry point in the group {GROUP}"
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        raise DecoderError(f"it cannot be loaded: {error}", where=where, remedy=remedy) from error
    if not (isinstance(kind, type) and issubclass(kind, Decoder)):
        raise DecoderError("it is not a subclass of edged.graph.outputs.base.Decoder", where=where, remedy=remedy)
    if kind.task != spec.task:
        raise DecoderError(
            f"decoder {spec.decoder} is for task {kind.task}, but the spec says task {spec.task}",
            where=f"model {spec.id}",
            remedy="make task and decoder of the model spec agree",
        )
    decoder: Decoder = kind()
    return decoder
