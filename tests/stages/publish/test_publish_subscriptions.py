# SPDX-License-Identifier: Apache-2.0
"""Topics that clients subscribe to: held in bounds, by who asks for too many, at nobody else's cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.messages import EVENT, Event
from edged.stages.publish.client import Subscriber
from edged.stages.publish.publisher import Publisher
from edged.stages.publish.subscriptions import MOST_OF_ONE, Subscriptions

Make = Callable[..., Publisher]
Wait = Callable[..., None]
COST = 64  # of a topic, beside its length
PEERS = st.integers(0, 3)
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "add", "add", "add", "add", "remove", "forget", "keep"]), PEERS, st.binary(max_size=2)
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(ACTS)
def test_what_is_held_is_what_was_subscribed_to_and_never_too_much(acts: list[tuple[str, int, bytes]]) -> None:
    book, model = Subscriptions(300, 700), dict[int, set[bytes]]()
    for act, peer, topic in acts:
        if act == "begin":
            book.begin(peer)
            model[peer] = set()
        elif act == "add":
            book.add(peer, topic)
            model.get(peer, set()).add(topic)
        elif act == "remove":
            book.remove(peer, topic)
            model.get(peer, set()).discard(topic)
        elif act == "forget":
            book.forget(peer)
            model.pop(peer, None)
        else:
            book.keep({peer})
            model = {each: topics for each, topics in model.items() if each == peer}
        excessive = book.excessive(peer)
        if excessive is not None:
            most = max(_weight(topics) for topics in model.values())
            assert _weight(model[excessive]) == most > 300 or sum(map(_weight, model.values())) > 700
            book.forget(excessive)
            del model[excessive]
        assert book.nbytes == sum(map(_weight, model.values())) <= 700
        assert all(_weight(topics) <= 300 for topics in model.values())


def test_beyond_the_bound_of_all_the_greediest_goes_not_who_came_last() -> None:
    book = Subscriptions(1000, 1400)
    for peer in range(1, 10):
        book.begin(peer)
    for number in range(14):
        book.add(1, b"%d" % number)
    for peer in range(2, 9):
        book.add(peer, b"v1/")
    assert book.excessive(8) is None
    book.add(9, b"v1/")
    assert book.excessive(9) == 1


@pytest.fixture
def raw() -> Iterator[Callable[[str], zmq.Socket[bytes]]]:
    """Clients that say what they like."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def connect(endpoint: str) -> zmq.Socket[bytes]:
        client = context.socket(zmq.XSUB)
        made.append(client)
        client.linger = 0
        client.sndhwm = 0
        client.connect(endpoint)
        return client

    yield connect
    for client in made:
        client.close()
    context.term()


@pytest.mark.parametrize("over_tcp", [False, True])
def test_a_client_with_too_many_topics_is_ended_and_nobody_else_notices(
    make_publisher: Make,
    wait_until: Wait,
    endpoint: str,
    tcp: str,
    raw: Callable[[str], zmq.Socket[bytes]],
    over_tcp: bool,
) -> None:
    publisher = make_publisher(binds=[endpoint, tcp])
    book = publisher._inbound.subscriptions
    with Subscriber(endpoint) as subscriber:
        wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
        few, before = MOST_OF_ONE // (COST + 8), book.nbytes
        modest = raw(tcp if over_tcp else endpoint)
        for number in range(few):
            modest.send(b"\x01%08d" % number)
        wait_until(publisher, lambda: book.nbytes == before + few * (COST + 8))
        assert (publisher.overreached, publisher.remarks(), publisher.subscribers) == (0, [], 2)

        greedy = raw(tcp if over_tcp else endpoint)
        for number in range(3 * few):
            greedy.send(b"\x01%08d" % number)
        wait_until(publisher, lambda: publisher.overreached > 0)
        greedy.close()
        wait_until(publisher, lambda: publisher.subscribers == 2)
        assert any("more topics subscribed to than a client may" in text for text in publisher.remarks())
        assert book.nbytes == before + few * (COST + 8)

        publisher.publish(EVENT, Event(**publisher.envelope(EVENT), kind="k", text=""))
        assert subscriber.receive(5) is not None
        modest.close()
        wait_until(publisher, lambda: book.nbytes == before)


def test_topics_that_come_and_go_are_never_too_many(
    make_publisher: Make, wait_until: Wait, endpoint: str, raw: Callable[[str], zmq.Socket[bytes]]
) -> None:
    publisher = make_publisher()
    client = raw(endpoint)
    for number in range(3 * MOST_OF_ONE // COST):
        client.send(b"\x01%08d" % number)
        client.send(b"\x00%08d" % number)
    client.send(b"\x01v1/predictions/")
    wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
    assert (publisher.overreached, publisher._inbound.subscriptions.nbytes) == (0, COST + len("v1/predictions/"))


def _weight(topics: set[bytes]) -> int:
    return sum(len(topic) + COST for topic in topics)
