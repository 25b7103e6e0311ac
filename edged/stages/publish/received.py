# SPDX-License-Identifier: Apache-2.0
"""A message as it arrived, and what is in its blobs."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from edged.messages import Message, Prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_SIDE: Final = 16384
"""Of a mask: as long as a model's input may be."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it arrived.

    Attributes:
        topic: for example ``v1/predictions/north/``.
        message: what it says; its class tells the kind.
        blobs: binary parts that the message refers to by index.
        raw: the JSON as it was sent, UTF-8, with fields that this version may not know.
        lost: how many messages of this topic were lost right before it.
        tail_lost: for health messages: how many messages of other topics turned out to be lost, by topic.
    """

    topic: str
    message: Message
    blobs: tuple[bytes, ...]
    raw: bytes
    lost: int = 0
    tail_lost: Mapping[str, int] = field(default_factory=dict)


def decode_mask(received: Received) -> NDArray[np.uint8]:
    """The mask of a segmentation: class numbers, shape (height, width), on the grid of ``message.mask``. Needs OpenCV.

    Raises:
        ValueError: the message has no mask, or its blob is not the PNG it promises.
    """
    import cv2
    import numpy as np

    mask = received.message.mask if isinstance(received.message, Prediction) else msgspec.UNSET
    if isinstance(mask, msgspec.UnsetType):
        raise ValueError(f"the message on {received.topic} has no mask")
    blob = received.blobs[mask.blob]
    # What the PNG says of itself, before memory is spent on it.
    promised = len(blob) >= 24 and struct.unpack_from(">II", blob, 16) == mask.shape[::-1]
    fits = promised and max(mask.shape) <= _LONGEST_SIDE
    picture = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED) if fits else None
    if picture is None or picture.dtype != np.uint8 or picture.shape != mask.shape:
        raise ValueError(f"the mask on {received.topic} is not a PNG of {mask.shape[0]} by {mask.shape[1]} bytes")
    return np.asarray(picture, np.uint8)


def decode_tensors(received: Received) -> dict[str, NDArray[np.generic]]:
    """The raw output tensors by name, read-only views of the blobs. Needs numpy.

    Raises:
        ValueError: the message has no tensors, or a blob does not fit its shape and dtype.
    """
    import numpy as np

    tensors = received.message.tensors if isinstance(received.message, Prediction) else msgspec.UNSET
    if isinstance(tensors, msgspec.UnsetType):
        raise ValueError(f"the message on {received.topic} has no tensors")
    arrays = {}
    for tensor in tensors:
        try:
            if not tensor.dtype.isalnum() or min(tensor.shape, default=0) < 0:
                raise ValueError(f"{tensor.dtype!r} with shape {tensor.shape} is no array")
            dtype = np.dtype(tensor.dtype).newbyteorder("<")
            arrays[tensor.name] = np.frombuffer(received.blobs[tensor.blob], dtype).reshape(tensor.shape)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"tensor {tensor.name!r} on {received.topic}: {error}") from error
    return arrays
