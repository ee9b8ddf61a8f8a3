"""Whether cameras, broker and fleet are in reach."""

from __future__ import annotations

from edge.camera.gstreamer.pipelines import PACKAGES, csi_plan, decodes_well, v4l2_plan
from edge.camera.options import CameraOptions
from edge.doctor.finding import Finding, ok, skipped, warning, wrong
from edge.doctor.seen import BrokerSeen, CameraSeen, GStreamerSeen
from mien.errors import UnsupportedError

_AT = {
    "tcp": (
        "nothing answers there",
        "a broker",
        "check the address, and that the network and its firewall let it through",
    ),
    "tls": ("TLS failed", "TLS with the fleet's authority and this device's certificate", "mien edge enroll TOKEN@URL"),
    "session": ("the broker refused the session", "an accepted device", "ask the fleet's operator: mien fleet devices"),
}


def gstreamer(seen: GStreamerSeen, source: str, options: CameraOptions, *, jetson: bool) -> Finding:
    """Whether the elements that a camera needs are here."""
    network = source.startswith(("rtsp://", "rtsps://"))
    if not source.startswith("csi://") and not network and options.decoder != "gstreamer":
        return skipped("gstreamer", "this camera is not read through it")
    if seen.error:
        tell = warning if network and options.decoder != "gstreamer" else wrong
        return tell("gstreamer", seen.error, wanted="GStreamer from Python", remedy=seen.remedy)
    if network:
        return _network_elements(seen, options, jetson=jetson)
    try:
        plan = (
            csi_plan(seen.elements, 0, options)
            if source.startswith("csi://")
            else v4l2_plan(seen.elements, "MJPG", options)
        )
    except UnsupportedError as error:
        return wrong("gstreamer", error.found, wanted="every element", remedy=_install(error.found))
    return ok("gstreamer", "NVIDIA's elements read it" if plan.hardware else "software elements read it")


def _install(missing: str) -> str:
    """The command for the elements that a sentence names."""
    packages = dict.fromkeys(PACKAGES[name].partition(",")[0] for name in missing.split() if name in PACKAGES)
    return f"sudo apt install {' '.join(packages)}"


def _network_elements(seen: GStreamerSeen, options: CameraOptions, *, jetson: bool) -> Finding:
    hardware = "nvv4l2decoder" in seen.elements
    if not decodes_well(seen.elements, options.codec):
        return warning(
            "gstreamer",
            "no good decoder for network cameras: OpenCV decodes on the CPU",
            wanted="nvv4l2decoder, or avdec_h264 and avdec_h265",
            remedy="sudo apt install " + ("nvidia-l4t-gstreamer" if jetson else "gstreamer1.0-libav"),
        )
    if jetson and not hardware:
        remedy = "sudo apt install nvidia-l4t-gstreamer"
        return warning("gstreamer", "decodes on the CPU", wanted="nvv4l2decoder", remedy=remedy)
    return ok("gstreamer", "hardware decoder" if hardware else "software decoders")


def camera(what: str, seen: CameraSeen) -> Finding:
    """Whether a camera gives a picture."""
    if seen.held_by_agent:
        return skipped(what, f"{seen.name}: the running agent has it; its last window's frames: 'mien edge status'")
    if not seen.width:
        return wrong(what, f"{seen.name} gives no frame", wanted="a frame", remedy="check the source")
    return ok(what, f"{seen.name}, {seen.width}×{seen.height}; {seen.description}")


def broker(seen: BrokerSeen) -> Finding:
    """How far a connection to the broker came."""
    if not seen.failed_at:
        return ok("broker", f"{seen.address}: connected, session accepted")
    what, wanted, remedy = _AT[seen.failed_at]
    return wrong("broker", f"{seen.address}: {what} ({seen.error})", wanted=wanted, remedy=remedy)


def fleet_is_shut(found: str) -> Finding:
    """The fleet does not answer over HTTPS, at a site that said so: files come over the broker."""
    return warning(
        "fleet",
        found,
        wanted="HTTPS now and then: certificates are renewed over it, and nothing else needs it here",
        remedy="before the certificate ends, take the device to where HTTPS is open, or enrol it anew there",
    )
