# SPDX-License-Identifier: Apache-2.0
"""OpenCV, what it can open, and the NumPy below it."""

from __future__ import annotations

import re

from edged.doctor.apart import Answer
from edged.doctor.check import PROBE_LIMIT_S, Check
from edged.doctor.finding import UNAVAILABLE, Outcome, SkippedError, ok, problem, warning
from edged.doctor.situation import Situation
from edged.doctor.versions import numbers
from edged.errors import SettingsError
from edged.stages.capture.uri import parse

_BACKENDS = {"v4l2": "v4l2", "gst": "gstreamer", "csi": "gstreamer"}
_SHOWN = {"v4l2": "Video4Linux", "gstreamer": "GStreamer"}
_CLASH = re.compile(r"_ARRAY_API|numpy\.core\.multiarray|compiled using NumPy 1|numpy\.dtype size changed")
_WHEEL = "pip install --force-reinstall 'opencv-python-headless>=4.8'"
_SYSTEM = (
    "pip uninstall opencv-python opencv-python-headless && sudo apt install python3-opencv  # "
    "in an environment made with --system-site-packages"
)


def _clash(given: Answer) -> bool:
    """Whether OpenCV was built for another NumPy."""
    told = " ".join((given.reason, *given.said))
    return not given.done and "numpy" in given.facts and _CLASH.search(told) is not None


def _numpy(situation: Situation) -> Outcome:
    given = situation.ask("opencv")
    version = given.facts.get("numpy")
    if version is None:
        return given.outcome(["pip install --force-reinstall 'numpy>=1.23'"])
    evidence = [f"NumPy {version} in {given.facts['numpy_at']}"]
    if _clash(given):
        newer = numbers(version) >= (2,)
        remedy = "pip install 'numpy>=1.23,<2'" if newer else "pip install 'numpy>=2'"
        return problem(
            f"OpenCV was built for another NumPy than {version}",
            [*evidence, given.trouble(), *given.said],
            [f"{remedy}  # the system's OpenCV of JetPack 6 and Ubuntu 22.04 wants NumPy 1"],
        )
    return ok(version, evidence)


NUMPY = Check("numpy", "NumPy, 1 or 2 as OpenCV was built for", UNAVAILABLE, _numpy, PROBE_LIMIT_S)


def _opencv(situation: Situation) -> Outcome:
    given = situation.ask("opencv")
    if "numpy" not in given.facts or _clash(given):
        raise SkippedError("NumPy has to be mended first, see numpy")
    if not given.done:
        missing = re.search(r"lib(?:GL|xcb|gthread)[\w.-]*", given.reason)
        headless = ["pip uninstall opencv-python && pip install opencv-python-headless"] if missing else []
        return given.outcome([*headless, _WHEEL])
    packages: list[str] = given.facts["packages"]
    built = [shown for key, shown in _SHOWN.items() if given.facts[key]]
    evidence = [
        f"imported from {given.facts['at']}",
        f"built with {', '.join(built) or 'none of its backends'}",
        *packages,
    ]
    if len(packages) > 1:
        names = " ".join(package.split()[0] for package in packages)
        return warning(
            "several packages of OpenCV overwrite each other",
            evidence,
            [f"pip uninstall {names} && pip install opencv-python-headless"],
        )
    return ok(f"{given.facts['version']} with {', '.join(built)}", evidence)


OPENCV = Check("opencv", "OpenCV: version, origin, and whether it works", UNAVAILABLE, _opencv, PROBE_LIMIT_S)


def _backends(situation: Situation) -> Outcome:
    given = situation.ask("opencv")
    if not given.done:
        raise SkippedError("OpenCV does not work, see opencv and numpy")
    wanted = _wanted(situation)
    missing = {backend: sources for backend, sources in wanted.items() if not given.facts[backend]}
    evidence = [f"{shown}: {'yes' if given.facts[key] else 'no'}" for key, shown in _SHOWN.items()]
    if missing:
        parts = [f"{_SHOWN[backend]} (for {', '.join(sources)})" for backend, sources in missing.items()]
        return problem(
            f"OpenCV was built without {' and '.join(parts)}",
            evidence,
            [_SYSTEM if "gstreamer" in missing else _WHEEL],
        )
    if not wanted:
        return ok("no source needs one", evidence)
    return ok(" and ".join(_SHOWN[backend] for backend in wanted) + ", as the sources need", evidence)


def _wanted(situation: Situation) -> dict[str, list[str]]:
    """Which backend is needed for which sources."""
    wanted: dict[str, list[str]] = {}
    for source in situation.settings().sources:
        try:
            backend = _BACKENDS.get(parse(source.uri.get_secret_value()).kind)
        except SettingsError:
            continue  # a finding of the check "sources"
        if backend is not None:
            wanted.setdefault(backend, []).append(source.name)
    return wanted


VIDEO_BACKENDS = Check(
    "video-backends",
    "OpenCV's Video4Linux and GStreamer, as the sources need",
    UNAVAILABLE,
    _backends,
    PROBE_LIMIT_S,
)
