# SPDX-License-Identifier: Apache-2.0
"""Memory of one picture serves the next."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

_READ = """
import resource, sys
from edged.stages.capture.page_reuse import keep_pages
from edged.stages.capture.readers.video import VideoReader
assert keep_pages()
reader = VideoReader(sys.argv[1], live=True)
for _ in range(10):
    reader.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    assert reader.read()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library cannot be told to keep memory")
def test_no_page_is_mapped_anew_for_each_picture(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (1280, 720))
    for level in range(30):
        writer.write(np.full((720, 1280, 3), level, np.uint8))
    writer.release()
    command = [sys.executable, "-c", _READ, str(path)]
    faults = float(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    pages = 1280 * 720 * 3 / 4096  # about two thirds of them otherwise
    assert faults < 0.05 * pages
