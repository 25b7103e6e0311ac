# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.publish.peers import PeerCounter, PeerEvent

Told = tuple[PeerEvent, int]


def after(peers: PeerCounter, *events: Told) -> tuple[int, int]:
    """How many are connected and how many failed, after what the socket monitor told."""
    for event, descriptor in events:
        peers.note(event, descriptor)
    return peers.connected, peers.handshake_failures


def test_handshakes_less_disconnects() -> None:
    peers = PeerCounter()
    came: list[Told] = [("accepted", 16), ("succeeded", 0), ("accepted", 19), ("succeeded", 0)]
    assert after(peers, *came) == (2, 0)
    assert after(peers, ("disconnected", 16)) == (1, 0)


def test_a_failed_handshake_is_not_a_subscriber_that_leaves() -> None:
    came: list[Told] = [("accepted", 16), ("succeeded", 0)]
    failed: list[Told] = [("accepted", 17), ("failed", 0), ("disconnected", 17)]
    assert after(PeerCounter(), *came, *failed) == (1, 1)


def test_an_end_without_any_handshake_event_is_a_failure() -> None:
    # What a DEALER that connects to a publisher looks like.
    assert after(PeerCounter(), ("accepted", 16), ("disconnected", 16)) == (0, 1)


def test_a_silent_connection_leaves_the_count_right() -> None:
    peers = PeerCounter()
    # 17 is silent: it is 16 that succeeds, although 17 is newer.
    came: list[Told] = [("accepted", 16), ("accepted", 17), ("succeeded", 0)]
    assert after(peers, *came, ("failed", 0), ("disconnected", 17)) == (1, 1)
    assert after(peers, ("disconnected", 16)) == (0, 1)


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
    came: list[Told] = [("accepted", 32), ("accepted", 47)]
    assert after(peers, *came, ("failed", 400), ("succeeded", 0), ("disconnected", 47)) == (1, 1)
    assert after(peers, ("disconnected", 32)) == (0, 1)
