# SPDX-License-Identifier: Apache-2.0
"""Where the shared data lies: a real detector, labelled images, a real video. None of it is part of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.yolox import data_folder, write_spec


def shared_data() -> Path:
    """The data folder; skips the test where it is absent."""
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"the shared data is not here ({folder}); set SHARED_DATA_DIR")
    return folder


def write_yolox_spec(folder: Path, **values: Any) -> Path:
    """A model spec of the real detector, see `support.yolox.write_spec`; skips where the data is absent."""
    return write_spec(folder, shared_data(), **values)
