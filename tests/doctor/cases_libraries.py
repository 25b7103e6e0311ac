# SPDX-License-Identifier: Apache-2.0
"""Cases: Python, NumPy, OpenCV, ONNX Runtime."""

from __future__ import annotations

from doctor.doctor_rig import CRASH, PYTHON_MINOR, Cases, Rig, jetson, opencv, wheel

CASES = case = Cases()


def _environment(rig: Rig, shared: str) -> None:
    jetson(rig)
    prefix = rig.folder / "venv"
    prefix.mkdir()
    (prefix / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = {shared}\n")
    rig.machine["prefix"] = prefix


@case("python", "problem", "hides the system's packages", "--system-site-packages")
def closed_environment(rig: Rig) -> None:
    _environment(rig, "false")


@case("python", "problem", f"is for Python 3.{PYTHON_MINOR - 1}", "--system-site-packages")
def another_python_than_the_systems(rig: Rig) -> None:
    _environment(rig, "true")
    target = rig.file(f"/usr/bin/python3.{PYTHON_MINOR - 1}")
    (target.parent / "python3").symlink_to(target.name)


@case("python", "ok", "on the system's packages")
def open_environment(rig: Rig) -> None:
    _environment(rig, "true")


@case("numpy", "problem", "built for another NumPy", "<2")
def opencv_of_numpy_1(rig: Rig) -> None:
    rig.library("numpy.py", '__version__ = "2.2.0"\n')
    rig.library("cv2.py", 'raise ImportError("numpy.core.multiarray failed to import")')


@case("numpy", "problem", "importing NumPy: ImportError", "numpy>=1.23")
def broken_numpy(rig: Rig) -> None:
    rig.library("numpy.py", 'raise ImportError("libopenblas.so.0: cannot open shared object file")')


@case("numpy", "ok", "")
def numpy(rig: Rig) -> None:
    opencv(rig)


@case("opencv", "problem", "libGL.so.1", "opencv-python-headless")
def opencv_without_a_desktop(rig: Rig) -> None:
    rig.library("cv2.py", 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")')


@case("opencv", "problem", "crashed (SIGSEGV)", "opencv-python-headless")
def opencv_that_crashes(rig: Rig) -> None:
    rig.library("cv2.py", CRASH)


@case("opencv", "skipped", "see numpy")
def opencv_of_another_numpy(rig: Rig) -> None:
    opencv_of_numpy_1(rig)


@case("opencv", "warning", "overwrite each other", "pip uninstall")
def two_opencvs(rig: Rig) -> None:
    opencv(rig)
    wheel(rig, "opencv-python", "4.5.4")
    wheel(rig, "opencv-contrib-python", "4.5.4")


@case("opencv", "ok", "with Video4Linux")
def real_opencv(rig: Rig) -> None:
    rig.settings()


@case("video-backends", "problem", "without GStreamer (for north)", "python3-opencv")
def no_gstreamer(rig: Rig) -> None:
    opencv(rig)
    rig.settings("gst:videotestsrc ! appsink")


@case("video-backends", "problem", "without Video4Linux (for north)", "opencv-python-headless")
def no_video4linux(rig: Rig) -> None:
    opencv(rig, "v4l/v4l2: NO")
    rig.settings("v4l2:///dev/video9")


@case("video-backends", "ok", "no source needs one")
def files_need_no_opencv(rig: Rig) -> None:
    opencv(rig, "v4l/v4l2: NO")
    rig.settings()


@case("ffmpeg", "problem", "importing PyAV: ImportError", "pip install --force-reinstall 'av")
def broken_pyav(rig: Rig) -> None:
    rig.library("av/__init__.py", 'raise ImportError("libavcodec.so.62: cannot open shared object file")')


@case("ffmpeg", "problem", "crashed (SIGSEGV)", "pip install --force-reinstall 'av")
def pyav_that_crashes(rig: Rig) -> None:
    rig.library("av/__init__.py", CRASH)


@case("ffmpeg", "problem", "cannot decode H.264 and H.265", "pip install --force-reinstall 'av")
def pyav_without_decoders(rig: Rig) -> None:
    rig.library("av/__init__.py", '__version__ = "17.0.0"\nlibrary_versions = {"libavcodec": (62, 1, 0)}\n')
    rig.library("av/codec.py", 'codecs_available = {"mjpeg"}\n')


@case("ffmpeg", "ok", "libavcodec")
def real_pyav(rig: Rig) -> None:
    rig.settings()


@case("onnxruntime", "problem", "importing ONNX Runtime: ImportError", "pip install --force-reinstall 'onnxruntime")
def broken_onnxruntime(rig: Rig) -> None:
    rig.library("onnxruntime/__init__.py", 'raise ImportError("DLL load failed")')


@case("onnxruntime", "problem", "crashed (SIGSEGV)", "onnxruntime")
def onnxruntime_that_crashes(rig: Rig) -> None:
    rig.library("onnxruntime/__init__.py", CRASH)


@case("onnxruntime", "ok", "runs a small model")
def real_onnxruntime(rig: Rig) -> None:
    rig.settings()
