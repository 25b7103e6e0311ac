# SPDX-License-Identifier: Apache-2.0
"""Engines for the tests on a real GPU, built once for all of them in a folder of the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.errors import DeviceUnavailableError
from edged.gpu import load
from edged.gpu.cuda import CudaGpu
from tools.gpu.building import build_all
from tools.gpu.models import export_number


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the engines of the demo model and of the model that reads numbers; skips without a GPU."""
    try:
        load.tensorrt()
        CudaGpu(0).close()
    except DeviceUnavailableError as error:
        pytest.skip(f"needs an NVIDIA GPU with TensorRT: {error.what}")
    folder = tmp_path_factory.mktemp("engines")
    export_number(folder)
    results = build_all(folder, ["number-fp32", "shapes-fp32"])
    assert all(result["ok"] for result in results.values()), results
    return folder
