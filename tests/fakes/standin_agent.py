#!/usr/bin/python3
"""Stands in for ``mien edge run`` inside a booted container: the real notifier and liveness, vitals set by a file.

It is put where the service file expects the agent. The file ``/var/lib/mien/order`` holds JSON: the fields of Vitals to
pretend, and ``exit``, ``hang`` (the main loop stands still) or ``goodbye_s`` (how long taking down takes). At the start
it writes down what the sandbox lets it do.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, "/opt/mien/lib")

from edge.liveness import Liveness, Patience, Vitals
from edge.systemd import Notifier

STATE = Path("/var/lib/mien")


def order():
    try:
        return json.loads((STATE / "order").read_text())
    except (OSError, ValueError):
        return {}


def may(action):
    try:
        action()
    except OSError as error:
        return error.strerror
    return "yes"


def reach(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.connect(address)


def sandbox():
    return {
        "user": os.getuid() != 0,
        "write_state": may(lambda: (STATE / "probe").write_text("x")),
        "write_etc": may(lambda: Path("/etc/mien-probe").write_text("x")),
        "write_sys": may(lambda: Path("/proc/sys/kernel/hostname").write_text("x")),
        "open_null": may(lambda: Path("/dev/null").read_bytes()),
        "open_random_disk": may(lambda: os.open("/dev/mien-disk", os.O_RDONLY)),
        "open_camera": may(lambda: os.open("/dev/video0", os.O_RDONLY)),
        "camera_service": may(lambda: reach("/tmp/argus_socket")),  # noqa: S108 - where NVIDIA puts it
        "jtop": may(lambda: reach("/run/jtop.sock")),
        "inet": may(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()),
        "packet": may(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
        "affinity": may(lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))),
        "chown": may(lambda: os.chown(STATE / "probe", os.getuid(), os.getgid())),
        "load": may(lambda: Path("/proc/stat").read_text()),
    }


def main():
    if "exit" in order():
        sys.exit(order()["exit"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    (STATE / "sandbox.json").write_text(json.dumps(sandbox()))
    frames, notifier = 0, Notifier()

    def vitals():
        pretended = {name: value for name, value in order().items() if name in Vitals.__dataclass_fields__}
        return Vitals(**{"frames": frames, **pretended})

    liveness = Liveness(vitals, clock=time.monotonic, patience=Patience(engine_s=1, frames_s=2, update_s=60))
    notifier.ready("stand-in: frames flow")
    while not stop.wait(notifier.beat_s):
        frames += 1
        pulse = liveness.pulse()
        notifier.status(f"stand-in: {pulse.why}")
        if pulse.is_alive:
            notifier.alive()
        while order().get("hang"):
            time.sleep(0.1)
    notifier.stopping("stand-in: stopping")
    with notifier.more_time(lambda: vitals().is_updating, most_s=60):
        time.sleep(order().get("goodbye_s", 0))
    sys.stdout.write("took everything down in order\n")


main()
