# SPDX-License-Identifier: Apache-2.0
"""Python imports this at its start where this folder is on ``PYTHONPATH``: `tools.gpu.sabotage`, `pins`, `stand_in`."""

import os

from tools.gpu import pins, sabotage

sabotage.install()
pins.install()
if "GPU_STAND_IN" in os.environ:
    from tools.gpu import stand_in

    stand_in.install()
