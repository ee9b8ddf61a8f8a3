"""A network camera for the tests: GStreamer's RTSP server on the loopback interface, H.264 as real cameras send it.

Runs under the system's Python, for which Debian and Ubuntu package the bindings; no module of mien is imported. The
picture is dark with one bright square in it, so that what a model must find can be said in advance.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions must be chosen before

SIDE, SQUARE_AT, SQUARE = 128, 32, 32
PATH = "/cam"
_AROUND = SIDE - SQUARE_AT - SQUARE
_PIPELINE = (
    f"( videotestsrc is-live=true pattern=white ! video/x-raw,width={SQUARE},height={SQUARE},framerate=20/1 ! "
    f"videobox left=-{SQUARE_AT} top=-{SQUARE_AT} right=-{_AROUND} bottom=-{_AROUND} fill=black ! "
    "video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! "
    "rtph264pay name=pay0 pt=96 )"
)


def with_password(server: GstRtspServer.RTSPServer, user: str, password: str) -> GstRtspServer.RTSPPermissions:
    """Let in nobody but this user; what the user may do."""
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    return permissions


def serve(port: int, user: str, password: str) -> None:
    """Serve until the process is ended; says ``listening`` on standard output once it does."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_PIPELINE)
    factory.set_shared(True)
    if user:
        factory.set_permissions(with_password(server, user, password))
    server.get_mount_points().add_factory(PATH, factory)
    if not server.attach(None):
        raise SystemExit(f"port {port} cannot be listened on")
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    serve(given.port, given.user, given.password)
