# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
from pathlib import Path

import pytest

from edged.errors import DeviceUnavailableError
from edged.stages.publish.security import create_keys, load_client_curve
from edged.stages.publish.silence import likely_causes
from edged.top import run_top

GROUP, WANTED, KNOWN = (
    "socket (group edged)",
    "want CURVE keys (--server-key FILE --key FILE)",
    "know this client's key",
)


@pytest.mark.parametrize(
    ("endpoint", "keys", "cause"),
    [("ipc:///run/x.sock", False, GROUP), ("tcp://h:1", False, WANTED), ("tcp://h:1", True, KNOWN)],
)
def test_the_cause_fits_the_transport(endpoint: str, keys: bool, cause: str) -> None:
    said = likely_causes(endpoint, keys=keys)
    assert [each for each in (GROUP, WANTED, KNOWN) if each in said] == [cause]


def test_top_names_keys_where_a_tcp_endpoint_is_silent(tmp_path: Path, tcp: str) -> None:
    create_keys(tmp_path, "me")
    curve = load_client_curve(tmp_path / "me.key", tmp_path / "me.key_secret")
    for keys, cause in ((None, WANTED), (curve, KNOWN)):
        with pytest.raises(DeviceUnavailableError, match=r"no daemon said anything within 0\.1 s") as caught:
            run_top(tcp, once=True, out=io.StringIO(), curve=keys, patience_s=0.1)
        assert cause in str(caught.value)
        assert GROUP not in str(caught.value)
