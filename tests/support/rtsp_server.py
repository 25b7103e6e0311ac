# SPDX-License-Identifier: Apache-2.0
"""A real RTSP camera for tests: GStreamer's server with a test picture as H.264, run by the system's Python.

    /usr/bin/python3 rtsp_server.py USER PASSWORD

Prints the port as soon as it listens, then serves ``rtsp://USER:PASSWORD@127.0.0.1:PORT/camera`` until it is killed.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

PIPELINE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 ! rtph264pay name=pay0 pt=96 config-interval=-1"
)


def main(user: str, password: str) -> None:
    """Serve one camera on a free port of the loopback interface."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service("0")
    access = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken.new()
    token.set_string("media.factory.role", "viewer")
    access.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(access)
    camera = GstRtspServer.RTSPMediaFactory.new()
    camera.set_launch(f"( {PIPELINE} )")
    camera.set_shared(True)
    allowed = GstRtspServer.RTSPPermissions.new()
    for permission in ("media.factory.access", "media.factory.construct"):
        allowed.add_permission_for_role("viewer", permission, True)
    camera.set_permissions(allowed)
    server.get_mount_points().add_factory("/camera", camera)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
