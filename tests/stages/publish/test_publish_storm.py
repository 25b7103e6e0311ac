# SPDX-License-Identifier: Apache-2.0
"""Everybody who has no business on a tcp endpoint; ``python -m tools.bench.storm`` does it to a daemon, for longer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from edged.messages import EVENT, Event
from edged.stages.publish.client import Subscriber
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.security import create_keys, load_client_curve, load_server_curve
from tools.bench.storm_attack import Crowd

Make = Callable[..., Publisher]
Wait = Callable[..., None]
COUNT = 54


def test_a_crowd_gets_nothing_and_takes_nothing(
    make_publisher: Make, wait_until: Wait, tcp: str, tmp_path: Path
) -> None:
    for name in ("daemon", "welcome"):
        create_keys(tmp_path, name)
    (tmp_path / "authorized").mkdir()
    shutil.copy(tmp_path / "welcome.key", tmp_path / "authorized")
    publisher = make_publisher(
        binds=[tcp], curve=load_server_curve(tmp_path / "daemon.key_secret", tmp_path / "authorized")
    )
    curve = load_client_curve(tmp_path / "daemon.key", tmp_path / "welcome.key_secret")
    with Subscriber(tcp, curve=curve) as welcome, closing(Crowd(tcp, curve.server)) as crowd:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        heard, took = 0, []
        for _ in range(COUNT):
            crowd.come()
            publisher.poll_subscriptions()
            begin = time.monotonic()
            publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k"))
            heard += welcome.receive(5.0) is not None
            took.append(time.monotonic() - begin)
        # Those that say nothing are waited for longer.
        wait_until(publisher, lambda: publisher.handshake_failures >= COUNT // 2)
        crowd.leave(float("inf"))
        assert heard == COUNT
        assert welcome.lost == {}
        # A busy machine may hold up one or two.
        assert sorted(took)[-3] < 1.0
        assert (crowd.made, crowd.delivered) == (COUNT, 0)
        said = publisher.remarks()
        assert len(said) == 2, said
        assert "refused" in said[0]
        assert "without a handshake" in said[1]
        assert publisher.remarks() == []
        wait_until(publisher, lambda: publisher.subscribers == 1)
