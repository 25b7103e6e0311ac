# SPDX-License-Identifier: Apache-2.0
"""Files that people write: settings and model specs."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from edged.config import load
from edged.config_sources import variable
from edged.fields import leaves
from edged.model_file import load_spec
from edged.settings import Settings
from tools.fuzz.mutate import Mutator
from tools.fuzz.run import SECRET, remove

_REPO = Path(__file__).resolve().parents[2]
_CONFIGS = _REPO / "configs"
_SPEC = _REPO / "edged" / "assets" / "shapes.toml"
_TEXT_SHARE = 0.2
_MARK = b"\n# given as text:\n"

_SETTINGS = f"""\
[daemon]
name = "gate-7"
log_level = "info"
[[sources]]
name = "north"
uri = "rtsp://user:{SECRET}@camera.example/stream"
mode = "live"
fps = 15.5
max_age_ms = 500
crop = [0.0, 0.1, 0.5, 1.0]
mask = [[0.0, 0.1, 0.5, 1.0], [0, 0, 1, 0, 0.5, 0.5]]
[[sources]]
name = "south"
uri = "file:///clip.mp4"
loop = true
[model]
spec = "models/yolox-nano.toml"
[engine]
backend = "auto"
max_batch = 8
max_delay_ms = 4
[build]
profiles = [[1, 4, 8], [1, 1, 1]]
keep_float = ["head.*"]
[publish]
bind = ["ipc:///run/edged/predictions.sock", "tcp://127.0.0.1:5555"]
[publish.curve]
secret_key_file = "/etc/edged/curve.key"
authorized_keys_dir = "/etc/edged/authorized"
[monitor]
interval_s = 1.0
[http]
bind = "127.0.0.1:9464"
""".encode()

_SPEC_DYNAMIC = b"""\
id = "s"
onnx = "shapes.onnx"
task = "segmentation"
decoder = "segmentation"
[input]
size = {min = [256, 256], opt = [513, 513], max = [1024, 1024], multiple = 1}
resize = "stretch"
"""


class Configuration:
    """Settings: a file; now and then a good file with flags and variables that are not."""

    name = "configuration"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
        self._seeds = [_SETTINGS, _SETTINGS, *(path.read_bytes() for path in sorted(_CONFIGS.glob("*.toml")))]
        self._keys = sorted(leaves(Settings))

    def case(self, rng: random.Random) -> bytes:
        """A broken file, or the good one with words behind a mark."""
        mutator = Mutator(rng, self._seeds)
        if rng.random() > _TEXT_SHARE:
            return mutator.case()
        given = [(rng.choice(self._keys), mutator.word().strip(b'"')) for _ in range(rng.randrange(1, 4))]
        return _SETTINGS + _MARK + b"\n".join(key.encode() + b" " + word.replace(b"\n", b" ") for key, word in given)

    def run(self, case: bytes) -> None:
        """Load it; what is taken must be able to be shown."""
        content, _, text = case.partition(_MARK)
        path = self._folder / "edged.toml"
        path.write_bytes(content)
        given = [line.partition(b" ")[::2] for line in text.split(b"\n") if line]
        # As the system hands them over: any bytes but NUL.
        pairs = [(key.decode(), word.replace(b"\0", b"").decode(errors="surrogateescape")) for key, word in given]
        flags = [f"--{key}={word}" for key, word in pairs[::2]]
        loaded = load(path, flags, {variable(key): word for key, word in pairs[1::2]})
        shown = json.dumps(loaded.settings.redacted(), allow_nan=False) + repr(loaded.settings)
        assert SECRET not in shown, "a password is shown"

    def close(self) -> None:
        """Remove the file."""
        remove(self._folder)


class Spec:
    """Model specs."""

    name = "spec"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
        self._seeds = (_SPEC.read_bytes(), _SPEC_DYNAMIC)
        (self._folder / "shapes.onnx").write_bytes(b"no model")
        (self._folder / "shapes.names").write_text("person\n")

    def case(self, rng: random.Random) -> bytes:
        """A broken spec."""
        return Mutator(rng, self._seeds).case()

    def run(self, case: bytes) -> None:
        """Load it; what is taken must be able to go into a digest."""
        path = self._folder / "spec.toml"
        path.write_bytes(case)
        json.dumps(load_spec(path).digest_fields(), allow_nan=False)

    def close(self) -> None:
        """Remove the files."""
        remove(self._folder)
