# SPDX-License-Identifier: Apache-2.0
"""Cases: settings, model, state directory, cameras, endpoints, keys."""

from __future__ import annotations

import shutil
import socket

from doctor.doctor_rig import SECRET, Cases, Rig
from support.engines import write_model

from edged.graph.prepare import FOLDER, GRAPH_FILE, prepare, spec_digest
from edged.model_file import load_spec
from edged.stages.publish.address import parse_endpoint
from edged.stages.publish.endpoint import hold
from edged.stages.publish.security import create_keys

CASES = case = Cases()


@case("settings", "problem", "devise", "")
def misspelt_key(rig: Rig) -> None:
    rig.settings(engine={"devise": 1})


@case("settings", "problem", "", "--config")
def file_that_is_not_there(rig: Rig) -> None:
    rig.config = rig.folder / "nowhere.toml"


@case("settings", "ok", "1 source")
def right_settings(rig: Rig) -> None:
    rig.settings()


@case("settings", "skipped", "--config")
def no_settings(rig: Rig) -> None:
    rig.config = None


@case("model", "problem", "does not exist", "onnx")
def model_without_file(rig: Rig) -> None:
    rig.settings()
    (rig.folder / "model" / "tiny.onnx").unlink()


@case("model", "skipped", "cannot be read")
def model_behind_wrong_settings(rig: Rig) -> None:
    misspelt_key(rig)


@case("model", "ok", "tiny: classification")
def model(rig: Rig) -> None:
    rig.settings()


@case("state-dir", "problem", "cannot be written", "state_dir")
def file_in_place_of_the_state_dir(rig: Rig) -> None:
    (rig.folder / "state").write_text("")
    rig.settings()


@case("state-dir", "problem", "not there yet", "install -d")
def state_dir_of_somebody_else(rig: Rig) -> None:
    rig.settings()
    (rig.folder / "theirs").mkdir(mode=0o755)
    rig.settings(daemon={"state_dir": str(rig.folder / "theirs" / "state")})
    (rig.folder / "theirs").chmod(0o555)
    rig.as_nobody()


