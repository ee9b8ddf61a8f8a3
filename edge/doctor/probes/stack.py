"""Looks at TensorRT, the CUDA binding, GStreamer and jtop."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
from importlib import metadata
from pathlib import Path

from edge.doctor.probes import ask
from edge.doctor.seen import Answer, GStreamerSeen, JtopSeen
from mien.devices import JETPACKS, JetPack, jetpack_table

AGENT_USER = "mien"
_JTOP = "jtop"
_TENSORRT = "from edge.engine.tensorrt.library import load_tensorrt\nprint(load_tensorrt().__version__)"
_BINDING = """
from edge.engine.cuda import open_cuda
cuda = open_cuda()
gpu = cuda.gpu()
print(f"{cuda.name}: {gpu.name}, compute capability {gpu.compute_capability}")
"""
_ELEMENTS = """
from edge.camera.gstreamer.binding import load_gst
from mien.errors import UnsupportedError
try:
    gst = load_gst()
except UnsupportedError as error:
    print(f"!{error.what}: {error.found}|{error.remedy}")
else:
    factories = gst.Registry.get().get_feature_list(gst.ElementFactory)
    print(" ".join(factory.get_name() for factory in factories))
"""
_JTOP_SERVICE = """
from importlib.metadata import version
from jtop import JtopException, jtop
try:
    with jtop():
        print(version("jetson-stats"))
except (JtopException, OSError) as error:
    print("!" + " ".join(str(error).split()))
"""
_MISMATCH = "Mismatch version jtop service: ["


def tensorrt() -> Answer:
    """The version that TensorRT says of itself once it is loaded."""
    return ask.python(_TENSORRT, limit_s=60)


def cuda_binding() -> Answer:
    """The GPU as the first CUDA binding that works sees it."""
    return ask.python(_BINDING, limit_s=60)


def jetpacks() -> tuple[JetPack, ...]:
    """The table of JetPack versions; empty where it was not installed."""
    return jetpack_table() if JETPACKS.is_file() else ()


def gstreamer() -> GStreamerSeen:
    """All elements that GStreamer has here, as this environment's Python reaches it."""
    answer = ask.python(_ELEMENTS)
    if answer.value is None:
        return GStreamerSeen(elements=frozenset(), error=answer.error, remedy="gst-inspect-1.0")
    if answer.value.startswith("!"):
        error, _, remedy = answer.value[1:].partition("|")
        return GStreamerSeen(elements=frozenset(), error=error, remedy=remedy)
    return GStreamerSeen(elements=frozenset(answer.value.split()))


def jtop() -> JtopSeen:
    """jetson-stats: library, group, and the service's answer."""
    user = agent_user()
    try:
        client: str | None = metadata.version("jetson-stats")
    except metadata.PackageNotFoundError:
        client = None
    return JtopSeen(
        client=client,
        user=user,
        in_group=_in_group(user, _JTOP),
        service=service_version(ask.python(_JTOP_SERVICE)) if client else Answer(error="not asked"),
    )


def service_version(answer: Answer) -> Answer:
    """The service's version: the library's own where it let us in, and else what its refusal gives away."""
    if answer.value is None or not answer.value.startswith("!"):
        return answer
    refusal = answer.value[1:]
    if _MISMATCH in refusal:
        return Answer(value=refusal.split(_MISMATCH, 1)[1].partition("]")[0])
    return Answer(error=refusal)


def agent_user() -> str:
    """Who the agent runs as: the user of the service where there is one, else who asks."""
    try:
        return pwd.getpwnam(AGENT_USER).pw_name
    except KeyError:
        return getpass.getuser() if "USER" in os.environ or "LOGNAME" in os.environ else str(os.getuid())


def shipped_service() -> Path:
    """The service file that came with this version."""
    return JETPACKS.parent / "systemd" / "mien-edge.service"


def _in_group(user: str, group: str) -> bool | None:
    try:
        entry = grp.getgrnam(group)
    except KeyError:
        return None
    try:
        primary = pwd.getpwnam(user).pw_gid
    except KeyError:
        primary = -1
    return user in entry.gr_mem or primary == entry.gr_gid or (user == "root")
