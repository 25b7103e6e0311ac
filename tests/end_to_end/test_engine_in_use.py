# SPDX-License-Identifier: Apache-2.0
"""An engine that a daemon runs stays in the store, however many are built beside it."""

from __future__ import annotations

from pathlib import Path

from support.daemon import ASSETS
from support.engines import Heard, request
from support.fixtures import StartDaemon

from edged.engine.build import build
from edged.engine.lease import unused
from edged.engine.outdated import remove_outdated
from edged.engine.shelf import hold
from edged.engine.store import CURRENT_FILE


def test_a_running_daemon_keeps_its_engine(daemons: StartDaemon) -> None:
    daemon = daemons()
    state = daemon.folder / "state"
    done = build(request(ASSETS / "shapes.toml", state, backend="onnxruntime"), Heard())
    engine = Path(done.folder)
    daemon.start().wait_for_log("ready after")
    with unused(engine) as free:
        assert not free
    (engine.parent / CURRENT_FILE).unlink()
    with hold(state, "shapes") as shelf:
        assert [one.fate for one in remove_outdated(shelf.folder, 0)] == ["in use"]
    assert daemon.stop().code == 0
    with hold(state, "shapes") as shelf:
        assert [one.fate for one in remove_outdated(shelf.folder, 0)] == ["removed"]
    assert not engine.exists()
