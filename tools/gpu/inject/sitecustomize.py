# SPDX-License-Identifier: Apache-2.0
"""Python imports this at its start where this folder is on ``PYTHONPATH``: see `tools.gpu.sabotage`."""

from tools.gpu.sabotage import install

install()
