"""A device's telemetry as a process of its own: recorder, spool, publisher and link are real, the frames are made up.

Windows of ten pretended seconds close every few milliseconds, so that a kill at any moment hits something. Run it as
``python -m tests.fakes.telemetry_device SETTINGS`` with JSON settings; it ends in order on SIGTERM, or at the end of its
input, and then prints which threads are left.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from edge.pipeline.meter import FrameTally
from edge.power.interface import PowerSample
from edge.power.sampler import PowerSampler
from edge.telemetry.clock import WallClock
from edge.telemetry.publisher import Publisher
from edge.telemetry.recorder import Recorder
from edge.telemetry.spool import Spool, SpoolLimits
from edge.transport.interface import BrokerAddress
from edge.transport.mqtt import MqttLink
from mien import topics

DEVICE = "lab-abc123"
PRETENDED_S = 10.0


class MadeUpMeter:
    """Windows of made-up frames, ten pretended seconds each."""

    def __init__(self) -> None:
        self._now_s = time.monotonic()
        self._random = random.Random()

    def take(self) -> FrameTally:
        """The next window."""
        started_at_s, self._now_s = self._now_s, self._now_s + PRETENDED_S
        frames = self._random.randrange(1, 300)
        return FrameTally(
            started_at_s=started_at_s,
            ended_at_s=self._now_s,
            frames=frames,
            latency_ms=np.full((frames, 5), 3.0, np.float32),
            class_counts=np.zeros(1024, np.int64),
            confidence_sum=0.0,
            confidence_histogram=np.zeros(20, np.int64),
            brightness_histogram=np.full(16, frames, np.int64),
        )


class NoReadings:
    """No power."""

    name = "none"

    def read(self) -> PowerSample | None:
        return None

    def close(self) -> None: ...


class Ears:
    """Passes the link's news on, as the agent does."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def connected(self) -> None:
        _say("connected")
        self._publisher.wake()

    def received(self, topic: str, payload: bytes) -> None: ...

    def acknowledged(self, ticket: int, *, accepted: bool) -> None:
        self._publisher.acknowledged(ticket, accepted=accepted)

    def refused(self, times: int, reason: str) -> None:
        _say(f"refused {times}: {reason}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run until told to end."""
    settings = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spool = Spool(
        Path(settings["spool"]), limits=SpoolLimits(most_bytes=settings.get("most_bytes", SpoolLimits().most_bytes))
    )
    link = MqttLink(
        DEVICE,
        BrokerAddress(
            host="127.0.0.1",
            port=settings["port"],
            username=settings.get("username"),
            password=settings.get("password"),
        ),
        tls=None,
        will=(topics.topic(DEVICE, "status"), b""),
    )
    publisher = Publisher(
        spool,
        link,
        lambda channel: topics.topic(DEVICE, channel),
        first_pause_s=0.1,
        catch_up_per_s=settings.get("catch_up_per_s", 500),
    )
    meter = MadeUpMeter()
    recorder = Recorder(
        meter=meter,  # type: ignore[arg-type]
        power=PowerSampler(NoReadings(), interval_s=1.0),
        spool=spool,
        window_s=settings.get("window_s", 0.02),
        boot_id="b",
        model=lambda: None,
        dropped=lambda: 0,
        stored=lambda _: publisher.wake(),
        clock=WallClock(),
    )
    publisher.start()
    link.start(Ears(publisher))
    recorder.start()
    _say("started")
    stop.wait()
    recorder.close()
    publisher.flush(settings.get("flush_s", 5.0))
    publisher.close()
    link.close()
    _say(json.dumps({"waiting": len(spool), "lost": spool.lost}))
    spool.close()
    _say("threads: " + ",".join(thread.name for thread in threading.enumerate()))


if __name__ == "__main__":
    main()
