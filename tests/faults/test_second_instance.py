# SPDX-License-Identifier: Apache-2.0
"""A second daemon on the same endpoint ends at once with 75; the first does not notice."""

from __future__ import annotations

import time

from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, strange_lines
from support.watch import Watch


def test_the_endpoint_belongs_to_who_came_first(daemons: StartDaemon) -> None:
    first = daemons().start()
    with Watch(first) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
        family = first.children()
        second = daemons({"publish": {"bind": [first.endpoint]}}).start()
        begin = time.monotonic()
        assert second.wait(10) == 75
        assert time.monotonic() - begin < 5
        (line,) = strange_lines(second)
        assert line.startswith("edged: ")
        assert f"already in use by the edged daemon with pid {first.process.pid}" in line
        assert second.children() == []
        watch.wait_for_all(["north", "south"], time.monotonic(), 5)
        assert first.children() == family
        assert watch.subscriber.lost == {}
        assert first.stop().code == 0
        watch.until(lambda: watch.stopping)
        watch.assert_accounted("north")
    assert_ended_clean(first)
