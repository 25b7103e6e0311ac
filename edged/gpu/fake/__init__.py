# SPDX-License-Identifier: Apache-2.0
"""A GPU without a GPU: it moves real bytes, runs Python functions as engines, and watches every access.

Work is done as late as the interface allows, so that whatever is not ordered shows. Every access to memory is checked
against every other one by vector clocks: two that no event, stream order or wait puts in order, one of them a write,
raise `edged.gpu.errors.AccountingError`, whichever way this run happened to go. Any call can be made to fail.
"""

from edged.gpu.fake.engine import FakeEngine
from edged.gpu.fake.faults import CALLS
from edged.gpu.fake.gpu import FakeGpu

__all__ = ["CALLS", "FakeEngine", "FakeGpu"]
