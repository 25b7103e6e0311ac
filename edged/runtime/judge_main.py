# SPDX-License-Identifier: Apache-2.0
"""The judge: a process that ends soon, and tells how far two engines agree on live frames.

It reads both engines' outputs as publish would, which takes libraries that infer has no other use for.
"""

from __future__ import annotations

import cv2
import msgspec

from edged.runtime.control import Control
from edged.runtime.plans import JudgePlan
from edged.runtime.verify_work import covered_by
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.shm.wake import Wake
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor
from edged.stages.verify.compare import Comparer

_LOOK_S = 0.1


def serve(_name: str, control: Control) -> None:
    """Compare frame by frame until told to stop."""
    cv2.setNumThreads(1)
    control.tell("hello")
    note = control.expect("configure")
    plan = msgspec.convert(note.body, JudgePlan)
    ours_fd, theirs_fd, wake_fd, wake_candidate_fd = note.fds
    ours, theirs = Sample(Region(ours_fd)), Sample(Region(theirs_fd))
    ours_arrays, theirs_arrays = SampleArrays(ours, plan.tensors), SampleArrays(theirs, plan.tensors)
    reading = msgspec.convert(plan.postprocess, PostprocessPlan)
    compare = Comparer(reading.task, Postprocessor(reading).run, covered_by(reading)).compare
    wake, wake_candidate = Wake(wake_fd), Wake(wake_candidate_fd)
    control.tell("ready", {"io": "", "remarks": []})
    while not control.should_stop():
        wake.wait(_LOOK_S)
        if not theirs.ready:
            continue
        found = compare(theirs_arrays.outputs(), ours_arrays.outputs(), ours.begin())
        # The frame first: once both are free the next one is copied, and it must not be taken for this one.
        ours.release()
        theirs.release()
        wake_candidate.set()
        control.tell("compared", found._asdict())
