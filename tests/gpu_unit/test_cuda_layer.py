# SPDX-License-Identifier: Apache-2.0
"""The CUDA layer over the real Python bindings and a stand-in driver."""

from pathlib import Path

from support.stub_driver import on_stub_driver

CASES = Path(__file__).resolve().with_name("stub_cases.py")


def test_the_cuda_layer_on_a_stand_in_driver(tmp_path: Path) -> None:
    assert on_stub_driver(CASES, tmp_path).count("test_") == CASES.read_text("utf-8").count("\ndef test_")
