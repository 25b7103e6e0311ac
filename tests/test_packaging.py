# SPDX-License-Identifier: Apache-2.0
"""What ships and what is promised about it: imports, version, assets, examples, links."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from graphlib import CycleError
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import import_each

import edged
from edged.config import load

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "edged"
SPDX = "# SPDX-License-Identifier: Apache-2.0"
MODULES = sorted(
    ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)
DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md")])
README = (REPO / "README.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"```toml\n(?P<text># (?P<path>\S+)\n.*?)```", re.DOTALL)
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_MISSING = re.compile(r"ModuleNotFoundError: No module named '(?P<name>\w+)[\w.]*'\s*$")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def python(*arguments: str, folder: Path = REPO, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter that knows the package and no setting of ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
    environment["PYTHONPATH"] = str(REPO)
    if state is not None:
        environment["XDG_STATE_HOME"] = str(state)
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100
    )


# imports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("edged", ["numpy", "cv2", "zmq", "onnx", "onnxruntime", "pydantic", "msgspec", "rich"]),
        ("edged.cli", ["numpy", "cv2", "zmq", "onnx", "onnxruntime", "pydantic", "msgspec", "rich"]),
        ("edged.runtime.supervisor", ["numpy", "cv2", "zmq", "onnx", "onnxruntime", "prometheus_client", "rich"]),
        ("edged.runtime.child", ["numpy", "cv2", "zmq", "onnx", "onnxruntime", "pydantic", "rich"]),
        ("edged.runtime.infer_main", ["cv2", "zmq", "onnx", "pydantic", "rich"]),
        ("edged.runtime.capture_main", ["zmq", "onnx", "onnxruntime", "pydantic", "rich"]),
        ("edged.runtime.publish_main", ["onnx", "onnxruntime", "pydantic", "rich"]),
    ],
)
def test_imports_stay_light(module: str, unwanted: Sequence[str]) -> None:
    done = python("-c", f"import sys, {module}; print(*(name for name in {unwanted!r} if name in sys.modules))")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_every_module_imports_by_itself_and_in_silence() -> None:
    order, forked = import_each.in_order(import_each.graph_of(import_each.files_of(PACKAGE)))
    assert sorted([*order, *forked]) == MODULES
    assert len(forked) < len(MODULES) / 5, "each costs as much as all the others"
    done = python("-W", "error", str(Path(import_each.__file__)), str(PACKAGE))
    assert (done.returncode, done.stderr) == (0, "")
    failures = {module: said for module, said in json.loads(done.stdout).items() if not _lacks_a_gpu(module, said)}
    assert not failures, "\n".join(f"{module}: {said}" for module, said in failures.items())


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    package = tmp_path / "p"
    package.mkdir()
    for name, text in (
        ("__init__", ""),
        ("a", "import p.b"),
        ("b", "def f():\n    from p import c"),
        ("c", "import p.a"),
    ):
        (package / f"{name}.py").write_text(text)
    files = import_each.files_of(package)
    assert import_each.in_order(import_each.graph_of(files)) == (["p", "p.b", "p.a", "p.c"], [])
    (package / "b.py").write_text("if True:\n    from p import c")
    with pytest.raises(CycleError, match="cycle"):
        import_each.in_order(import_each.graph_of(files))
    (package / "__init__.py").write_text("import p.a")
    assert import_each.in_order(import_each.graph_of(files)) == ([], ["p", "p.a", "p.b", "p.c"])


def _lacks_a_gpu(module: str, said: str) -> bool:
    """Whether it is the only place that may need what only GPU machines have, and says so."""
    missing = _MISSING.search(said)
    return module.startswith("edged.gpu.") and missing is not None and missing["name"] in ("cuda", "tensorrt")


# the distribution ----------------------------------------------------------------------------------------------------


def test_the_version_is_that_of_the_package() -> None:
    try:
        installed = metadata.version("edged")
    except metadata.PackageNotFoundError:
        pytest.skip("edged is not installed here, only on the path")
    assert installed == edged.__version__


def test_the_version_stands_in_one_place() -> None:
    text = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in text
    assert not re.search(r'^version\s*=\s*"', text, re.MULTILINE)
    assert python("-m", "edged", "--version").stdout == f"edged {edged.__version__}\n"


def test_assets_and_the_typing_marker_ship() -> None:
    package = resources.files("edged")
    sizes = {name: len((package / "assets" / name).read_bytes()) for name in ("shapes.onnx", "shapes.toml")}
    assert 10_000 < sizes["shapes.onnx"] < 1_000_000
    assert (package / "py.typed").is_file()
    assert (package / "assets" / "shapes.names").read_text(encoding="utf-8").split() == ["circle", "square", "triangle"]


def test_every_python_file_and_script_names_its_licence_first() -> None:
    files = [path for folder in ("edged", "tools", "tests", ".ci") for path in (REPO / folder).rglob("*")]
    scripts = [path for path in files if path.is_file() and (path.suffix in ("", ".py", ".sh"))]
    assert len(scripts) > 100
    wrong = []
    for path in scripts:
        lines = path.read_text(encoding="utf-8").splitlines()[:2]
        if SPDX not in (lines[1:] if lines and lines[0].startswith("#!") else lines[:1]):
            wrong.append(str(path.relative_to(REPO)))
    assert not wrong


# examples and documents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((REPO / "configs").glob("*.toml")), ids=lambda path: str(path.name))
def test_example_settings_are_right(path: Path, tmp_path: Path) -> None:
    settings = load(path, [], {}).settings
    done = python("-m", "edged", "check", "--config", str(path), folder=tmp_path, state=tmp_path)
    if settings.model.spec.is_file():
        assert done.returncode == 0, done.stderr
    else:
        # An example of every key names a model that only its reader has: nothing but that may be wrong with it.
        assert str(settings.model.spec) in done.stderr
        assert done.returncode == 78


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's files as it says to lay them out, with a model such as it speaks of."""
    for match in _EXAMPLE.finditer(README):
        path = tmp_path / match["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(match["text"], encoding="utf-8")
    assert (tmp_path / "edged.toml").is_file()
    write_model(tmp_path / "models" / "yolov8n.onnx")
    (tmp_path / "models" / "coco.names").write_text("".join(f"thing-{number}\n" for number in range(80)))
    return tmp_path


def write_model(path: Path) -> None:
    """A model with the shapes of an exported YOLOv8 of 80 classes; it sees nothing in particular."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "axis"], ["grey"]),
        helper.make_node("Expand", ["grey", "shape"], ["output0"]),
    ]
    constants = {"axis": np.array([3], np.int64), "shape": np.array([1, 84, 8400], np.int64)}
    graph = helper.make_graph(
        nodes,
        "grey",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 640, 640])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["N", 84, 8400])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def check(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """``edged check`` of the README's settings."""
    return python("-m", "edged", "check", "--config", "edged.toml", *flags, folder=folder, state=folder / "state")


def test_the_readme_s_example_passes_the_check(example: Path) -> None:
    done = check(example)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("configuration ok\n")


@pytest.mark.parametrize(
    ("mistake", "flags"),
    [
        (None, ['--publish.bind=["ipc:///run/edged-not-here/predictions.sock"]']),
        (None, ['--publish.bind=["tcp://0.0.0.0:5555"]']),
        (("edged.toml", "bind =", "bnid ="), []),
        (("models/yolov8n.toml", '"yolov8" ', '"yolox" '), []),
        (("models/yolov8n.toml", "640, 640", "416, 416"), []),
    ],
    ids=["folder", "reachable", "unknown key", "decoder", "size"],
)
def test_the_readme_s_error_lines_are_real(
    example: Path, mistake: tuple[str, str, str] | None, flags: list[str]
) -> None:
    if mistake is not None:
        name, right, wrong = mistake
        text = (example / name).read_text()
        assert right in text
        (example / name).write_text(text.replace(right, wrong))
    done = check(example, *flags)
    assert done.returncode == 78
    line = done.stderr.removeprefix("edged: ").strip()
    assert f"`{line.replace(str(example), '/srv').replace('/run/edged-not-here', '/run/edged')}`" in README


def test_the_readme_s_python_examples_compile() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        compile(block, f"README.md, example {number + 1}", "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_somewhere(path: Path) -> None:
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    for match in _LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        there = path if not target else path.parent / target
        assert there.exists(), f"{path.name} links to {match['target']}"
        if anchor:
            assert anchor in anchors(there), f"{path.name} links to {match['target']}"


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
