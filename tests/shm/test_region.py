# SPDX-License-Identifier: Apache-2.0
"""Anonymous shared memory."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.errors import SharedMemoryError
from edged.shm.region import PAGE, Region, align


@given(st.integers(0, 10**9), st.sampled_from([1, 8, 64, 4096]))
def test_rounding_up(size: int, to: int) -> None:
    assert align(size, to) % to == 0
    assert size <= align(size, to) < size + to


def test_a_new_region_is_whole_pages_of_zeros() -> None:
    region = Region.create("test", PAGE + 1)
    assert region.size == 2 * PAGE
    assert not np.frombuffer(region.map, np.uint8).any()
    region.close()


def test_another_process_sees_what_is_written() -> None:
    region = Region.create("test", 64)
    words = region.words(16, 2)
    words[0], words[1] = -(2**63), 7
    script = (
        "import sys; from edged.shm.region import Region; r = Region(int(sys.argv[1])); w = r.words(16, 2);"
        "assert list(w) == [-2**63, 7]; w[1] = 8"
    )
    subprocess.run([sys.executable, "-c", script, str(region.fd)], pass_fds=[region.fd], check=True, timeout=20)
    assert words[1] == 8
    words.release()
    region.close()


def test_nobody_can_change_its_size_and_it_has_no_name() -> None:
    region = Region.create("test", PAGE)
    for size in (0, 2 * PAGE):
        with pytest.raises(PermissionError):
            os.ftruncate(region.fd, size)
    assert os.readlink(f"/proc/self/fd/{region.fd}").startswith("/memfd:test")
    assert os.fstat(region.fd).st_nlink == 0
    region.close()


def test_an_empty_file_is_no_region() -> None:
    fd = os.memfd_create("empty")
    with pytest.raises(SharedMemoryError, match="empty"):
        Region(fd)
    os.close(fd)


def test_closing_with_live_views_keeps_them_valid_and_twice_is_harmless() -> None:
    region = Region.create("test", PAGE)
    fd = region.fd
    view = np.frombuffer(region.map, np.uint8)
    region.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert view[0] == 0
    region.close()
    del view
    region.close()
    assert region.map.closed