@case("state-dir", "warning", "in memory", "/var/lib/edged")
def state_dir_in_memory(rig: Rig) -> None:
    rig.settings()
    rig.file("/proc/self/mountinfo", f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {rig.folder} rw shared:1 - tmpfs t rw\n")


@case("state-dir", "ok", "can be written")
def state_dir(rig: Rig) -> None:
    rig.settings()
    rig.file("/proc/self/mountinfo", "1 0 0:1 / / rw - ext4 x rw\n")


@case("disk", "problem", "1 MiB are free", "df -h")
def full_disk(rig: Rig) -> None:
    rig.settings()
    rig.machine["free_bytes"] = lambda _: 1 << 20


@case("disk", "warning", "only 500 MiB", "journalctl")
def little_room(rig: Rig) -> None:
    rig.settings()
    rig.machine["free_bytes"] = lambda _: 500 << 20


@case("disk", "ok", "9216 MiB free")
def room(rig: Rig) -> None:
    rig.settings()
    rig.machine["free_bytes"] = lambda _: 9 << 30


@case("prepared", "warning", "broken", "rm -r")
def broken_cache(rig: Rig) -> None:
    cache(rig)
    digest = spec_digest(load_spec(write_model(rig.folder / "model")))
    (rig.folder / "state" / FOLDER / digest / GRAPH_FILE).write_bytes(b"half")


@case("prepared", "ok", "not made yet")
def empty_cache(rig: Rig) -> None:
    rig.settings()


@case("prepared", "ok", "whole")
def cache(rig: Rig) -> None:
    rig.settings()
    prepare(load_spec(rig.folder / "model" / "tiny.toml"), rig.folder / "state" / FOLDER)


@case("sources", "problem", "no such file", "path")
def missing_video(rig: Rig) -> None:
    rig.settings("file:///nowhere/clip.mp4")


@case("sources", "problem", "without a usable host", "percent-encoded")
def broken_uri(rig: Rig) -> None:
    rig.settings(f"rtsp://admin:{SECRET}@/x")


@case("sources", "problem", "an @ or a # where none may stand", "percent-encode what is special in user and password")
def password_that_is_not_percent_encoded(rig: Rig) -> None:
    rig.settings(f"rtsp://user:p@ss/{SECRET}@host/x")


@case("sources", "ok", "1 can be opened")
def camera_uri(rig: Rig) -> None:
    rig.settings()


@case("capture-devices", "problem", "there is no /dev/video0", "v4l2-ctl")
def missing_camera(rig: Rig) -> None:
    rig.file("/dev/video2")
    rig.settings("v4l2:///dev/video0")


@case("capture-devices", "problem", "may not use /dev/video0", "usermod -aG video")
def camera_of_another_group(rig: Rig) -> None:
    rig.file("/dev/video0").chmod(0o000)
    rig.settings("v4l2:///dev/video0")
    rig.as_nobody()


@case("capture-devices", "problem", "metadata", "first node")
def node_without_pictures(rig: Rig) -> None:
    camera(rig)
    rig.file("/run/udev/data/c81:0", "E:ID_V4L_VERSION=2\nE:ID_V4L_CAPABILITIES=:\n")


@case("capture-devices", "ok", "UVC Camera, can be opened")
def camera(rig: Rig) -> None:
    rig.file("/dev/video0")
    rig.file("/sys/class/video4linux/video0/dev", "81:0\n")
    rig.file("/sys/class/video4linux/video0/name", "UVC Camera\n")
    rig.file("/run/udev/data/c81:0", "E:ID_V4L_CAPABILITIES=:capture:\n")
    rig.settings("v4l2:///dev/video0")


@case("endpoints", "problem", "folder of ipc://", "create")
def endpoint_without_folder(rig: Rig) -> None:
    rig.settings(publish={"bind": [f"ipc://{rig.folder}/nowhere/p.sock"]})


@case("endpoints", "ok", "ipc://")
def endpoint(rig: Rig) -> None:
    rig.settings()


@case("instance", "problem", "is in use", "fuser -v")
def endpoint_of_another_program(rig: Rig) -> None:
    listener = rig.stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(f"{rig.folder}/p.sock")
    listener.listen()
    rig.settings()


@case("instance", "warning", "a daemon runs already", "systemctl stop")
def daemon_that_runs(rig: Rig) -> None:
    rig.stack.enter_context(hold(parse_endpoint(f"ipc://{rig.folder}/p.sock")))
    rig.settings()


@case("instance", "warning", "is in use", "ss -ltnp")
def port_in_use(rig: Rig) -> None:
    server = rig.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    rig.settings(http={"bind": f"127.0.0.1:{server.getsockname()[1]}"})


@case("instance", "ok", "all free")
def free_endpoints(rig: Rig) -> None:
    rig.settings()


@case("exposure", "problem", "nothing protects it", "publish.curve")
def open_to_everybody(rig: Rig) -> None:
    rig.settings(publish={"bind": ["tcp://0.0.0.0:5555"]})


@case("exposure", "warning", "gets every prediction", "edged keys")
def open_on_purpose(rig: Rig) -> None:
    rig.settings(publish={"bind": ["tcp://0.0.0.0:5555"], "insecure": True})


@case("exposure", "warning", "metrics", "127.0.0.1:9464")
def metrics_for_everybody(rig: Rig) -> None:
    rig.settings(http={"bind": "0.0.0.0:9464"})


@case("exposure", "ok", "only this machine")
def closed_to_others(rig: Rig) -> None:
    rig.settings()


def _keys(rig: Rig) -> None:
    authorized = rig.folder / "authorized"
    authorized.mkdir()
    create_keys(rig.folder, "device")
    create_keys(rig.folder, "client")
    shutil.copy(rig.folder / "client.key", authorized)
    curve = {"secret_key_file": str(rig.folder / "device.key_secret"), "authorized_keys_dir": str(authorized)}
    rig.settings(publish={"curve": curve})


@case("curve", "problem", "can be read by others", "chmod 600")
def key_that_others_read(rig: Rig) -> None:
    _keys(rig)
    (rig.folder / "device.key_secret").chmod(0o644)


@case("curve", "problem", "nobody could subscribe", "edged keys authorise")
def nobody_authorised(rig: Rig) -> None:
    _keys(rig)
    (rig.folder / "authorized" / "client.key").unlink()


@case("curve", "ok", "1 client may subscribe")
def keys(rig: Rig) -> None:
    _keys(rig)
