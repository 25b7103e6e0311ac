# SPDX-License-Identifier: Apache-2.0
"""Compiles tools/kernels/*.cu to edged/gpu/kernels/*.ptx with NVRTC, which needs no GPU.

    pip download --no-deps nvidia-cuda-nvrtc-cu12==12.0.76 && unzip it somewhere
    python tools/make_kernels.py PATH/TO/libnvrtc.so.12

CUDA 12.0's compiler writes PTX that every driver from CUDA 12.0 on takes; the driver translates it for its GPU.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "tools" / "kernels"
TARGET = ROOT / "edged" / "gpu" / "kernels"
_OPTIONS = (b"--gpu-architecture=compute_70", b"--std=c++14", b"--device-as-default-execution-space")


def main(arguments: list[str]) -> int:
    """Compile everything; returns 0."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 64
    nvrtc = ctypes.CDLL(arguments[0])
    for source in sorted(SOURCES.glob("*.cu")):
        target = TARGET / f"{source.stem}.ptx"
        target.write_text(compiled(nvrtc, source))
        print(f"{source.relative_to(ROOT)} -> {target.relative_to(ROOT)}")
    return 0


def compiled(nvrtc: ctypes.CDLL, source: Path) -> str:
    """PTX of a CUDA source; the compiler's log where it refuses."""
    program = ctypes.c_void_p()
    created = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
    if created:
        raise SystemExit(f"NVRTC refuses {source.name} with {created}")
    options = (ctypes.c_char_p * len(_OPTIONS))(*_OPTIONS)
    failed = nvrtc.nvrtcCompileProgram(program, len(_OPTIONS), options)
    text = _text(nvrtc, program, "ProgramLog" if failed else "PTX")
    if failed:
        raise SystemExit(text)
    # The compiler's comments and the constants of its own header are of no use.
    lines = [line for line in text.splitlines() if not line.startswith("//") and "_INTERNAL_" not in line]
    return "// SPDX-License-Identifier: Apache-2.0\n" + "\n".join(lines).strip() + "\n"


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    content = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, content)
    return content.value.decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
