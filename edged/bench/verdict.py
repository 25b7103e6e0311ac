# SPDX-License-Identifier: Apache-2.0
"""What holds the pipeline back, with the figures that say so, and which settings suit it."""

from __future__ import annotations

from typing import NamedTuple

from edged.bench.levels import enough_slots
from edged.bench.report import Advice, Bound, Contestant, Measurement, Verdict

_SHORT = 0.9
"""A daemon below this share of the pipeline is held back by something else."""
_NEAR = 1.15
"""A daemon within this of what capture alone delivers is held back by capture."""
_BUSY = 0.85
_LAUNCH = 1.1
_SAY = {
    "capture": "capture-bound: the sources deliver no more",
    "copy": "copy-bound: moving frames to the device takes longer than computing on them",
    "launch": "launch-bound: the host takes longer to submit a batch than the device to compute it",
    "compute": "compute-bound: the device computes all the time",
    "publish": "publish-bound: post-processing and sending take all the time of their process",
    "unclear": "nothing stands out",
}


class _Costs(NamedTuple):
    """Of a batch in the pipeline, milliseconds: what it takes in all, and its parts."""

    period: float
    compute: float
    copy: float
    host: float


def verdict(result: Contestant) -> Verdict | None:
    """What the pipeline is bound by; None without a measurement of it."""
    batches = result.batches("pipeline")
    if not batches:
        return None
    usual = result.max_batch if result.daemon is None else result.daemon.batch
    batch = usual if usual in batches else batches[-1]
    pipeline = result.found("pipeline", batch)
    assert pipeline is not None
    engine, eager = result.found("engine", batch), result.found("engine-eager", batch)
    costs = _costs(pipeline, engine)
    evidence = _evidence(result, batch, costs, engine, eager)
    bound = _daemon_bound(result, pipeline) or _pipeline_bound(costs, engine, eager, result)
    return Verdict(bound=bound, sentence=_SAY[bound], evidence=tuple(evidence))


def _period_ms(found: Measurement) -> float:
    return 1e3 * found.batch / found.frames_per_s.median


def _costs(pipeline: Measurement, engine: Measurement | None) -> _Costs:
    stages = pipeline.stages_ms
    compute = stages.get("infer", 0.0) if engine is None else _period_ms(engine)
    host = stages.get("submit", 0.0) + stages.get("deliver", 0.0)
    return _Costs(_period_ms(pipeline), compute, stages.get("copy", 0.0), host)


def _daemon_bound(result: Contestant, pipeline: Measurement) -> Bound | None:
    """Something outside the pipeline; None where the daemon keeps up with it, or was not measured."""
    daemon = result.daemon
    if daemon is None or daemon.frames_per_s.median >= _SHORT * pipeline.frames_per_s.median:
        return None
    if daemon.capture_per_s is not None and daemon.capture_per_s <= _NEAR * daemon.frames_per_s.median:
        return "capture"
    return "publish" if daemon.busy.get("publish", 0.0) >= _BUSY else None


def _pipeline_bound(costs: _Costs, engine: Measurement | None, eager: Measurement | None, result: Contestant) -> Bound:
    without_graph = any("without a CUDA graph" in note for note in result.notes)
    if without_graph and engine is not None and eager is not None:
        submit = eager.stages_ms.get("submit", 0.0)
        if submit >= _SHORT * _period_ms(eager):
            return "launch"
    largest = max(costs.compute, costs.copy, costs.host)
    if largest < costs.period / 2:
        return "unclear"
    if largest == costs.compute:
        return "compute"
    return "copy" if largest == costs.copy else "launch"


def _evidence(
    result: Contestant, batch: int, costs: _Costs, engine: Measurement | None, eager: Measurement | None
) -> list[str]:
    lines = [
        f"a batch of {batch} takes {costs.period:.3f} ms in the pipeline: compute {costs.compute:.3f}, copy "
        f"{costs.copy:.3f}, host {costs.host:.3f} ms, side by side"
    ]
    found = next((it for it in result.efficiency if it.batch == batch), None)
    if found is not None:
        lines.append(
            f"the pipeline gives {found.ratio.median:.1%} of the engine alone "
            f"({found.ratio.low:.1%}–{found.ratio.high:.1%})"
        )
    if engine is not None and eager is not None:
        gain = _period_ms(eager) / _period_ms(engine)
        worth = "worth it" if gain >= _LAUNCH else "small"
        lines.append(
            f"without CUDA graphs the engine takes {_period_ms(eager):.3f} instead of {_period_ms(engine):.3f} ms "
            f"({gain:.2f}×, {worth}), and its host time is {eager.stages_ms.get('submit', 0.0):.3f} instead of "
            f"{engine.stages_ms.get('submit', 0.0):.3f} ms"
        )
    return lines + _about_size(result, engine) + _about_daemon(result, batch)


def _about_size(result: Contestant, engine: Measurement | None) -> list[str]:
    """Whether larger batches are nearly free: then the device is not full."""
    one = result.found("engine", 1)
    if one is None or engine is None or engine.batch == 1:
        return []
    grows = _period_ms(engine) / _period_ms(one)
    return [f"{engine.batch} times the frames take {grows:.2f} times as long in the engine"]


def _about_daemon(result: Contestant, batch: int) -> list[str]:
    daemon, pipeline = result.daemon, result.found("pipeline", batch)
    if daemon is None or pipeline is None:
        return []
    share = daemon.frames_per_s.median / pipeline.frames_per_s.median
    lines = [f"the daemon publishes {daemon.frames_per_s.median:,.0f} frames/s, {share:.1%} of the pipeline"]
    if daemon.capture_per_s is not None:
        lines.append(f"its sources alone deliver {daemon.capture_per_s:,.0f} frames/s")
    if daemon.busy:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in daemon.busy.items())
        lines.append(f"share of the time inside their stages: {shares}")
    return lines


def advice(result: Contestant) -> list[Advice]:
    """``engine.max_batch`` and ``engine.slots``, as far as they were measured."""
    found: list[Advice] = []
    full = result.saturation
    if full is not None:
        why = f"the smallest batch with at least 95 % of the best rate ({full.frames_per_s:,.0f} frames/s"
        if full.batch != full.best_batch:
            why += f", {full.best_frames_per_s:,.0f} at {full.best_batch}"
        found.append(Advice(key="engine.max_batch", value=full.batch, why=f"{why}); larger ones make frames wait"))
    enough = enough_slots(result.slot_runs)
    if enough is not None:
        best = max(run.frames_per_s.median for run in result.slot_runs)
        shares = ", ".join(f"{run.slots}: {run.frames_per_s.median / best:.0%}" for run in result.slot_runs)
        why = f"the fewest within 3 % of the best rate at batch {enough.batch} ({shares})"
        found.append(Advice(key="engine.slots", value=enough.slots, why=why))
    return found
