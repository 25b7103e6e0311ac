# SPDX-License-Identifier: Apache-2.0
"""The redo log makes changes atomic, and the lock excludes threads and outlives its holder."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edged.errors import SharedMemoryError
from edged.shm.lock import FileLock
from edged.shm.region import Region
from edged.shm.table import Table


@pytest.fixture
def region() -> Iterator[Region]:
    region = Region.create("test", 65536)
    yield region
    region.close()


def test_a_change_is_seen_by_another_party(region: Region) -> None:
    writer, reader = Table(region, 8, create=True), Table(region, 8)
    with writer.locked():
        writer.change([(0, 5), (1, -7)])
    with reader.locked():
        assert list(reader.words[:2]) == [5, -7]
    writer.close()
    reader.close()


def test_a_region_of_another_format_is_refused(region: Region) -> None:
    with pytest.raises(SharedMemoryError, match="not made by this version"):
        Table(region, 8)


@pytest.mark.parametrize("applied", [0, 1, 2])
def test_a_half_done_change_is_finished_by_the_next_holder(region: Region, applied: int) -> None:
    dead, alive = Table(region, 8, create=True), Table(region, 8)
    changes = [(0, 11), (1, 22)]
    # What a process killed after `applied` of the stores leaves behind.
    for place, (index, value) in enumerate(changes):
        dead.log[2 + 2 * place], dead.log[3 + 2 * place] = index, value
    dead.log[1] = len(changes)
    for index, value in changes[:applied]:
        dead.words[index] = value
    with alive.locked():
        assert list(alive.words[:2]) == [11, 22]
        assert alive.log[1] == 0
    dead.close()
    alive.close()


def test_threads_exclude_each_other(region: Region) -> None:
    tables = [Table(region, 1, create=True), *(Table(region, 1) for _ in range(3))]

    def count(table: Table) -> None:
        for _ in range(2000):
            with table.locked(deadline_s=30):
                table.words[0] += 1

    threads = [threading.Thread(target=count, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert tables[0].words[0] == 8000
    for table in tables:
        table.close()


_HOLDER = """
import sys
from edged.shm.lock import FileLock
lock = FileLock(int(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stopped_holder_is_reported_and_a_killed_one_frees_the_lock(region: Region) -> None:
    os.set_inheritable(region.fd, True)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(region.fd)],
        pass_fds=[region.fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        mine = FileLock(region.fd)
        with pytest.raises(SharedMemoryError, match=r"held for 0\.05 s"):
            mine.acquire(0.05)
        holder.kill()
        holder.wait(10)
        mine.acquire(5)
        mine.release()
        mine.close()
    finally:
        holder.kill()
        holder.wait(10)
        for pipe in (holder.stdin, holder.stdout):
            if pipe is not None:
                pipe.close()
