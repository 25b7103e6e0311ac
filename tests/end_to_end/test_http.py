# SPDX-License-Identifier: Apache-2.0
"""HTTP beside a real daemon: it tells what subscribers are told, and nothing about it stops the daemon."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Callable

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon import next_health, predictions, wait_until
from support.fixtures import StartDaemon
from support.ports import free_port

from edged.messages import Health


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def is_ready(port: int) -> Callable[[], bool]:
    """Asks whether a daemon is ready."""
    return lambda: get(port, "/readyz")[0] == 200


@pytest.fixture
def port() -> int:
    """Where the daemon is to answer."""
    return free_port()


def test_it_tells_what_subscribers_are_told_and_when_the_daemon_is_ready(daemons: StartDaemon, port: int) -> None:
    daemon = daemons({"http": {"bind": f"127.0.0.1:{port}"}})
    with daemon.subscriber() as subscriber:
        daemon.start()
        wait_until(is_ready(port), 20, "readiness")
        next(predictions(subscriber))
        next_health(subscriber)
        health = next_health(subscriber)
        status, body = get(port, "/healthz")
        told = msgspec.json.decode(body, type=Health)
        assert (status, told.device, told.boot) == (200, health.device, health.boot)
        assert told.engine == health.engine
        assert told.subscribers == 1
        assert {name: source.state for name, source in told.sources.items()} == {"north": "live", "south": "live"}
        assert all(told.sources[name].captured >= source.captured for name, source in health.sources.items())
        families = {f.name: f for f in text_string_to_metric_families(get(port, "/metrics")[1].decode())}
        captured = {s.labels["source"]: s.value for s in families["edged_frames_captured"].samples}
        assert captured.keys() == {"north", "south"}
        assert min(captured.values()) > 0
        assert get(port, "/livez") == (200, b"live\n")
    assert "secret" not in body.decode()
    assert daemon.terminate() == 0
    assert get(port, "/livez")[0] == 0


def test_a_source_that_is_down_does_not_make_it_unready_and_a_replaced_process_is_counted(
    daemons: StartDaemon, port: int
) -> None:
    sources = [
        {"name": "north", "uri": "synthetic://shapes?seed=1"},
        {"name": "gone", "uri": "file:///nowhere/clip.mp4"},
    ]
    daemon = daemons({"http": {"bind": f"127.0.0.1:{port}"}, "sources": sources})
    daemon.start()
    wait_until(is_ready(port), 20, "readiness")
    wait_until(lambda: get(port, "/readyz")[1].startswith(b"degraded\nsource gone failed"), 5, "reason")
    (infer,) = daemon.children("infer")
    os.kill(infer, signal.SIGKILL)
    replaced = b'edged_process_restarts_total{process="infer"} 1.0'
    wait_until(lambda: replaced in get(port, "/metrics")[1], 10, "count of what was replaced")
    wait_until(is_ready(port), 20, "readiness again")


def test_two_daemons_at_one_port_both_infer(daemons: StartDaemon, port: int) -> None:
    bind = {"http": {"bind": f"127.0.0.1:{port}"}}
    first = daemons(bind)
    first.start()
    wait_until(is_ready(port), 20, "readiness")
    second = daemons(bind)
    with second.subscriber("v1/predictions/") as subscriber:
        second.start()
        assert next(predictions(subscriber)) is not None
    second.wait_for_log(f"WARNING http.bind: 127.0.0.1:{port} cannot be bound: Address already in use")
    assert (second.terminate(), first.terminate()) == (0, 0)
    assert "cannot be bound" not in first.output
