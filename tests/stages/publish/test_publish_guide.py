# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/messages.md, run as they stand there (only the endpoint and the patience differ)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.stages.publish.publisher import Publisher

REPO = Path(__file__).parents[3]
BLOCKS = re.findall(r"```python\n(.*?)```", (REPO / "docs" / "messages.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("block", "expected"),
    [(0, "north person 0.91 (604.5, 212.0, 741.25, 655.75)"), (1, "north 5678 [{'label': 'person'")],
)
def test_examples_print_predictions(
    make_publisher: Callable[..., Publisher], wait_until: Callable[..., None], endpoint: str, block: int, expected: str
) -> None:
    code = BLOCKS[block].replace("ipc:///run/edged/predictions.sock", endpoint)
    code = code.replace("timeout_s=10.0", "timeout_s=1.0").replace("10_000", "1_000")
    publisher = make_publisher()
    body = (REPO / "tests" / "fixtures" / "messages" / "prediction-detection.json").read_bytes()
    # The guide's wait for a first message is shortened too: publish as soon as the example has subscribed.
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(publisher, lambda: publisher.prediction_subscriptions == 1)
            publisher.send("v1/predictions/north/", body)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert err == ""
    assert out.startswith(expected)
