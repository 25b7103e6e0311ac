# SPDX-License-Identifier: Apache-2.0
"""The container files, as far as they can be looked at without building them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
FILES = sorted((REPO / "containers").glob("Containerfile.*"))


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instruction and argument, with continued lines joined and comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word, re.sub(r"\s+", " ", rest)) for word, _, rest in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.suffix[1:])
def test_a_container_file(path: Path) -> None:
    found = instructions(path)
    for word, rest in found:
        assert word in {"FROM", "ARG", "RUN", "COPY", "ENV", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}, word
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (REPO / source).exists(), source
    # The build needs the licence and the README that pyproject.toml names.
    copied = " ".join(rest for word, rest in found if word == "COPY")
    assert {"pyproject.toml", "README.md", "LICENSE", "edged"} <= set(copied.split())
    last = dict(found)
    assert last["USER"] == "edged"
    assert last["ENTRYPOINT"] == '["edged"]'
    assert last["CMD"] == '["run", "--config", "/etc/edged/edged.toml"]'


def test_extras_exist() -> None:
    extra = re.search(r"^ARG EXTRA=(\S+)$", (REPO / "containers/Containerfile.gpu").read_text(), re.MULTILINE)
    assert extra
    assert re.search(rf"^{extra[1]} = \[", (REPO / "pyproject.toml").read_text(), re.MULTILINE)


def test_compose() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    content = yaml.safe_load((REPO / "containers/compose.yaml").read_text())
    services = content["services"]
    assert set(services) == {"engine", "edged"}
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"] is True
    assert services["edged"]["depends_on"]["engine"]["condition"] == "service_completed_successfully"
    assert set(content["volumes"]) == {"state"}
