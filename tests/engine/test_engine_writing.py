# SPDX-License-Identifier: Apache-2.0
"""What is said where the state folder cannot be written, whoever writes there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.engine.chain.work import written
from edged.engine.writing import writing
from edged.errors import StateDirError

ADVICE = "free space there, let this user write, or choose another --state-dir"


def test_it_says_what_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateDirError) as found, writing(tmp_path, "an engine"):
        (tmp_path / "none" / "file").write_bytes(b"")
    assert str(found.value) == f"{tmp_path}: an engine cannot be written (No such file or directory); {ADVICE}"
    with pytest.raises(StateDirError) as found, written(tmp_path):
        (tmp_path / "none" / "file").write_bytes(b"")
    assert str(found.value) == (
        f"{tmp_path}: cannot be written (No such file or directory); {ADVICE}; what was measured is kept"
    )
