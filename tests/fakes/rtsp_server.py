"""A network camera for the tests: GStreamer's RTSP server on the loopback interface, with real H.264 or H.265.

Runs under the system's Python, for which Debian and Ubuntu package the bindings; no module of mien is imported. The
picture is dark with one bright square in it, so that what a model must find can be said in advance. With ``--then-side``
the stream itself changes its size after a while.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402 - the versions must be chosen before

SIDE, SQUARE_AT, SQUARE, FPS = 128, 32, 32, 20
CHANGES_AFTER = 40
PATH = "/cam"
_ENCODERS = {
    "h264": "x264enc tune=zerolatency sliced-threads=false speed-preset=ultrafast key-int-max=20 ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! rtph265pay name=pay0 pt=96 config-interval=-1",
}


def picture(side: int, frames: int) -> str:
    """The test picture at one size; ``frames`` of it, or no end with -1."""
    around = side - SQUARE_AT - SQUARE
    return (
        f"videotestsrc is-live=true pattern=white num-buffers={frames} ! "
        f"video/x-raw,width={SQUARE},height={SQUARE},framerate={FPS}/1 ! "
        f"videobox left=-{SQUARE_AT} top=-{SQUARE_AT} right=-{around} bottom=-{around} fill=black ! "
        "video/x-raw,format=I420"
    )


def pipeline(codec: str, side: int, then_side: int) -> str:
    """What the server runs for its stream."""
    if not then_side:
        return f"( {picture(side, -1)} ! {_ENCODERS[codec]} )"
    first, second = picture(side, CHANGES_AFTER), picture(then_side, -1)
    return f"( concat name=both ! {_ENCODERS[codec]}  {first} ! both.  {second} ! both. )"


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


def serve(given: argparse.Namespace) -> None:
    """Serve until the process is ended; says ``listening`` on standard output once it does."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline(given.codec, given.side, given.then_side))
    factory.set_shared(True)
    if given.transport:
        factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, given.transport.upper()))
    if given.user:
        factory.set_permissions(with_password(server, given.user, given.password))
    server.get_mount_points().add_factory(PATH, factory)
    if not server.attach(None):
        raise SystemExit(f"port {given.port} cannot be listened on")
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--codec", choices=sorted(_ENCODERS), default="h264")
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--then-side", type=int, default=0)
    parser.add_argument("--transport", choices=("tcp", "udp"), default="")
    serve(parser.parse_args())
