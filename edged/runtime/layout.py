# SPDX-License-Identifier: Apache-2.0
"""The output ring's layout, as the supervisor plans it and the children read it."""

from __future__ import annotations

from edged.runtime.plans import OutputPlan
from edged.shm.output_table import OutputLayout


def layout_of(plan: OutputPlan) -> OutputLayout:
    """The layout that a plan describes."""
    return OutputLayout(plan.slots, plan.max_batch, plan.tensors)
