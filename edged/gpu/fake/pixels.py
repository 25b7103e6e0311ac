# SPDX-License-Identifier: Apache-2.0
"""The input step's kernel on the accounting GPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edged.gpu.api import Stream
from edged.gpu.fake.machine import Machine, Work
from edged.gpu.fake.streams import queue_of
from edged.gpu.inventory import Owned
from edged.gpu.pixels import FORMS, PixelCall

_DOING = "running the input step's kernel"
_LAYOUTS = {form: (dtype, packed, size) for (dtype, packed), (form, size) in FORMS.items()}


class FakePixelKernel(Owned):
    """Computes what the real kernel computes, in numpy."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        super().__init__(machine.inventory, "kernel", "input step")

    def launch(self, stream: Stream, call: PixelCall) -> None:
        """Enqueue one run, with the parameters as they are now."""
        self._machine.faults.hit("kernel", _DOING)
        given = call.arguments
        step, plane, pixels = call.step, given.plane, given.pixels
        dtype, packed, size = _LAYOUTS[given.form]
        frames = self._machine.space.device(given.frames, 3 * pixels, _DOING)
        image = self._machine.space.device(given.image, size * pixels, _DOING)

        def begin() -> Callable[[], None]:
            def run() -> None:
                bgr = frames.bytes.reshape(-1, plane, 3)[..., :: -1 if step.rgb else 1]
                values = bgr * np.array(step.factor, np.float32) + np.array(step.shift, np.float32)
                target = image.bytes.view(dtype)
                if packed:
                    target.reshape(-1, plane, 4)[...] = np.pad(values, ((0, 0), (0, 0), (0, 1)))
                else:
                    target.reshape(-1, 3, plane)[...] = values.transpose(0, 2, 1)

            return run

        self._machine.enqueue(queue_of(stream), Work(_DOING, (frames,), (image,), begin))

    def _destroy(self) -> None:
        """Nothing to unload."""
