# SPDX-License-Identifier: Apache-2.0
"""Every name of TensorRT that edged uses exists in each supported version, or the code asks before."""

import json
import os
from pathlib import Path

import pytest

from tools.make_trt_api_table import CODE, TABLE, all_uses, main, problems, read, table, text, uses

DATA = Path(os.environ.get("SHARED_DATA_DIR") or Path(__file__).resolve().parents[3] / "shared" / "data")
KNOWN = json.loads(TABLE.read_text("utf-8"))


def found_in(source: str) -> list[str]:
    return problems(uses(source, "x.py"), KNOWN)


def test_every_name_used_is_there_or_asked_for() -> None:
    assert problems(all_uses(), KNOWN) == []


def test_the_reader_sees_what_the_code_uses() -> None:
    names = {use.name for use in all_uses()}
    assert len(names) > 70
    assert {
        "Runtime",
        "IExecutionContext.execute_async_v3",
        "MemoryPoolType.WORKSPACE",
        "IBuilderConfig.builder_optimization_level",
        "ExecutionContextAllocationStrategy.USER_MANAGED",
        "PreviewFeature.PROFILE_SHARING_0806",
    } <= names


def test_the_table_spans_the_supported_versions() -> None:
    heads = {version.partition(".")[0] for version in KNOWN["versions"]}
    assert {"8", "10", "11"} <= heads


@pytest.mark.parametrize(
    "source",
    [
        "def f(trt): return trt.Invented()",
        "def f(trt): return trt.MemoryPoolType.INVENTED",
        "def f(self): return self._trt.Invented",
        "def f(trt_engine): return trt_engine.invented_size",
        "def f(self): self._trt_context.invented = 1",
        "def f(trt): return getattr(trt, 'Invented', None)",
        "def f(trt_config): return hasattr(trt_config, 'invented')",
    ],
)
def test_an_invented_name_is_found(source: str) -> None:
    assert found_in(source), source


def test_an_invented_name_is_found_even_with_a_table_made_for_it() -> None:
    versions = {"8.6.0": {"Runtime": ["logger"]}, "10.3.0": {"Runtime": ["logger"]}}
    found = uses("def f(trt): return trt.Runtime, getattr(trt, 'Invented', None)", "x.py")
    assert problems(found, table(found, versions)) == ["x.py:1: no TensorRT has Invented"]


def test_a_name_of_some_versions_has_to_be_asked_for() -> None:
    plain = "def f(trt): return trt.BuilderFlag.FP16"
    assert "missing in 11.0.0.114" in found_in(plain)[0]
    assert not found_in("def f(trt): return getattr(trt.BuilderFlag, 'FP16', None)")
    assert not found_in("def f(trt):\n if hasattr(trt.BuilderFlag, 'FP16'):\n  return trt.BuilderFlag.FP16")
    # Without a default, getattr raises where the name is missing: that is no question.
    assert found_in("def f(trt):\n getattr(trt.BuilderFlag, 'FP16')\n return trt.BuilderFlag.FP16")
    # Asking in another function does not help.
    assert found_in("def g(trt): return hasattr(trt.BuilderFlag, 'FP16')\n" + plain)


def test_asking_for_a_class_covers_its_members() -> None:
    use = "trt.ExecutionContextAllocationStrategy.USER_MANAGED"
    assert found_in(f"def f(trt): return {use}")
    assert not found_in(f"def f(trt): return hasattr(trt, 'ExecutionContextAllocationStrategy') and {use}")


def test_an_object_of_unknown_class_cannot_slip_through() -> None:
    with pytest.raises(ValueError, match="trt_thing"):
        uses("def f(trt_thing): return trt_thing.x", "x.py")


def test_no_file_hides_tensorrt_behind_another_name() -> None:
    importers = [path.name for path in CODE.rglob("*.py") if "load.tensorrt(" in path.read_text("utf-8")]
    assert importers == ["library.py"]


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "tensorrt-api").is_dir(), reason="the shared data folder (SHARED_DATA_DIR) is absent")
def test_the_table_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert text(table(all_uses(), read(DATA / "tensorrt-api"))) == TABLE.read_text("utf-8")
    assert main([str(DATA / "tensorrt-api"), "--check"]) == 0
    assert "up to date" in capsys.readouterr().out
