# SPDX-License-Identifier: Apache-2.0
"""The main job: frames in, predictions out, every frame accounted for."""

from __future__ import annotations

from collections.abc import Callable

from support.daemon import Daemon, predictions

from edged.messages import Health, Prediction


def test_lossless_sources_are_published_whole_in_order_and_the_daemon_ends(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons(
        {
            "sources": [
                {"name": "a", "uri": "synthetic://shapes?seed=1&frames=40", "mode": "lossless"},
                {"name": "b", "uri": "synthetic://shapes?seed=2&frames=25", "mode": "lossless"},
            ],
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    seen: dict[str, list[int]] = {"a": [], "b": []}
    last_health: Health | None = None
    with daemon.subscriber() as subscriber:
        while len(seen["a"]) < 40 or len(seen["b"]) < 25 or last_health is None or last_health.state != "stopping":
            received = subscriber.receive(10)
            assert received is not None, daemon.output
            message = received.message
            if isinstance(message, Prediction):
                seen[message.source].append(message.frame_id)
                assert message.detections
            elif isinstance(message, Health):
                last_health = message
        assert not subscriber.lost
    assert seen == {"a": list(range(40)), "b": list(range(25))}
    assert daemon.wait(5) == 0, daemon.output
    assert {name: source.published for name, source in last_health.sources.items()} == {"a": 40, "b": 25}
    assert all(source.in_flight == 0 and source.state == "ended" for source in last_health.sources.values())
    assert not (daemon.folder / "predictions.sock").exists()


def test_thread_isolation_does_the_same_job(daemons: Callable[..., Daemon]) -> None:
    daemon = daemons(
        {
            "daemon": {"isolation": "thread"},
            "sources": [{"name": "a", "uri": "synthetic://shapes?seed=1&frames=20", "mode": "lossless"}],
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    with daemon.subscriber("v1/predictions/a/") as subscriber:
        ids = []
        for received in predictions(subscriber):
            assert isinstance(received.message, Prediction)
            ids.append(received.message.frame_id)
            if len(ids) == 20:
                break
    assert ids == list(range(20))
    assert daemon.wait(10) == 0, daemon.output
