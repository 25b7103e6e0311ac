# SPDX-License-Identifier: Apache-2.0
"""The store: what is found, what is refused and in which words, and that nothing broken is ever handed out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.engines import FACTS, manifest

from edged.engine.key import DeviceFacts
from edged.engine.lookup import select
from edged.engine.manifest import Plugin
from edged.engine.shelf import Content, hold
from edged.engine.store import CURRENT_FILE, MANIFEST_FILE, Found, Mismatch, Wanted, find, model_folder
from edged.errors import DeviceUnavailableError, EngineError, RestartWantedError

PLAN = bytes(range(256)) * 64
MODEL = "m" * 64
WANTED = Wanted("tiny", MODEL, "tensorrt", "fp16", FACTS, spec="my models/tiny.toml")


def store(state: Path, content: bytes = PLAN, *, chosen: bool = False, **fields: object) -> Path:
    """Put an engine and make it current; returns its folder."""
    made = manifest(content, **fields)
    with hold(state, "tiny") as shelf:
        folder = shelf.put(made, Content(content))
        shelf.make_current(made, chosen=chosen)
    return folder


def test_what_was_stored_is_found(tmp_path: Path) -> None:
    folder = store(tmp_path)
    found = find(tmp_path, WANTED)
    assert isinstance(found, Found)
    assert found.path == folder / "engine.plan"
    assert found.path.read_bytes() == PLAN
    assert found.manifest == manifest(PLAN)
    assert oct(folder.stat().st_mode)[-3:] == "755"
    assert sorted(path.name for path in folder.iterdir()) == ["engine.json", "engine.plan"]


def test_nothing_built_says_what_builds(tmp_path: Path) -> None:
    found = find(tmp_path, WANTED)
    assert isinstance(found, Mismatch)
    assert found.kind == "missing"
    assert str(found.error()) == (
        f"{tmp_path}/engines/tiny: no fp16 tensorrt engine has been built for model tiny; build it: edged-build-engine "
        f"'my models/tiny.toml' --backend tensorrt --precision fp16 --state-dir {tmp_path}"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpu": "H200"}, "GPU: built for Orin, here H200"),
        ({"compute_capability": (9, 0)}, "compute capability: built for 8.7, here 9.0"),
        ({"runtime": "tensorrt 8.6.0"}, "runtime: built for tensorrt 10.3.0, here tensorrt 8.6.0"),
        ({"driver": "13.0"}, "driver's CUDA version: built for 12.6, here 13.0"),
    ],
)
def test_another_device_is_a_mismatch_that_names_the_field(tmp_path: Path, change: dict[str, str], words: str) -> None:
    folder = store(tmp_path)
    found = find(tmp_path, WANTED._replace(facts=msgspec.structs.replace(FACTS, **change)))
    assert isinstance(found, Mismatch)
    assert found.kind == "differs"
    assert found.where == folder
    assert found.what == f"the engine is not valid here ({words})"


def test_another_model_a_larger_batch_and_a_changed_plugin_are_mismatches(tmp_path: Path) -> None:
    library = tmp_path / "ops.so"
    library.write_bytes(b"one")
    store(tmp_path, extra={"plugins": (Plugin(path=str(library), sha256=Content(b"one").sha256),)})
    assert isinstance(find(tmp_path, WANTED), Found)
    library.write_bytes(b"two")
    found = find(tmp_path, WANTED._replace(model="n" * 64, max_batch=9))
    assert isinstance(found, Mismatch)
    fields = [difference.field for difference in found.differences]
    assert fields == ["model, its spec or its labels", "largest batch", f"plugin {library}"]
    library.unlink()
    missing = find(tmp_path, WANTED)
    assert isinstance(missing, Mismatch)
    assert missing.differences[0].here == "not there"


def damage(folder: Path, how: str) -> None:
    plan, text = folder / "engine.plan", folder / MANIFEST_FILE
    if how == "truncated plan":
        plan.write_bytes(PLAN[:-1])
    elif how == "flipped bit":
        plan.write_bytes(bytes([PLAN[0] ^ 1]) + PLAN[1:])
    elif how == "no plan":
        plan.unlink()
    elif how == "truncated manifest":
        text.write_bytes(text.read_bytes()[:-40])
    elif how == "empty manifest":
        text.write_bytes(b"")
    elif how == "edited manifest":
        text.write_bytes(text.read_bytes().replace(b'"Orin"', b'"H200"'))
    elif how == "other manifest":
        text.write_bytes(text.read_bytes().replace(b'"engine.plan"', b'"../../plan"'))
    elif how == "no manifest":
        text.unlink()
    else:
        (folder.parent / CURRENT_FILE).write_bytes(b"{\xff")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated plan", "has 16383 bytes instead of 16384"),
        ("flipped bit", "content is not what was built"),
        ("no plan", "cannot be read: No such file"),
        ("truncated manifest", "the manifest is broken"),
        ("empty manifest", "the manifest is broken"),
        ("edited manifest", "the manifest is broken: the key does not fit the fields"),
        ("other manifest", "the manifest belongs to another engine"),
        ("no manifest", "is not there"),
        ("current", "is broken"),
    ],
)
def test_whatever_is_broken_is_an_error_and_never_an_engine(tmp_path: Path, how: str, words: str) -> None:
    damage(store(tmp_path), how)
    with pytest.raises(EngineError, match=words) as caught:
        find(tmp_path, WANTED)
    assert caught.value.exit_code == 78
    assert "edged-build-engine 'my models/tiny.toml' --backend tensorrt" in caught.value.remedy
    assert caught.value.where.startswith(str(tmp_path))
    selection = select(tmp_path, "tiny", MODEL, "tensorrt", "fp16", FACTS)
    assert not selection.usable
    assert selection.missing is not None
    assert selection.missing.kind == "broken"
    with pytest.raises(EngineError, match=words):
        selection.require()
    # Building again mends it.
    store(tmp_path)
    assert isinstance(find(tmp_path, WANTED), Found)


def test_the_same_key_again_replaces_the_engine(tmp_path: Path) -> None:
    store(tmp_path)
    folder = store(tmp_path, b"newer")
    found = find(tmp_path, WANTED)
    assert isinstance(found, Found)
    assert found.path.read_bytes() == b"newer"
    assert [path.name for path in model_folder(tmp_path, "tiny").iterdir() if path.is_dir()] == [folder.name]


def test_auto_is_the_builders_choice_until_it_is_not_valid_any_more(tmp_path: Path) -> None:
    def auto() -> str:
        found = find(tmp_path, WANTED._replace(precision="auto", facts=None, model=MODEL))
        assert isinstance(found, Mismatch)
        return found.where.name

    first = store(tmp_path, precision="fp32")
    assert auto() == first.name, "the first engine is better than none"
    chosen = store(tmp_path, precision="fp16", chosen=True)
    assert auto() == chosen.name
    store(tmp_path, precision="tf32")
    assert auto() == chosen.name, "a forced precision must not replace the choice"
    forced = store(tmp_path, precision="fp32", driver="13.0")
    assert auto() == forced.name, "the choice was for another driver"


def test_one_builder_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(RestartWantedError, match="another build is under way")
    with hold(tmp_path, "tiny"), refused, hold(tmp_path, "other"):
        pass
    with hold(tmp_path, "other"):
        pass


def test_without_a_gpu_onnx_runtime_takes_the_prepared_graph(tmp_path: Path) -> None:
    selection = select(tmp_path, "tiny", MODEL).require()
    assert (selection.backend, selection.precision, selection.engine) == ("onnxruntime", "fp32", None)
    store(tmp_path, b"onnx", backend="onnxruntime", precision="fp32", extra={"max_batch": None})
    selection = select(tmp_path, "tiny", MODEL, max_batch=64).require()
    assert selection.engine is not None
    assert selection.engine.path.name == "engine.onnx"
    outdated = select(tmp_path, "tiny", "n" * 64).require()
    assert (outdated.engine, outdated.missing) == (None, None)
    with pytest.raises(EngineError, match="no fp16 onnxruntime engine"):
        select(tmp_path, "tiny", MODEL, "onnxruntime", "fp16").require()
    with pytest.raises(DeviceUnavailableError, match="needs an NVIDIA GPU"):
        select(tmp_path, "tiny", MODEL, "tensorrt")


def test_with_a_gpu_the_built_engine_is_taken_and_an_invalid_one_never_passed_over(tmp_path: Path) -> None:
    never = select(tmp_path, "tiny", MODEL, facts=FACTS).require()
    assert (never.backend, never.engine) == ("onnxruntime", None)
    assert never.missing is not None
    assert never.missing.kind == "missing"
    with pytest.raises(EngineError, match="no fp16 tensorrt engine"):
        select(tmp_path, "tiny", MODEL, precision="fp16", facts=FACTS).require()
    store(tmp_path, chosen=True)
    taken = select(tmp_path, "tiny", MODEL, facts=FACTS, max_batch=8).require()
    assert (taken.backend, taken.precision, taken.missing) == ("tensorrt", "fp16", None)
    elsewhere = DeviceFacts(runtime=FACTS.runtime, gpu="Thor", compute_capability=(11, 0), driver="13.0")
    refused = select(tmp_path, "tiny", MODEL, facts=elsewhere, spec="tiny.toml")
    assert not refused.usable
    with pytest.raises(EngineError, match=r"GPU: built for Orin, here Thor.*build it: edged-build-engine tiny\.toml"):
        refused.require()


def test_looking_is_cheap() -> None:
    code = (
        "import sys, edged.engine.lookup as l\n"
        "heavy = {'onnx', 'numpy', 'tensorrt', 'pydantic', 'onnxruntime', 'rich', 'cuda.bindings'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (0, "")
