# SPDX-License-Identifier: Apache-2.0
"""Engine swaps under load, seen from outside: the pause at the hand-over, and whether any message is missing.

A lossless source that is not paced keeps the engine busy. While it runs, copies of the engine with other keys are put
into the store one after the other; each is loaded beside the one that runs, compared with it, and takes over.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

from edged.messages import Event, Message, Prediction
from edged.stages.publish.client import Subscriber
from tools.bench import harness
from tools.bench.report import Report, Spread
from tools.bench.swap_seen import gaps, pauses, published_s

# Found by the harness's path.
from support.models import write_slow_model  # isort: skip
from support.swapping import store_engine  # isort: skip

_SWAP_S = 60.0
_AFTER_S = 0.5


class Swap(NamedTuple):
    """One swap.

    Attributes:
        batch_ms: of a batch of the old engine, copies included: the median of the half second before.
        at_boundary_ms: from the last result of the old engine to the first one of the new.
        longest_ms: longest pause between two results from the load of the new engine until half a second after it
            took over.
        hand_over_ms: as the daemon says it.
    """

    batch_ms: float
    at_boundary_ms: float
    longest_ms: float
    hand_over_ms: float


def follow(daemon: harness.Daemon, subscriber: Subscriber, key: str) -> list[Message]:
    """All messages until half a second after an engine took over; ends the benchmark if it does not."""
    messages: list[Message] = []
    waited = 0.0
    while waited < _SWAP_S:
        messages += harness.receive_for(daemon, subscriber, _AFTER_S)
        waited += _AFTER_S
        ends = [message for message in messages if isinstance(message, Event) and message.kind.startswith("engine-")]
        if ends and ends[-1].kind != "engine-swapped":
            sys.exit(f"the swap failed: {ends[-1].text}; the daemon's log:\n{daemon.output}")
        if ends and _taken_over(messages, key):
            return messages
    sys.exit(f"no swap within {_SWAP_S:g} s; the daemon's log:\n{daemon.output}")


def _taken_over(messages: list[Message], key: str) -> bool:
    new = [message for message in messages if isinstance(message, Prediction) and message.model.engine == key]
    return bool(new) and published_s(new[-1]) - published_s(new[0]) >= _AFTER_S / 2


def measure(messages: list[Message], key: str) -> Swap:
    """What the messages around one swap say of it."""
    seen = pauses([message for message in messages if isinstance(message, Prediction)], key)
    (event,) = (each for each in messages if isinstance(each, Event) and each.kind == "engine-swapped")
    return Swap(*seen, float(event.data["hand_over_ms"]))


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Engine swaps under load, seen from outside.")
    parser.add_argument(
        "--model",
        choices=[*harness.MODELS, "slow"],
        default="slow",
        help="slow: batches take far longer than a time slice",
    )
    parser.add_argument("--swaps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="frames of a batch at the most")
    parser.add_argument("--fps", type=float, help="frames a second at the most, so that any subscriber keeps up")
    arguments: argparse.Namespace = parser.parse_args(argv)
    report = Report("swap", arguments)
    swaps: list[Swap] = []
    with harness.folder_for_run() as folder:
        spec = write_slow_model(folder) if arguments.model == "slow" else harness.model_spec(arguments.model, folder)
        film: dict[str, Any] = {"name": "film", "uri": "synthetic://shapes?seed=1", "mode": "lossless"}
        if arguments.fps:
            film["fps"] = arguments.fps
        settings = {
            "sources": [film],
            "model": {"spec": str(spec)},
            "engine": {"max_batch": arguments.batch},
        }
        with harness.running(folder, settings) as daemon, daemon.subscriber() as subscriber:
            seen: list[Prediction] = [harness.wait_for_prediction(daemon, subscriber)]
            for number in range(arguments.swaps):
                key = store_engine(folder / "state", spec, name=f"copy {number}")
                messages = follow(daemon, subscriber, key)
                seen += [message for message in messages if isinstance(message, Prediction)]
                swaps.append(measure(messages, key))
                print(f"swap {number + 1} of {arguments.swaps}: {swaps[-1]}", flush=True)
            report.add("messages lost on the way here", float(sum(subscriber.lost.values())), at_most=0)
            report.add("sequence numbers missing or twice", float(gaps(seen)), at_most=0)
            daemon.terminate()
    report.add("batch", Spread.of([swap.batch_ms for swap in swaps]), "ms")
    boundary = [swap.at_boundary_ms / swap.batch_ms for swap in swaps]
    report.add("pause at the hand-over", Spread.of(boundary), "batch times", at_most=2.0)
    report.add(
        "longest pause from load to trust",
        Spread.of([each.longest_ms / each.batch_ms for each in swaps]),
        "batch times",
    )
    report.add("hand-over between the processes", Spread.of([swap.hand_over_ms for swap in swaps]), "ms")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
