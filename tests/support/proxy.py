# SPDX-License-Identifier: Apache-2.0
"""A bad network between a daemon and its camera: a TCP proxy whose faults are set while it runs."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from support.rtsp_wire import Damager

_PORTION = 65536
_SLOW_PORTION_S = 0.1
_QUEUED = 64
_COMMAND_S = 10.0
_CLOSE_S = 0.5
_RESET = struct.pack("ii", 1, 0)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to connections and their bytes. The default: nothing.

    Attributes:
        refuse: nobody listens (connection refused); connections that stand go on.
        swallow: connections are accepted, and every byte vanishes in both directions. Those that lost bytes are reset
            when this is over: a stream with a hole in it exists in no network.
        freeze: nothing moves in either direction; all of it comes, late, when this is over.
        delay_s: everything comes so much later.
        bytes_per_s: from the camera, at the most, for each connection.
        damage: share of RTP packets whose content is scrambled, 0 to 1.
    """

    refuse: bool = False
    swallow: bool = False
    freeze: bool = False
    delay_s: float = 0.0
    bytes_per_s: float | None = None
    damage: float = 0.0


FINE = Weather()


class Proxy:
    """A TCP proxy on a free port of the loopback interface, in a thread of its own.

    Args:
        upstream: port on the loopback interface where the camera listens; may be changed at any time.
        seed: of the damage.
        rtsp: whether the camera speaks RTSP; only then can its packets be damaged.

    Attributes:
        port: where it listens.
        accepted: connections accepted so far, those included whose camera could not be reached.
        damaged: RTP packets scrambled so far.
    """

    def __init__(self, upstream: int = 0, seed: int = 0, *, rtsp: bool = True) -> None:
        self.upstream = upstream
        self.rtsp = rtsp
        self.accepted = 0
        self.damaged = 0
        self._seed = seed
        self._weather = FINE
        self._calm: asyncio.Event
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.port = 0
        self.port = self._do(self._listen())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def weather(self) -> Weather:
        """What happens at the moment."""
        return self._weather

    @property
    def open(self) -> int:
        """Connections that stand."""
        return sum(not link.ending for link in self._links)

    def set(self, weather: Weather) -> None:
        """Change what happens, from now on, to connections that stand as well."""
        self._do(self._set(weather))

    def cut(self) -> None:
        """Close all connections properly (FIN), in the middle of whatever they were at."""
        self._do(self._drop(reset=False))

    def reset(self) -> None:
        """Reset all connections (RST)."""
        self._do(self._drop(reset=True))

    def close(self) -> None:
        """End it with all its connections. Harmless twice."""
        if self._loop.is_closed():
            return
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_COMMAND_S)
        self._loop.close()

    # everything below runs in the proxy's thread ---------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_COMMAND_S)

    async def _listen(self) -> int:
        if self._server is None:
            self._calm = asyncio.Event()
            self._calm.set()
        listener = socket.create_server(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._connected, sock=listener, limit=_PORTION)
        return int(listener.getsockname()[1])

    async def _set(self, weather: Weather) -> None:
        before, self._weather = self._weather, weather
        if weather.refuse and not before.refuse and self._server is not None:
            self._server.close()
        elif before.refuse and not weather.refuse:
            await self._listen()
        if weather.freeze:
            self._calm.clear()
        else:
            self._calm.set()
        if before.swallow and not weather.swallow:
            for link in [each for each in self._links if each.holed]:
                link.drop(reset=True)

    async def _drop(self, *, reset: bool) -> None:
        for link in list(self._links):
            link.drop(reset=reset)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        links = list(self._links)
        for link in links:
            link.drop(reset=True)
        await asyncio.gather(*(link.over.wait() for link in links))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, random.Random(self._seed + self.accepted))
        self._links.add(link)
        try:
            await link.run(reader, writer)
        finally:
            self._links.discard(link)
            link.over.set()

    async def calm(self) -> None:
        """Wait until nothing is frozen."""
        await self._calm.wait()


class _Link:
    """One connection through the proxy.

    Attributes:
        holed: whether bytes of it have vanished.
        ending: whether it is being closed.
        over: set when it is gone.
    """

    def __init__(self, proxy: Proxy, dice: random.Random) -> None:
        self.holed = False
        self.ending = False
        self.over = asyncio.Event()
        self._dropped = asyncio.Event()
        self._proxy = proxy
        self._damager = Damager(dice)
        self._writers: list[asyncio.StreamWriter] = []

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._dropped.wait())]
        try:
            tasks += [asyncio.create_task(way) for way in await self._ways(reader, writer)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # there is no camera: closed below
        finally:
            self.ending = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*map(_closed, self._writers))

    def drop(self, *, reset: bool) -> None:
        if reset:
            for writer in self._writers:
                connection = writer.get_extra_info("socket")
                if connection is not None and connection.fileno() >= 0:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    writer.transport.abort()
        self._dropped.set()

    async def _ways(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> list[Coroutine[Any, Any, None]]:
        """What is to be done for both directions."""
        if self._proxy.weather.swallow:
            self.holed = True
            return [self._swallow(reader)]
        camera = await asyncio.open_connection("127.0.0.1", self._proxy.upstream, limit=_PORTION)
        self._writers.append(camera[1])
        return [
            self._carry(reader, camera[1], from_camera=False),
            self._carry(camera[0], writer, from_camera=True),
        ]

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(_PORTION):
            pass

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_camera: bool) -> None:
        """Carry bytes one way until either side is gone."""
        # Reading goes on while bytes are on their way, so that a delay delays and does not throttle.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        sender = asyncio.create_task(self._deliver(queue, writer, from_camera=from_camera))
        try:
            while data := await reader.read(_PORTION):
                await queue.put((asyncio.get_running_loop().time() + self._proxy.weather.delay_s, data))
            if from_camera and self._proxy.weather.swallow:
                await asyncio.Event().wait()  # the news that the camera is gone vanishes as well
            await queue.put((0.0, b""))
            await sender
        except OSError:
            pass  # the other side has gone
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _deliver(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, from_camera: bool
    ) -> None:
        while True:
            due, data = await queue.get()
            if not data:
                return
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await self._proxy.calm()
            if self._proxy.weather.swallow:
                self.holed = True
                continue
            if from_camera and self._proxy.rtsp:
                before = self._damager.damaged
                data = self._damager.pass_on(data, self._proxy.weather.damage)
                self._proxy.damaged += self._damager.damaged - before
            await self._write(data, writer, slow=from_camera)

    async def _write(self, data: bytes, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data:
            rate = self._proxy.weather.bytes_per_s if slow else None
            portion = len(data) if rate is None else max(1, int(rate * _SLOW_PORTION_S))
            writer.write(data[:portion])
            await writer.drain()
            data = data[portion:]
            if rate is not None:
                await asyncio.sleep(portion / rate if portion == 1 else _SLOW_PORTION_S)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close one side of a connection, in a hurry where it does not take what is left."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _CLOSE_S)
    except asyncio.TimeoutError:
        writer.transport.abort()
    except OSError:
        pass  # it was reset
