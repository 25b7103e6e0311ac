# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.publish.peers import PeerCounter


def test_handshakes_less_disconnects() -> None:
    peers = PeerCounter()
    for descriptor in (16, 19):
        peers.note("accepted", descriptor)
        peers.note("succeeded", 0)
    assert peers.connected == 2
    peers.note("disconnected", 16)
    assert (peers.connected, peers.handshake_failures) == (1, 0)


def test_a_failed_handshake_is_not_a_subscriber_that_leaves() -> None:
    peers = PeerCounter()
    peers.note("accepted", 16)
    peers.note("succeeded", 0)
    peers.note("accepted", 17)
    peers.note("failed", 0)
    peers.note("disconnected", 17)
    assert (peers.connected, peers.handshake_failures) == (1, 1)


def test_an_end_without_any_handshake_event_is_a_failure() -> None:
    peers = PeerCounter()  # what a DEALER that connects to a publisher looks like
    peers.note("accepted", 16)
    peers.note("disconnected", 16)
    assert (peers.connected, peers.handshake_failures) == (0, 1)


def test_a_silent_connection_leaves_the_count_right() -> None:
    peers = PeerCounter()
    peers.note("accepted", 16)
    peers.note("accepted", 17)  # silent
    peers.note("succeeded", 0)  # 16, although 17 is newer
    peers.note("failed", 0)
    peers.note("disconnected", 17)
    assert (peers.connected, peers.handshake_failures) == (1, 1)
    peers.note("disconnected", 16)
    assert peers.connected == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.randoms()), max_size=40))
@settings(deadline=None, max_examples=100)
def test_exact_once_every_handshake_is_decided(steps: list[tuple[int, bool, object]]) -> None:
    """Connections come and go; each decides its handshake right away or fails when it ends."""
    peers = PeerCounter()
    open_peers: dict[int, bool] = {}
    failures = 0
    for descriptor, good, _ in steps:
        if descriptor in open_peers:
            if not open_peers.pop(descriptor):
                peers.note("failed", 0)
                failures += 1
            peers.note("disconnected", descriptor)
        else:
            open_peers[descriptor] = good
            peers.note("accepted", descriptor)
            if good:
                peers.note("succeeded", 0)
        assert 0 <= peers.connected <= len(open_peers)
    for descriptor in [descriptor for descriptor, good in open_peers.items() if not good]:
        peers.note("failed", 0)
        peers.note("disconnected", descriptor)
        failures += 1
    assert peers.connected == sum(open_peers.values())
    assert peers.handshake_failures == failures


def test_a_success_between_a_failure_and_its_end_goes_to_the_right_one() -> None:
    peers = PeerCounter()
    peers.note("accepted", 32)
    peers.note("accepted", 47)
    peers.note("failed", 400)
    peers.note("succeeded", 0)
    peers.note("disconnected", 47)
    assert (peers.connected, peers.handshake_failures) == (1, 1)
    peers.note("disconnected", 32)
    assert (peers.connected, peers.handshake_failures) == (0, 1)
