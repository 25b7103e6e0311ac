# SPDX-License-Identifier: Apache-2.0
"""``edged bench --layers``: where an engine's time goes, layer by layer, what limits each, and what could be better."""

from edged.bench.layers.analyse import analyse
from edged.bench.layers.records import Ceilings
from edged.bench.layers.report import LayerReport

__all__ = ["Ceilings", "LayerReport", "analyse"]
